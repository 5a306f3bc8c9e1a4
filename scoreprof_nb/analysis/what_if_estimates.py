"""Estimates from delayed blocks and their neighbours, with 95 % intervals."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Floats
from scoreprof_nb.analysis.distributions import student_quantile
from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.statistics import CONFIDENCE

FEWEST_ROUNDS = 3  # with fewer there is no interval worth showing


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def around(value: float, half_width: float) -> Estimate:
    """The estimate with a symmetric interval."""
    return Estimate(value, value - half_width, value + half_width)


def paired_ratio(changes: Floats, put_in: Floats) -> Estimate:
    """The change per unit put in, over paired blocks: sum of the changes / sum of what was put in.

    ``changes``, ``put_in``: shape (rounds,); rounds with a NaN are left out. The interval is Student's over
    the rounds, of the linearised ratio (Cochran, Sampling Techniques, 3rd ed., 6.3). Rounds are independent:
    each delayed block has neighbours of its own round.
    """
    whole = np.isfinite(changes) & np.isfinite(put_in)
    changes, put_in = changes[whole], put_in[whole]
    n = len(changes)
    if n < FEWEST_ROUNDS or put_in.sum() <= 0:
        return UNKNOWN
    value = float(changes.sum() / put_in.sum())
    residuals = changes - value * put_in
    deviation = math.sqrt(float((residuals**2).sum()) / (n - 1) / n) / float(put_in.mean())
    return around(value, student_quantile(0.5 + CONFIDENCE / 2, n - 1) * deviation)


def block_means(requests: pd.DataFrame) -> Mapping[int, float]:
    """The mean latency of each block in ms, as if each kind of request had its share of all blocks.

    ``requests``: columns block, kind, items and latency_ms. NaN for a block that lacks a kind: chance would
    decide how many large requests are in it.
    """
    kind = requests.groupby(["kind", "items"], sort=False).ngroup()
    shares = kind.value_counts(normalize=True)
    means = requests["latency_ms"].groupby([requests["block"], kind]).mean().unstack()
    weighted = means.mul(shares, axis="columns").sum(axis="columns", skipna=False)
    return dict(zip(weighted.index.astype(int).tolist(), weighted.astype(float).tolist(), strict=True))
