"""What may be said of two sides: known truths in, verdicts out, false positives counted."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.analysis.latency import minimum_detectable_effect
from scoreprof_nb.comparison.paired import (
    IMPROVEMENT,
    INCONCLUSIVE,
    INSUFFICIENT,
    NO_CHANGE,
    NOT_KNOWN,
    REGRESSION,
    SIZE_UNCERTAIN,
    Effect,
    holm,
    paired_effect,
    paired_effects,
    sign_flip_p,
    t_interval,
    verdict,
    within_run_effect,
)
from scoreprof_nb.parameters.compare import MARGIN
from tests.support.synthetic import measured

PHASES = 4


def measured_of(latency_ms):
    rows = [
        {"at_ms": 1e3 * number, "latency_ms": ms, "profiled": False} for number, ms in enumerate(latency_ms)
    ]
    return measured(*rows)


def runs(rng, pairs, ratio=1.0, noise=0.02, drift=0.0):
    """p50 of control and test, ms: lognormal noise between runs, a drift of the machine over the pairs."""
    level = 40 * np.exp(drift * np.arange(pairs))
    control, test = level * np.exp(rng.normal(0, noise, (2, pairs)))
    return control, test * ratio


def effects_of(drawn):
    """The effects of many simulated (control, test), computed together."""
    control, test = zip(*drawn, strict=True)
    return paired_effects(np.array(control), np.array(test))


def verdicts(rngs, ratio=1.0, noise=0.02, pairs=6):
    """The verdicts of many comparisons, each over several phases that are corrected together."""
    effects = effects_of([runs(rng, pairs, ratio, noise) for rng in rngs for _ in range(PHASES)])
    comparisons = [effects[at : at + PHASES] for at in range(0, len(effects), PHASES)]
    return [
        [
            verdict(effect, p, MARGIN)
            for effect, p in zip(phases, holm([effect.p for effect in phases]), strict=True)
        ]
        for phases in comparisons
    ]


def seeded(number):
    return [np.random.default_rng(seed) for seed in range(number)]


def test_identical_inputs_are_never_a_regression():
    """Broken: identical runs are called a regression."""
    effect = paired_effect([40.0] * 6, [40.0] * 6)
    assert (effect.ratio, effect.low, effect.high) == (1, 1, 1)
    assert verdict(effect, 1.0, MARGIN) == NO_CHANGE


def test_twenty_percent_slower_is_a_regression():
    """Broken: a regression of 20 % is missed, or called an improvement."""
    of_runs = verdicts(seeded(100), ratio=1.2)
    assert np.mean([REGRESSION in of_run for of_run in of_runs]) > 0.99
    assert not any(IMPROVEMENT in of_run for of_run in of_runs)


def test_twenty_percent_faster_is_an_improvement():
    """Broken: an improvement of 20 % is missed, or called a regression."""
    of_runs = verdicts(seeded(100), ratio=1 / 1.2)
    assert np.mean([IMPROVEMENT in of_run for of_run in of_runs]) > 0.99
    assert not any(REGRESSION in of_run for of_run in of_runs)


def test_two_percent_with_tight_intervals_is_no_meaningful_change():
    """Broken: a precisely measured change of 2 % is called meaningful or inconclusive."""
    of_runs = verdicts(seeded(100), ratio=1.02, noise=0.004)
    assert all(of_phase == NO_CHANGE for of_run in of_runs for of_phase in of_run)


def test_three_pairs_are_insufficient_whatever_they_say():
    """Broken: three pairs, which cannot reach significance, get a verdict."""
    assert verdict(paired_effect([40.0, 41, 40], [80.0, 82, 81]), 0.001, MARGIN) == INSUFFICIENT


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_false_positives_over_simulated_aa_comparisons(noise):
    """Broken: more than 7 % of 500 comparisons of a server with itself call a phase better or worse."""
    rng = np.random.default_rng(7)
    wrong = sum(
        bool({REGRESSION, IMPROVEMENT} & set(of_run)) for of_run in verdicts([rng] * 500, noise=noise)
    )
    assert wrong <= 0.07 * 500


def test_no_meaningful_change_is_not_said_of_a_change_at_the_margin():
    """Broken: a change as large as the margin is often called no meaningful change."""
    rng = np.random.default_rng(3)
    effects = effects_of([runs(rng, 6, ratio=1 + MARGIN) for _ in range(500)])
    wrong = sum(verdict(effect, 1.0, MARGIN) == NO_CHANGE for effect in effects)
    assert wrong <= 0.07 * 500


def test_interval_holds_the_truth_and_a_bootstrap_over_pairs_does_not():
    """Broken: the interval holds the truth less often than it says, as a percentile bootstrap over six pairs
    does.
    """
    rng = np.random.default_rng(11)
    comparisons, bootstrap = [], 0
    for _ in range(1000):
        logs = rng.normal(0.1, 0.03, 6)
        comparisons.append(([1.0] * 6, np.exp(logs)))
        replicates = rng.choice(logs, (500, 6)).mean(axis=1)
        low, high = np.quantile(replicates, [0.025, 0.975])
        bootstrap += low <= 0.1 <= high
    student = sum(effect.low <= math.exp(0.1) <= effect.high for effect in effects_of(comparisons))
    assert 0.93 <= student / 1000 <= 0.97
    assert bootstrap / 1000 < 0.90


def test_a_drift_of_the_machine_falls_on_both_sides():
    """Broken: a machine that slows down during the comparison is called a regression."""
    effect = paired_effect(*runs(np.random.default_rng(5), 6, drift=0.2))
    assert verdict(effect, effect.p, MARGIN) in (NO_CHANGE, INCONCLUSIVE)


def test_sign_flip_is_exact():
    """Broken: the p-value of a small example is not the exact one."""

    def p(*logs):
        return sign_flip_p([1.0] * len(logs), np.exp(logs))

    assert p(1, 2, 3, 4, 5) == 2 / 32
    assert p(1, 2, 3, 4, 5, 6) == 2 / 64
    assert p(1, -1) == 1
    assert p(*[1] * 16) == 2 / 2**16
    assert p(*[1] * 20) < 0.001
    assert math.isnan(p(1))


def test_sign_flip_counts_all_signs():
    """Broken: the p-value is not the share of all sign combinations, which is its definition."""
    rng = np.random.default_rng(1)
    for n in (2, 5, 6, 9):
        logs = rng.normal(0.3, 1, n)
        means = np.abs(np.array(list(product((1, -1), repeat=n))) @ logs)
        expected = np.mean(means >= abs(logs.sum()) * (1 - 1e-12))
        assert sign_flip_p([1.0] * n, np.exp(logs)) == pytest.approx(expected)


def test_interval_of_equal_differences_has_no_width():
    """Broken: equal differences get an interval of made-up width."""
    low, high, p = t_interval(np.array([[2.0, 2.0, 2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))
    assert (low[:2].tolist(), high[:2].tolist(), p[:2].tolist()) == ([2, 0], [2, 0], [0, 1])
    assert low[2] == pytest.approx(2 - 4.302653 / math.sqrt(3))


def test_holm_on_a_worked_example():
    """Broken: the correction for several tests is not Holm's."""
    assert holm([0.01, 0.04, 0.03, None, 0.005]) == pytest.approx([0.03, 0.06, 0.06, None, 0.02])


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(p_values):
    """Broken: the correction makes a p-value smaller or changes the order."""
    corrected = holm(p_values)
    known = sorted((p, q) for p, q in zip(p_values, corrected, strict=True) if p is not None)
    assert all(p <= q <= 1 for p, q in known)
    assert [q for _, q in known] == sorted(q for _, q in known)
    assert [q is None for q in corrected] == [p is None for p in p_values]


