"""Means, percentiles, shares and amounts with their intervals."""

import math

import numpy as np
import pytest

from scoreprof_nb.analysis.dependence import Units
from scoreprof_nb.analysis.intervals import (
    mean_interval,
    mean_of,
    percentile_estimate,
    ratio_of_sums,
    unseen_share,
)
from scoreprof_nb.analysis.statistics import wilson_interval

FLOORS = {0.50: 6, 0.90: 29, 0.95: 59, 0.99: 299}


def one_block(n):
    return Units.of_blocks([n])


def shuffled(n):
    return np.random.default_rng(5).permutation(np.arange(float(n)))


@pytest.mark.parametrize(("quantile", "floor"), FLOORS.items())
def test_below_the_floor_there_is_no_percentile(quantile, floor):
    """Broken: too few requests give a percentile."""
    assert np.isnan(percentile_estimate(shuffled(floor - 1), quantile, one_block(floor - 1))).all()
    enough = np.full(floor, 7.0)
    assert percentile_estimate(enough, quantile, one_block(floor)) == (7, 7, 7)


def test_the_floor_counts_independent_requests():
    """Broken: twelve requests, each five times, are enough for a p90."""
    values = np.repeat(shuffled(12), 5)
    assert math.isnan(percentile_estimate(values, 0.9, one_block(60))[0])


def test_percentile_interval_is_the_order_statistics():
    """Broken: independent requests do not get the textbook interval: of ten, the second and the ninth."""
    values = np.array([4.0, 9, 1, 8, 5, 2, 10, 3, 7, 6])
    assert percentile_estimate(values, 0.5, one_block(10)) == (5.5, 2, 9)


def test_percentile_of_blocks_that_differ_has_a_wider_interval_or_none():
    """Broken: p50 of a bimodal run looks certain."""
    rng = np.random.default_rng(3)
    alike, differing = rng.normal(100, 1, 160), rng.normal(100, 1, 160) + np.repeat([0, 3] * 4, 20)
    units = Units.of_blocks([20] * 8)
    value, low, high = percentile_estimate(alike, 0.5, units)
    assert low < value < high < low + 1
    _, low, high = percentile_estimate(differing, 0.5, units)
    assert math.isnan(low) or high - low > 2


def test_mean_interval_needs_two():
    """Broken: a single request has an interval of the mean."""
    assert mean_interval(np.array([100.0]), one_block(1)) is None
    low, high = mean_interval(np.array([100.0, 101.0]), one_block(2))
    assert low < 100.5 < high


def test_share_of_independent_observations_has_wilsons_interval():
    """Broken: the interval of a share is not Wilson's, apart from Student's factor."""
    hit = np.zeros(400)
    hit[np.random.default_rng(1).permutation(400)[:20]] = 1
    low, high = ratio_of_sums(hit[:, None], np.ones(400)).shares(one_block(400), 400)
    assert (low[0], high[0]) == pytest.approx(wilson_interval(20, 400), rel=0.1)


def test_a_share_of_all_or_nothing_is_not_certain():
    """Broken: a thread that always waited cannot do anything else."""
    shares = ratio_of_sums(np.stack([np.full(30, 10.0), np.zeros(30)], axis=1), np.full(30, 10.0))
    low, high = shares.shares(one_block(30), 300)
    assert (low[0], high[0]) == pytest.approx(wilson_interval(300, 300))
    assert (low[1], high[1]) == pytest.approx(wilson_interval(0, 300))
    assert unseen_share(300) == pytest.approx(wilson_interval(0, 300)[1])


def test_an_amount_of_few_events_has_an_asymmetric_interval_above_zero():
    """Broken: the interval of a rare component begins at 0 or ends at twice its mean."""
    events = np.zeros(300)
    events[[40, 150, 230]] = 1
    low, high = ratio_of_sums(events[:, None], np.ones(300)).amounts(one_block(300), 1.0)
    assert 0 < low[0] < 0.5 * 0.01
    assert 2.5 * 0.01 < high[0] < 4 * 0.01


def test_of_one_unit_nothing_is_known():
    """Broken: one profiled request gives certainty."""
    low, high = mean_of(np.array([5.0])).amounts(one_block(1), 9.0)
    assert (low, high) == (0, 9)


def test_a_product_moves_with_both_factors():
    """Broken: the interval of a component of the path leaves out how the latency varies."""
    counts, latency = np.array([[2.0, 8], [4, 6], [3, 7], [1, 9]]), np.array([80.0, 120, 100, 60])
    path = ratio_of_sums(counts, counts.sum(axis=1)).times(mean_of(latency))
    assert path.values.sum() == pytest.approx(90)
    moved = latency.copy()
    moved[1] += 1e-6  # a quarter of it, by the share of each component
    change = ratio_of_sums(counts, counts.sum(axis=1)).times(mean_of(moved)).values - path.values
    assert change / 1e-6 == pytest.approx(np.array([0.25, 0.75]) / 4, rel=1e-3)
    assert path.influence.sum(axis=0) == pytest.approx(path.values)


def test_an_amount_moved_leaves_the_sum_and_takes_no_more_than_there_is():
    """Broken: the client's own time is taken from nowhere, so the path no longer sums to the latency."""
    path = mean_of(np.array([5.0, 7.0]))
    both = type(path)(np.array([6.0, 1.0]), np.ones((2, 2)))
    assert both.moved(1, 0, mean_of(np.array([0.5, 0.5]))).values.tolist() == [6.5, 0.5]
    assert both.moved(1, 0, mean_of(np.array([3.0, 3.0]))).values.tolist() == [7, 0]
