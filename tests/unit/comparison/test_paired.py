"""Ratios over pairs of runs: the interval holds the truth as often as it says."""

import math

import numpy as np
import pytest

from scoreprof_nb.analysis.dependence import Units
from scoreprof_nb.comparison.claims import IMPROVEMENT, INCONCLUSIVE, NOT_KNOWN, REGRESSION, SUGGESTIVE
from scoreprof_nb.comparison.paired import (
    Effect,
    log_ratios,
    paired_effect,
    suggested,
    t_interval,
    within_run_effect,
)
from scoreprof_nb.parameters.compare import MARGIN


def test_identical_inputs_have_the_ratio_one():
    """Broken: identical runs differ."""
    effect = paired_effect(log_ratios([40.0] * 6, [40.0] * 6))
    assert (effect.ratio, effect.low, effect.high, effect.spread) == (1, 1, 1, 0)


def test_interval_holds_the_truth_and_a_bootstrap_over_pairs_does_not():
    """Broken: the interval holds the truth less often than it says, as a percentile bootstrap over six pairs
    does.
    """
    rng = np.random.default_rng(11)
    student = bootstrap = 0
    for _ in range(1000):
        logs = rng.normal(0.1, 0.03, 6)
        effect = paired_effect(logs)
        student += effect.low <= math.exp(0.1) <= effect.high
        replicates = rng.choice(logs, (500, 6)).mean(axis=1)
        low, high = np.quantile(replicates, [0.025, 0.975])
        bootstrap += low <= 0.1 <= high
    assert 0.93 <= student / 1000 <= 0.97
    assert bootstrap / 1000 < 0.90


def test_interval_of_equal_differences_has_no_width():
    """Broken: equal differences get an interval of made-up width."""
    low, high, p = t_interval(np.array([[2.0, 2.0, 2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    assert (low[:2].tolist(), high[:2].tolist(), p[:2].tolist()) == ([2, 0], [2, 0], [0, 1])
    assert low[2] == pytest.approx(2 - 4.302653 / math.sqrt(3))


def test_pairs_that_agree_are_counted():
    """Broken: "all 6 pairs agree" is said of five."""
    assert paired_effect(np.array([0.1, 0.2, 0.1, -0.05, 0.1, 0.2])).agreeing == 5
    assert paired_effect(np.array([-0.1] * 6)).agreeing == 6


def test_a_drift_of_the_machine_falls_on_both_sides():
    """Broken: a machine that slows down during the comparison is called a change."""
    level = 40 * np.exp(0.2 * np.arange(6))
    assert paired_effect(log_ratios(level, level)).ratio == 1


def test_one_run_a_side_counts_the_variation_within_the_runs():
    """Broken: a single pair ignores the variation within its runs."""
    rng = np.random.default_rng(2)
    effect = within_run_effect(*(_in_blocks(rng.normal(mean, 2, 200)) for mean in (40, 48)))
    assert effect.low <= 1.2 <= effect.high
    assert effect.high - effect.low < 0.05
    assert effect.pairs == 1


def test_one_run_a_side_counts_what_neighbouring_requests_share():
    """Broken: requests that resemble their neighbours count as independent, and chance is suggested as a
    regression: an interval over requests alone holds the truth in two of three cases here.
    """
    rng = np.random.default_rng(3)
    held = independent = 0
    for _ in range(300):
        sides = [40 + 2 * _correlated(rng, 200) for _ in range(2)]
        effect = within_run_effect(*map(_in_blocks, sides))
        held += effect.low <= 1 <= effect.high
        error = math.hypot(*(side.std() / side.mean() / math.sqrt(200) for side in sides))
        independent += abs(effect.ratio - 1) <= 1.96 * error
    assert held / 300 >= 0.92
    assert independent / 300 < 0.8


def _in_blocks(latencies, blocks=8):
    return latencies, Units.of_blocks([len(latencies) // blocks] * blocks)


def _correlated(rng, requests, lag_1=0.6):
    values = rng.normal(size=requests)
    for at in range(1, requests):
        values[at] = lag_1 * values[at - 1] + math.sqrt(1 - lag_1**2) * values[at]
    return values


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.06, 1.10, SUGGESTIVE + REGRESSION),
        (0.80, 0.94, SUGGESTIVE + IMPROVEMENT),
        (0.99, 1.01, INCONCLUSIVE),  # one run a side cannot show that nothing changed
        (math.nan, math.nan, NOT_KNOWN),
    ],
)
def test_one_run_a_side_suggests(low, high, expected):
    """Broken: a single pair gets more than a suggestion."""
    assert suggested(Effect(1.0, low, high, 1), MARGIN) == expected


def test_one_request_a_side_says_nothing():
    """Broken: a single request on each side gets an interval."""
    one_each = [(np.array([ms]), Units.of_blocks([1])) for ms in (40.0, 80.0)]
    assert suggested(within_run_effect(*one_each), MARGIN) == NOT_KNOWN
