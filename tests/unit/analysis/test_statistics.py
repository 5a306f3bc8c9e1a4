"""Intervals of independent observations: when they exist, and how often they hold what they should."""

import numpy as np
import pytest

from scoreprof_nb.analysis.statistics import (
    interval_of,
    order_statistics,
    percentile_floor,
    wilson_interval,
)

FLOORS = {0.50: 6, 0.90: 29, 0.95: 59, 0.99: 299}


@pytest.mark.parametrize(("quantile", "floor"), FLOORS.items())
def test_percentile_floor(quantile, floor):
    """Broken: a percentile is given for fewer observations than its interval needs."""
    assert percentile_floor(quantile) == floor
    assert percentile_floor(1 - quantile) == floor
    assert order_statistics(floor - 1, quantile) is None
    assert order_statistics(floor, quantile) is not None


def test_median_interval_of_ten_is_the_textbook_one():
    """Broken: the interval is not the textbook one: for n = 10, the second and the ninth observation (97.9 %)."""
    assert order_statistics(10, 0.5) == (2, 9)


@pytest.mark.parametrize(
    ("quantile", "n"),
    [(0.5, 6), (0.5, 7), (0.5, 30), (0.5, 300), (0.9, 29), (0.9, 100), (0.95, 59), (0.95, 200), (0.99, 299)],
)
def test_interval_holds_the_true_quantile_in_at_least_93_percent_of_samples(quantile, n):
    """Broken: the interval of a percentile holds the truth less often than it says."""
    ordered = np.sort(np.random.default_rng(7).random((20_000, n)), axis=1)
    low, high = (ordered[:, rank - 1] for rank in order_statistics(n, quantile))
    assert ((low <= quantile) & (quantile <= high)).mean() >= 0.93


def test_wilson():
    """Broken: the interval of a share is not Wilson's."""
    low, high = wilson_interval(0, 300)
    assert low == 0
    assert 0.01 < high <= 0.013
    assert wilson_interval(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson_interval(10, 10)[1] == 1
    assert wilson_interval(0, 0) == (0, 1)


def test_interval_of_is_the_middle_95_percent():
    """Broken: the interval is not the middle 95 % of the resampled values."""
    low, high = interval_of(np.stack([np.arange(1001.0), np.full(1001, 5.0)], axis=1))
    assert low == pytest.approx([25, 5])
    assert high == pytest.approx([975, 5])
