"""Launches that stand out from the others of their side: the machine was not quiet while they ran."""

import math

import numpy as np
import pandas as pd

LOUD_COLUMNS = ("phase", "metric", "side", "pair", "launch", "value", "usual", "ratio", "ratio_without")
FEWEST = 4  # launches of a side that anything can be said of
FAR = 3.5  # deviations, in robust standard deviations of all launches around the median of their side
SMALLEST = 0.1  # relative: a launch that is nearer to the others matters little
_NORMAL = 1.4826  # standard deviation / median absolute deviation of a normal distribution


def loud_launches(of_launches: pd.DataFrame) -> pd.DataFrame:
    """A row per headline and launch that stands out: LOUD_COLUMNS. ``of_launches``: columns LAUNCH_COLUMNS.

    ``usual``: the median of its side, ms; ``ratio``: test / control over all pairs; ``ratio_without``: over
    the pairs without such a launch, NaN if none is left. Rule: the modified z-score of the log of the
    value. Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993), section 3.
    """
    rows = []
    for (phase, metric), of in of_launches.groupby(["phase", "metric"], sort=False):
        known = of[np.isfinite(of["value"]) & (of["value"] > 0)]
        if len(known) < len(of) or known.groupby("side").size().min() < FEWEST:
            continue
        known = known.assign(usual=known.groupby("side")["value"].transform("median"))
        away = pd.Series(np.log(known["value"] / known["usual"]), index=known.index).abs()
        limit = max(FAR * _NORMAL * float(away.median()), math.log1p(SMALLEST))
        loud = known[away > limit]
        if loud.empty:
            continue
        quiet = known[~known["pair"].isin(loud["pair"])]
        ratios = _ratio(known), _ratio(quiet)
        rows += [
            (phase, metric, *(row[name] for name in ("side", "pair", "launch", "value", "usual")), *ratios)
            for row in loud.to_dict("records")
        ]
    return pd.DataFrame(rows, columns=list(LOUD_COLUMNS))


def _ratio(of_launches: pd.DataFrame) -> float:
    """test / control, the geometric mean over the pairs; NaN without a pair."""
    pairs = of_launches.pivot_table(index="pair", columns="side", values="value")
    return float(np.exp(np.log(pairs["test"] / pairs["control"]).mean())) if len(pairs) else math.nan
