"""Intervals of independent observations: order statistics and Wilson's. All are two-sided 95 %.

scipy has the distributions and Wilson's interval; its ``quantile_test`` gives no interval for few
observations where an asymmetric one exists. What a run measures is not independent: see ``intervals.py``.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
CHI_SQUARE = float(stats.chi2.ppf(CONFIDENCE, 1))  # 1.96 squared
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
    low = max(int(stats.binom.ppf(tail, n, quantile)), 1)
    high = min(int(stats.binom.ppf(1 - tail, n, quantile)) + 1, n)

    def coverage() -> float:
        return float(stats.binom.cdf(high - 1, n, quantile) - stats.binom.cdf(low - 1, n, quantile))

    while low > 1 and coverage() < CONFIDENCE:  # where the largest observation is not enough
        low -= 1
    while high < n and coverage() < CONFIDENCE:
        high += 1
    return low, high


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def interval_of(replicates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of bootstrap replicates along the first axis."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.ascontiguousarray(replicates.T), [tail, 1 - tail], axis=-1)
    return low.T, high.T