@pytest.mark.parametrize(
    ("low", "high", "pairs", "p", "expected"),
    [
        (1.06, 1.10, 6, 0.01, REGRESSION),
        (0.80, 0.94, 6, 0.01, IMPROVEMENT),
        (1.06, 1.10, 6, 0.20, SIZE_UNCERTAIN),  # one of many that were looked at
        (1.01, 1.10, 6, 0.01, SIZE_UNCERTAIN),
        (0.96, 1.04, 6, 0.90, NO_CHANGE),
        (0.90, 1.04, 6, 0.90, INCONCLUSIVE),
        (1.06, 1.10, 1, None, f"suggestive {REGRESSION}"),
        (0.80, 0.94, 1, None, f"suggestive {IMPROVEMENT}"),
        (0.99, 1.01, 1, None, INCONCLUSIVE),  # one run a side cannot show that nothing changed
        (1.06, 1.10, 4, 0.01, INSUFFICIENT),
        (None, None, 1, None, NOT_KNOWN),
    ],
)
def test_verdict(low, high, pairs, p, expected):
    assert verdict(Effect(1.0, low, high, pairs, p=p), p, MARGIN) == expected


def test_more_throughput_is_better():
    """Broken: more throughput is called a regression."""
    assert verdict(Effect(1.2, 1.1, 1.3, 6), 0.01, MARGIN, lower_is_better=False) == IMPROVEMENT
    assert verdict(Effect(0.8, 0.7, 0.9, 6), 0.01, MARGIN, lower_is_better=False) == REGRESSION


