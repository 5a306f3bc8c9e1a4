"""Intervals: order statistics, Wilson, and seeded bootstraps. All are two-sided 95 %."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
Floats = NDArray[np.float64]


def percentile_floor(quantile: float) -> int:
    """The fewest observations for which the order-statistic interval of a quantile exists.

    The interval from the smallest to the largest observation holds the quantile q with probability
    1 - q^n - (1 - q)^n; below 95 % there is none (6 for the median, 29 for p90, 299 for p99).
    """
    n = 1
    while 1 - quantile**n - (1 - quantile) ** n < CONFIDENCE:
        n += 1
    return n


def percentile(values: Floats, quantile: float) -> float | None:
    """The quantile (linear interpolation), None where there are too few observations for it."""
    if len(values) < percentile_floor(quantile):
        return None
    return float(np.quantile(values, quantile))


def percentile_interval(values: Floats, quantile: float) -> tuple[float, float] | None:
    """The distribution-free interval of a quantile between two order statistics (binomial).

    Source: David and Nagaraja, Order Statistics, 3rd ed., 7.1. None below the floor.
    """
    n = len(values)
    if n < percentile_floor(quantile):
        return None
    ordered = np.sort(values)
    tail = (1 - CONFIDENCE) / 2
    low = int(stats.binom.ppf(tail, n, quantile))
    high = int(stats.binom.ppf(1 - tail, n, quantile)) + 1
    return float(ordered[max(low - 1, 0)]), float(ordered[min(high - 1, n - 1)])


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_weights(n: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """How often each of ``n`` units is drawn in each resample: shape (resamples, n)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples)


def interval_of(replicates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of bootstrap replicates along the first axis."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


def bootstrap_ratio_interval(
    numerators: list[Floats], denominators: list[Floats], statistic: Callable[[Floats], float], seed: int
) -> tuple[float, float] | None:
    """Interval of the geometric mean, over strata, of statistic(numerator) / statistic(denominator).

    Observations are resampled within their stratum and side. None when a side of a stratum has
    fewer than two observations.
    """
    if not numerators or any(len(values) < 2 for values in [*numerators, *denominators]):
        return None
    rng = np.random.default_rng(seed)

    def resampled(values: Floats) -> float:
        return statistic(rng.choice(values, len(values)))

    logs = [
        np.mean(
            [
                math.log(resampled(above) / resampled(below))
                for above, below in zip(numerators, denominators, strict=True)
            ]
        )
        for _ in range(RESAMPLES)
    ]
    low, high = interval_of(np.exp(np.array(logs)))
    return float(low), float(high)
