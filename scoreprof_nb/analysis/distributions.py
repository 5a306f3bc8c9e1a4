"""Distributions, and the slope of Theil and Sen: equal to those of ``scipy.stats``, which takes half a second
to import. A test compares the two."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special


def normal_quantile(probability: float) -> float:
    """Of the standard normal distribution."""
    return float(special.ndtri(probability))


def student_quantile(probability: float, degrees: float) -> float:
    """Of Student's distribution with so many degrees of freedom."""
    return float(special.stdtrit(degrees, probability))


def student_tail(t: float, degrees: float) -> float:
    """The probability of more than ``t``."""
    return float(special.stdtr(degrees, -t))


def chi_square_quantile(probability: float, degrees: float) -> float:
    """Of the chi-square distribution with so many degrees of freedom."""
    return float(2 * special.gammaincinv(degrees / 2, probability))


def binomial_share(hits: int, n: int, probability: float) -> float:
    """The probability of at most so many hits among ``n`` trials."""
    return float(special.bdtr(hits, n, probability))


def binomial_quantile(share: float, n: int, probability: float) -> int:
    """The smallest number of hits with at least that probability of at most so many."""
    hits = 0
    if binomial_share(0, n, probability) < share:
        hits = max(math.ceil(special.bdtrik(share, n, probability)), 0)
    while hits > 0 and binomial_share(hits - 1, n, probability) >= share:
        hits -= 1
    while binomial_share(hits, n, probability) < share:
        hits += 1
    return hits


@dataclass(frozen=True)
class Slope:
    """The median slope between all pairs of points, and its interval."""

    value: float
    low: float
    high: float


def theil_sen(x: NDArray[np.float64], y: NDArray[np.float64], confidence: float) -> Slope:
    """The slope of y over x, shape (n,), which single points do not move. Its interval is Sen's (1968), 2.6.

    Pairs with equal x do not count. NaN where all are.
    """
    first, second = np.triu_indices(len(x), k=1)
    run = x[first] - x[second]
    slopes = np.sort((y[first] - y[second])[run != 0] / run[run != 0])
    n = len(slopes)
    if not n:
        return Slope(math.nan, math.nan, math.nan)
    variance = (_pairs(np.array([len(x)])) - _pairs(_ties(x)) - _pairs(_ties(y))) / 18
    spread = normal_quantile((1 + confidence) / 2) * math.sqrt(max(variance, 0.0))
    low = max(round((n - spread) / 2) - 1, 0)
    high = min(round((n + spread) / 2), n - 1)
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


def _ties(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """How often each value occurs."""
    return np.unique(values, return_counts=True)[1]


def _pairs(counts: NDArray[np.intp]) -> float:
    return float((counts * (counts - 1) * (2 * counts + 5)).sum())
