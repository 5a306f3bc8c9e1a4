"""Intervals: when they exist, how often they hold what they should, and that seeds repeat them."""

import numpy as np
import pytest

from scoreprof_nb.analysis.statistics import (
    RESAMPLES,
    bootstrap_weights,
    interval_of,
    mean_interval,
    median_ratio_interval,
    percentile,
    percentile_floor,
    percentile_interval,
    wilson_interval,
)

FLOORS = {0.50: 6, 0.90: 29, 0.95: 59, 0.99: 299}


@pytest.mark.parametrize(("quantile", "floor"), FLOORS.items())
def test_percentile_floor(quantile, floor):
    """Broken: a percentile is given for fewer observations than its interval needs."""
    assert percentile_floor(quantile) == floor
    assert percentile_floor(1 - quantile) == floor


@pytest.mark.parametrize(("quantile", "floor"), FLOORS.items())
def test_below_the_floor_there_is_no_percentile_and_no_interval(quantile, floor):
    """Broken: too few observations give a percentile or an interval."""
    few, enough = np.arange(floor - 1.0), np.arange(float(floor))
    assert percentile(few, quantile) is None
    assert percentile_interval(few, quantile) is None
    assert percentile(enough, quantile) == pytest.approx(quantile * (floor - 1))
    assert percentile_interval(enough, quantile) is not None


def test_no_observations_give_no_percentile():
    """Broken: an empty phase ends the report."""
    assert percentile(np.array([]), 0.5) is None
    assert percentile_interval(np.array([]), 0.5) is None


def test_median_interval_of_ten_is_the_textbook_one():
    """Broken: the interval is not the textbook one: for n = 10, the second and the ninth observation (97.9 %)."""
    assert percentile_interval(np.arange(1.0, 11.0)[::-1], 0.5) == (2.0, 9.0)


@pytest.mark.parametrize(
    ("quantile", "n"),
    [(0.5, 6), (0.5, 7), (0.5, 30), (0.5, 300), (0.9, 29), (0.9, 100), (0.95, 59), (0.95, 200), (0.99, 299)],
)
def test_interval_holds_the_true_quantile_in_at_least_93_percent_of_samples(quantile, n):
    """Broken: the interval of a percentile holds the truth less often than it says."""
    ranks = percentile_interval(np.arange(float(n)), quantile)
    assert ranks is not None
    ordered = np.sort(np.random.default_rng(7).random((20_000, n)), axis=1)
    low, high = (ordered[:, int(rank)] for rank in ranks)
    assert ((low <= quantile) & (quantile <= high)).mean() >= 0.93


def test_percentile_lies_in_its_interval_whatever_the_values():
    """Broken: a percentile lies outside its own interval."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        values = rng.lognormal(size=int(rng.integers(6, 80)))
        low, high = percentile_interval(values, 0.5)
        assert low <= percentile(values, 0.5) <= high


def test_wilson():
    """Broken: the interval of a share is not Wilson's."""
    low, high = wilson_interval(0, 300)
    assert low == 0
    assert 0.01 < high <= 0.013
    assert wilson_interval(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson_interval(10, 10)[1] == 1
    assert wilson_interval(0, 0) == (0, 1)


def test_bootstrap_weights_draw_as_many_as_there_are_and_repeat_by_seed():
    """Broken: a resample has another size than the sample, or changes with each analysis."""
    weights = bootstrap_weights(17, seed=1)
    assert weights.shape == (RESAMPLES, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert (weights == bootstrap_weights(17, seed=1)).all()
    assert (weights != bootstrap_weights(17, seed=2)).any()
    assert weights.mean() == pytest.approx(1)
    assert (bootstrap_weights(1, seed=1) == 1).all()


def test_interval_of_is_the_middle_95_percent():
    """Broken: the interval is not the middle 95 % of the resampled values."""
    low, high = interval_of(np.stack([np.arange(1001.0), np.full(1001, 5.0)], axis=1))
    assert low == pytest.approx([25, 5])
    assert high == pytest.approx([975, 5])


def median(values):
    return float(np.median(values))


@pytest.mark.parametrize("n", [2, 5, 40])
def test_interval_of_the_mean_holds_it_as_often_as_it_says(n):
    """Broken: the mean latency, which the request path sums to, is surer than its requests allow."""
    held = 0
    for seed in range(200):
        low, high = mean_interval(np.random.default_rng(seed).normal(100, 20, n), seed)
        held += low <= 100 <= high
    assert held / 200 >= 0.90


def test_one_observation_gives_no_interval_of_the_mean():
    """Broken: a single observation has an interval."""
    assert mean_interval(np.array([100.0]), 0) is None
    assert mean_interval(np.array([]), 0) is None


def test_median_ratio_interval_repeats_by_seed_and_holds_its_value():
    """Broken: the interval changes with each analysis, or does not contain its value."""
    rng = np.random.default_rng(0)
    above, below = [rng.normal(110, 5, 30)], [rng.normal(100, 5, 30)]
    value, low, high = median_ratio_interval(above, below, seed=1)
    assert (value, low, high) == median_ratio_interval(above, below, seed=1)
    assert (value, low, high) != median_ratio_interval(above, below, seed=2)
    assert value == pytest.approx(median(above[0]) / median(below[0]))
    assert low < value < high
    assert low < 1.1 < high


def test_median_ratio_interval_averages_strata_geometrically():
    """Broken: phases are averaged arithmetically, so slower and faster do not cancel."""
    above, below = [np.full(3, 20.0), np.full(3, 500.0)], [np.full(3, 10.0), np.full(3, 1000.0)]
    assert median_ratio_interval(above, below, seed=1) == (pytest.approx(1),) * 3


def test_median_ratio_interval_weighs_a_stratum_by_its_smaller_side():
    """Broken: 90 requests on one side alone decide the interval, or phases do not count by their smaller side."""
    above, below = [np.full(6, 8.0), np.full(90, 5.0)], [np.full(60, 1.0), np.full(3, 5.0)]
    assert median_ratio_interval(above, below, seed=1)[0] == pytest.approx(4)


def test_median_ratio_interval_of_single_observations_has_no_width():
    """Broken: single observations get an interval of made-up width."""
    one, two = np.array([1.0]), np.array([2.0])
    assert median_ratio_interval([two], [one], seed=1) == (pytest.approx(2),) * 3
