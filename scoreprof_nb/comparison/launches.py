"""The launches one by one: their values, a drift, an effect of the order, two levels, an odd pair.

A mean over launches hides how they differ. Two levels (half of the launches 20 % slower) make every interval
wide at any number of pairs; a drift or an effect of the order is a bias that more pairs do not remove.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from scoreprof_nb.analysis.dependence import Floats
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.comparison.metrics import PhasePairs, headline_metrics
from scoreprof_nb.comparison.paired import t_interval
from scoreprof_nb.parameters.compare import CONTROL, TEST

LAUNCH_COLUMNS = ("phase", "metric", "side", "pair", "launch", "run_id", "value")
STABILITY_COLUMNS = (
    *("phase", "metric", "launches", "drift", "drift_p", "order_effect", "order_p"),
    *("two_levels", "odd_pair", "ratio", "ratio_without"),
)
_FEWEST = 4  # pairs, or launches of a side, that anything can be said of
_GAP = 4.0  # between two levels, in standard deviations within them
_SMALLEST_GAP = 0.05  # relative: levels that are nearer do not matter


def launches(
    phases: Mapping[str, PhasePairs], control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]
) -> pd.DataFrame:
    """The headlines of each launch: LAUNCH_COLUMNS. ``launch``: its place in the order of time, from 1;
    ``value``: ms, NaN when the run lacks it."""
    runs = [(CONTROL, pair, run) for pair, run in enumerate(control)]
    runs += [(TEST, pair, run) for pair, run in enumerate(test)]
    place = {
        (side, pair): number
        for number, (side, pair, _) in enumerate(
            sorted(runs, key=lambda one: one[2].run.manifest.started_s), start=1
        )
    }
    rows = []
    for name, sides in phases.items():
        for metric in headline_metrics(sides):
            for side, pair, run in runs:
                analysis: PhaseAnalysis = sides[side == TEST][pair]
                value = metric.value(analysis)
                rows.append(
                    (
                        *(name, metric.name, side, pair + 1, place[side, pair], run.run.manifest.run_id),
                        math.nan if value is None else value,
                    )
                )
    return pd.DataFrame(rows, columns=list(LAUNCH_COLUMNS)).astype({"value": float})


def stability(of_launches: pd.DataFrame) -> pd.DataFrame:
    """A row per phase and headline: STABILITY_COLUMNS. ``of_launches``: columns LAUNCH_COLUMNS.

    ``drift``: relative change from launch to launch; ``order_effect``: relative change of the second launch
    of a pair against the first. Each has the p-value that it is 0. ``two_levels``: the sides whose launches
    form two groups. ``odd_pair``: the pair that is an outlier, None if there is none; ``ratio_without``: test
    / control without it. NaN with fewer than _FEWEST pairs.
    """
    rows = []
    for (phase, metric), rows_of in of_launches.groupby(["phase", "metric"], sort=False):
        of_pairs = rows_of.pivot_table(index="pair", columns="side", values=["value", "launch"])
        if rows_of["value"].isna().any() or (rows_of["value"] <= 0).any():
            rows.append((phase, metric, len(rows_of), *[math.nan] * 4, (), None, math.nan, math.nan))
            continue
        logs = np.log(of_pairs["value"].to_numpy(dtype=np.float64))  # control, test
        order = of_pairs["launch"].to_numpy(dtype=np.float64)
        ratios = logs[:, 1] - logs[:, 0]
        odd = odd_pair(ratios)
        without = ratios if odd is None else np.delete(ratios, odd)
        rows.append(
            (
                *(phase, metric, len(rows_of)),
                *_drift(logs, order),
                *_order_effect(ratios, order[:, 1] > order[:, 0]),
                tuple(side for at, side in enumerate((CONTROL, TEST)) if has_two_levels(logs[:, at])),
                None if odd is None else int(of_pairs.index[odd]),
                float(np.exp(ratios.mean())),
                float(np.exp(without.mean())),
            )
        )
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))


def _drift(logs: Floats, order: Floats) -> tuple[float, float]:
    """The slope of both sides over the order of launches, each side around its own mean."""
    if len(logs) < _FEWEST:
        return math.nan, math.nan
    centred, places = logs - logs.mean(axis=0), order - order.mean(axis=0)
    fit = stats.linregress(places.ravel(), centred.ravel())
    return math.expm1(float(fit.slope)), 1.0 if np.ptp(centred) == 0 else float(fit.pvalue)


def _order_effect(
    ratios: Floats, test_second: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
) -> tuple[float, float]:
    """How much slower the second launch of a pair is than the first, whichever side it is.

    The mean of the log-ratios of the pairs in which test is second, minus that of the others, is twice the
    effect: the difference between the sides cancels.
    """
    second, first = ratios[test_second], ratios[~test_second]
    if min(len(second), len(first)) < 2:
        return math.nan, math.nan
    effect = (second.mean() - first.mean()) / 2
    if np.ptp(second) == 0 and np.ptp(first) == 0:
        return math.expm1(effect), 1.0 if effect == 0 else 0.0
    return math.expm1(effect), float(stats.ttest_ind(second, first).pvalue)


def has_two_levels(logs: Floats) -> bool:
    """Whether the launches of a side form two groups of at least two, further apart than each is wide."""
    ordered = np.sort(logs)
    if len(ordered) < _FEWEST:
        return False
    gaps = np.diff(ordered)[1:-1]  # both groups have at least two
    if not len(gaps):
        return False
    at = int(gaps.argmax()) + 2
    groups = ordered[:at], ordered[at:]
    within = math.sqrt(
        sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / (len(ordered) - 2)
    )
    gap = float(ordered[at] - ordered[at - 1])
    return gap > max(_GAP * within, _SMALLEST_GAP)


def odd_pair(ratios: Floats) -> int | None:
    """The index of the pair that is an outlier (Grubbs' test, 5 %), None if none is.

    Source: Grubbs, Sample Criteria for Testing Outlying Observations, Ann. Math. Stat. 21 (1950).
    """
    n = len(ratios)
    if n < _FEWEST or np.ptp(ratios) == 0:
        return None
    distances = np.abs(ratios - ratios.mean()) / ratios.std(ddof=1)
    t = float(stats.t.isf((1 - CONFIDENCE) / (2 * n), n - 2))
    threshold = (n - 1) / math.sqrt(n) * math.sqrt(t**2 / (n - 2 + t**2))
    at = int(distances.argmax())
    return at if distances[at] > threshold else None


def observer_difference(sides: PhasePairs) -> tuple[float, float] | None:
    """By how much py-spy slows test down more than control: the ratio of its effects on the mean, over the
    pairs, and the p-value that it is 1; None where an effect is not known, or with a single pair."""
    effects = [[run.latency.observer_effect.mean_ratio for run in side] for side in sides]
    if len(effects[0]) < 2 or any(value is None or value <= 0 for side in effects for value in side):
        return None
    logs = np.log(np.array(effects[1], dtype=np.float64)) - np.log(np.array(effects[0], dtype=np.float64))
    _, _, p = t_interval(logs)
    return float(np.exp(logs.mean())), float(p)
