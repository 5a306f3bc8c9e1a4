"""The intervals of a simulated phase hold the truth as often as they say: a short version of
``make interval-coverage``."""

import numpy as np
import pytest

from tests.support.simulated_phase import Case, coverage, simulated

REPEATS = 100


@pytest.mark.parametrize("case", [Case(0.6, 0.0), Case(0.6, 0.02, kinds=3)], ids=str)
def test_intervals_hold_the_truth_despite_correlation_blocks_and_kinds(case):
    """Broken: requests are taken for independent, blocks for alike, or kinds in turn for chance."""
    table = coverage(case, REPEATS)
    assert table["covered"].min() >= 0.91, table  # of 100 a share has a standard error of 2 %
    assert table["covered"].mean() >= 0.95, table
    assert table["unknown"].max() <= 0.05, table
    assert table.loc["mean", "width"] < 0.08, table


def test_the_simulation_tells_intervals_that_take_requests_for_independent():
    """Broken: the test above would pass with the intervals of independent requests."""
    case, held = Case(0.6, 0.02), 0
    for seed in range(REPEATS):
        plain = simulated(case, seed)[0].plain()["latency_ms"]
        held += abs(plain.mean() - 26.6) <= 1.96 * plain.std() / np.sqrt(len(plain))
    assert held / REPEATS < 0.8
