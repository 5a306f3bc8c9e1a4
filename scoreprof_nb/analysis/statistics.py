"""Intervals: order statistics, Wilson, and seeded bootstraps. All are two-sided 95 %.

scipy has the distributions and Wilson's interval. Its ``quantile_test`` gives no interval for few
observations where an asymmetric one exists, and its ``bootstrap`` has no expanded interval and resamples
only one array per call; those two are written here.
"""

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
_AT_ONCE = 250  # resamples, so that those of many observations fit into memory
Floats = NDArray[np.float64]


def percentile_floor(quantile: float) -> int:
    """The smallest number of observations for which a quantile has an order-statistic interval.

    The interval from the smallest to the largest observation contains the quantile q with probability
    1 - q^n - (1 - q)^n; below 95 % there is none (6 for the median, 29 for p90, 299 for p99).
    """
    n = 1
    while 1 - quantile**n - (1 - quantile) ** n < CONFIDENCE:
        n += 1
    return n


def percentile(values: Floats, quantile: float) -> float | None:
    """The quantile (linear interpolation); None if there are too few observations for it."""
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
    low = max(int(stats.binom.ppf(tail, n, quantile)), 1)
    high = min(int(stats.binom.ppf(1 - tail, n, quantile)) + 1, n)

    def coverage() -> float:
        return float(stats.binom.cdf(high - 1, n, quantile) - stats.binom.cdf(low - 1, n, quantile))

    while low > 1 and coverage() < CONFIDENCE:  # where the largest observation is not enough
        low -= 1
    while high < n and coverage() < CONFIDENCE:
        high += 1
    return float(ordered[low - 1]), float(ordered[high - 1])


def mean_interval(values: Floats, seed: int) -> tuple[float, float] | None:
    """Bootstrap interval of the mean of independent observations; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    rng = np.random.default_rng(seed)
    replicates = np.concatenate([drawn.mean(axis=1) for drawn in _resampled(values, rng)])
    low, high = interval(replicates, np.array(values.mean()), n, np.inf)
    return float(low), float(high)


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_weights(n: int, seed: int) -> Floats:
    """How often each of ``n`` units is drawn in each resample: whole numbers, shape (RESAMPLES, n)."""
    rng = np.random.default_rng(seed)
    weights = np.empty((RESAMPLES, n))
    for first in range(0, RESAMPLES, _AT_ONCE):
        some = weights[first : first + _AT_ONCE]
        drawn = rng.integers(n, size=some.shape) + n * np.arange(len(some))[:, None]
        some[:] = np.bincount(drawn.ravel(), minlength=some.size).reshape(some.shape)
    return weights


def _resampled(values: Floats, rng: np.random.Generator) -> Iterator[Floats]:
    """RESAMPLES resamples of the values, in arrays of shape (at most _AT_ONCE, len(values))."""
    for first in range(0, RESAMPLES, _AT_ONCE):
        yield rng.choice(values, (min(_AT_ONCE, RESAMPLES - first), len(values)))


def interval_of(replicates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of bootstrap replicates along the first axis."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.ascontiguousarray(replicates.T), [tail, 1 - tail], axis=-1)
    return low.T, high.T


def interval(replicates: Floats, mean: Floats, units: int, most: float | Floats) -> tuple[Floats, Floats]:
    """Percentile interval of bootstrap replicates along the first axis, expanded for few units.

    ``mean``: the estimate, of the replicates' shape without the first axis; ``units``: how many were
    resampled. The interval holds the mean and stays between 0 and ``most``. Resampling n units gives
    only sqrt((n - 1) / n) of the true spread, and quantiles of the normal distribution instead of
    Student's; the expansion corrects both. Source: Hesterberg, What Teachers Should Know About the
    Bootstrap (2015), 4.3 (the expanded percentile interval, here about the mean). With one unit nothing
    is known: 0 to ``most``.
    """
    if units < 2:
        return np.zeros_like(mean), np.broadcast_to(np.asarray(most, dtype=np.float64), mean.shape).copy()
    low, high = interval_of(replicates)
    factor = _expansion(units)
    low, high = mean - factor * np.maximum(mean - low, 0), mean + factor * np.maximum(high - mean, 0)
    return np.maximum(low, 0), np.minimum(high, np.maximum(most, mean))


@cache
def _expansion(units: int) -> float:
    """The factor by which the percentile interval of ``units`` resampled units is too narrow."""
    quantile = 0.5 + CONFIDENCE / 2
    of_student = stats.t.ppf(quantile, units - 1) / stats.norm.ppf(quantile)
    return float(of_student * math.sqrt(units / (units - 1)))


def median_ratio_interval(
    numerators: list[Floats], denominators: list[Floats], seed: int
) -> tuple[float, float, float]:
    """The geometric mean, over strata, of median(numerator) / median(denominator): value, low, high.

    A stratum's weight is the number of observations of its smaller side. Observations are resampled within
    their stratum and side; each side needs at least one.
    """
    rng = np.random.default_rng(seed)
    pairs = list(zip(numerators, denominators, strict=True))
    weights = np.array([min(len(above), len(below)) for above, below in pairs], dtype=np.float64)
    logs = [math.log(np.median(above) / np.median(below)) for above, below in pairs]
    value = math.exp(float(np.average(logs, weights=weights)))
    drawn_logs = [np.log(_medians(above, rng) / _medians(below, rng)) for above, below in pairs]
    replicates = np.exp(np.average(drawn_logs, axis=0, weights=weights))
    low, high = interval_of(replicates)
    return value, min(float(low), value), max(float(high), value)


def _medians(values: Floats, rng: np.random.Generator) -> Floats:
    """The medians of RESAMPLES resamples, shape (RESAMPLES,)."""
    return np.concatenate([np.median(drawn, axis=1) for drawn in _resampled(values, rng)])