def test_measured_noise_widens_the_margin():
    """Broken: a change within the measured noise gets a verdict."""
    assert verdict(Effect(1.1, 1.07, 1.13, 6), 0.01, delta=0.08) == SIZE_UNCERTAIN


@pytest.mark.parametrize(("pairs", "noise"), [(5, 0.02), (6, 0.06), (12, 0.1)])
def test_what_a_comparison_could_have_seen_is_seen_in_four_of_five(pairs, noise):
    """Broken: a change as large as the stated one is missed half of the time."""
    rng = np.random.default_rng(13)
    stated = np.mean(
        [
            effect.minimum_detectable_effect
            for effect in effects_of([runs(rng, pairs, noise=noise) for _ in range(400)])
        ]
    )
    changed = effects_of([runs(rng, pairs, 1 + stated, noise) for _ in range(1000)])
    assert 0.7 <= np.mean([effect.low > 1 for effect in changed]) <= 0.9


def test_what_one_run_a_side_could_have_seen_is_what_the_profiling_report_says():
    """Broken: "could have seen" means one thing in one notebook and another in the other."""
    rng = np.random.default_rng(17)
    control, test = np.exp(rng.normal(math.log(40), 0.1, (2, 400)))
    effect = within_run_effect(control, test, seed=1).minimum_detectable_effect
    assert effect == pytest.approx(minimum_detectable_effect(measured_of(control)), rel=0.25)


def test_without_an_interval_nothing_is_known_of_what_could_have_been_seen():
    """Broken: a minimum detectable effect is made up without an interval."""
    assert Effect(1.0, None, None, 1).minimum_detectable_effect is None


def test_one_run_a_side_counts_the_variation_within_the_runs():
    """Broken: a single pair ignores the variation within its runs."""
    rng = np.random.default_rng(2)
    control, test = rng.normal(40, 2, 200), rng.normal(48, 2, 200)
    effect = within_run_effect(control, test, seed=1)
    assert effect.low <= 1.2 <= effect.high
    assert effect.pairs == 1
    assert effect == within_run_effect(control, test, seed=1)


def test_one_request_a_side_says_nothing():
    """Broken: a single request on each side gets an interval."""
    assert verdict(within_run_effect(np.array([40.0]), np.array([80.0]), 0), None, MARGIN) == NOT_KNOWN
