"""How far sums of correlated terms can be trusted: lengths of moving blocks, kinds, measured blocks."""

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from scoreprof_nb.analysis.dependence import (
    Units,
    block_length,
    correlation_effect,
    design_effect,
    half_width,
)


def correlated(rho, n, seed):
    """An AR(1) process with variance 1, as one column."""
    noise = np.random.default_rng(seed).standard_normal(n)
    noise[1:] *= np.sqrt(1 - rho * rho)
    series = lfilter([1.0], [1.0, -rho], noise)
    return (series - series.mean())[:, None]


@pytest.mark.parametrize(
    ("rho", "n", "seed", "by_arch"), [(0, 300, 1, 4.265), (0.3, 300, 2, 4.330), (0.6, 300, 3, 9.392)]
)
def test_block_length_is_that_of_politis_and_white(rho, n, seed, by_arch):
    """Broken: the length is not the published one. ``by_arch``: arch 8.0.0, optimal_block_length, circular."""
    assert block_length(correlated(rho, n, seed)) == [np.ceil(by_arch)]


def test_few_units_and_constant_ones_have_blocks_of_one():
    """Broken: a handful of requests, or equal ones, end the analysis."""
    assert (block_length(np.ones((5, 2))) == 1).all()
    assert (block_length(np.zeros((50, 2))) == 1).all()


def test_independent_units_of_one_block_have_students_interval():
    """Broken: without correlation the interval of a mean is not the textbook one."""
    values = np.array([3.0, 5.0, 4.0, 8.0])[:, None]
    half = half_width(values / 4, Units.of_blocks([4]))
    assert half == pytest.approx(stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2)


def test_measured_blocks_that_differ_widen_the_interval():
    """Broken: a machine that is slower in some blocks looks like certainty."""
    values = np.repeat([10.0, 12.0, 10.0, 12.0], 25)[:, None]
    half = half_width(values / 100, Units.of_blocks([25] * 4))
    assert half == pytest.approx(stats.t.ppf(0.975, 3) * np.std([10, 12, 10, 12], ddof=1) / 2)


def test_kinds_in_turn_do_not_widen_the_interval():
    """Broken: in mixed, kinds that are sent in turn count as chance: 57.8 ms wide where 4.6 is true."""
    rng = np.random.default_rng(1)
    kind = np.arange(120) % 3
    values = (np.array([10.0, 30.0, 300.0])[kind] + rng.normal(0, 1, 120))[:, None]
    block = np.arange(120) // 15
    half = half_width(values / 120, Units.of(block, kind))
    assert 0.7 * 1.96 / np.sqrt(120) < half < 2 * 1.96 / np.sqrt(120)


def test_kinds_with_few_units_are_taken_together():
    """Broken: a file of requests that are all different has intervals of no width."""
    values = np.random.default_rng(1).normal(100, 10, 40)[:, None]
    each_its_own = half_width(values / 40, Units.of(np.zeros(40), np.arange(40)))
    assert each_its_own == pytest.approx(half_width(values / 40, Units.of_blocks([40])))


def test_one_unit_has_no_interval():
    """Broken: a single request has an interval."""
    assert np.isnan(half_width(np.ones((1, 2)), Units.of_blocks([1]))).all()


def test_correlated_units_count_as_fewer():
    """Broken: a hundred requests that resemble their neighbours count as a hundred (AR(1), 0.6: a quarter)."""
    below = (correlated(0.6, 4000, 1) > 0).astype(float)
    units = Units.of_blocks([4000])
    for effect in (design_effect(below, units), correlation_effect(below, units)):
        assert 2 < effect < 4  # of the indicator: less than of the values
    independent = (correlated(0.0, 400, 2) > 0).astype(float)
    assert design_effect(independent, Units.of_blocks([400])) == pytest.approx(1, abs=0.3)


def test_a_part_keeps_its_blocks_and_kinds():
    """Broken: requests that are left out shift those that remain to another block."""
    units = Units.of(np.repeat([3, 5, 9], 10), np.tile([0, 1], 15))
    part = units.part(np.repeat([True, False, True], 10))
    assert part.block.tolist() == [0] * 10 + [1] * 10
    assert part.kind.tolist() == [0, 1] * 10
