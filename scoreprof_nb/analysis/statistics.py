"""Intervals of independent observations: order statistics and Wilson's. All are two-sided 95 %.

scipy's ``quantile_test`` gives no interval for few observations where an asymmetric one exists. What a run
measures is not independent: see ``intervals.py``.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.analysis.distributions import (
    binomial_quantile,
    binomial_share,
    chi_square_quantile,
    normal_quantile,
)

CONFIDENCE = 0.95
CHI_SQUARE = chi_square_quantile(CONFIDENCE, 1)  # 1.96 squared
RESAMPLES = 2000  # of a bootstrap


@cache
def percentile_floor(quantile: float) -> int:
    """The smallest number of observations for which a quantile has an order-statistic interval.

    The interval from the smallest to the largest observation contains the quantile q with probability
    1 - q^n - (1 - q)^n; below 95 % there is none (6 for the median, 29 for p90, 299 for p99).
    """
    n = 1
    while 1 - quantile**n - (1 - quantile) ** n < CONFIDENCE:
        n += 1
    return n


def order_statistics(n: int, quantile: float) -> tuple[int, int] | None:
    """The ranks (from 1) of two of ``n`` independent observations that hold a quantile between them.

    Distribution-free (binomial). Source: David and Nagaraja, Order Statistics, 3rd ed., 7.1. None below the
    floor.
    """
    if n < percentile_floor(quantile):
        return None
    tail = (1 - CONFIDENCE) / 2
    low = max(binomial_quantile(tail, n, quantile), 1)
    high = min(binomial_quantile(1 - tail, n, quantile) + 1, n)

    def coverage() -> float:
        return binomial_share(high - 1, n, quantile) - binomial_share(low - 1, n, quantile)

    while low > 1 and coverage() < CONFIDENCE:  # where the largest observation is not enough
        low -= 1
    while high < n and coverage() < CONFIDENCE:
        high += 1
    return low, high


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) without observations.

    Source: Newcombe, Two-sided confidence intervals for the single proportion (1998), method 3.
    """
    if n == 0:
        return 0.0, 1.0
    z = normal_quantile(0.5 + 0.5 * CONFIDENCE)
    share = hits / n
    width = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / width
    half = z / width * math.sqrt(4 * n * share * (1 - share) + z**2)
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half


def interval_of(replicates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of bootstrap replicates along the first axis."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.ascontiguousarray(replicates.T), [tail, 1 - tail], axis=-1)
    return low.T, high.T
