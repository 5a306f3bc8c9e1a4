"""What may be claimed: known truths in, verdicts out, wrong answers counted."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scoreprof_nb.comparison.claims import (
    ERROR,
    IMPROVEMENT,
    INCONCLUSIVE,
    NO_CHANGE,
    REGRESSION,
    SIZE_UNCERTAIN,
    Moments,
    holm,
    judge,
    log_margin,
    moments,
)
from scoreprof_nb.comparison.verdict import is_settled, overall, phase_verdicts
from scoreprof_nb.parameters.compare import MARGIN
from tests.truth.power import PHASES, SEQUENTIAL, settled, simulate, targets, whole

MARGINS = log_margin(MARGIN)


def one(mean, error, pairs=6, level=ERROR, **how):
    """The verdict on a single row, from its mean log-ratio and standard error."""
    row = Moments(np.array([mean]), np.array([error]), np.array([pairs - 1.0]))
    return judge(row, MARGINS, level, **how)


def test_every_promise_about_wrong_and_right_answers_is_kept():
    """Broken: chance is called a change in more than 2.5 %, a true change of 20 % in one of four phases is missed, an
    A/A comparison at 3 % noise stays open, or a change as large as the margin is judged wrongly too often.
    The full simulation is make power; a fifth of it has a standard error of 0.8 % near 5 %."""
    missed = [
        target
        for target in targets(800)
        if not target.met
        and abs(target.share - target.bound) > 2 * (target.bound * (1 - target.bound) / 800) ** 0.5
    ]
    assert missed == []


def test_an_imprecise_phase_does_not_hide_a_clear_one():
    """Broken: a true -20 % in one of four phases is "inconclusive" because the others are noisy."""
    of = simulate([0.8, 1, 1, 1], 0.03, SEQUENTIAL, 500)
    assert of.share(IMPROVEMENT) >= 0.95


def test_chance_is_rarely_called_a_change_of_uncertain_size():
    """Broken: "changed" is uncorrected, and said of 13 % of A/A comparisons at 3 % noise."""
    for at_most in (6, SEQUENTIAL):
        assert simulate([1.0] * PHASES, 0.03, at_most, 1000).share_of_any_phase(SIZE_UNCERTAIN) <= 0.05


def test_a_clear_case_ends_early_and_an_unclear_one_goes_on():
    """Broken: every comparison takes all pairs, or none goes on."""
    assert simulate([1.2] * 4, 0.02, SEQUENTIAL, 300).pairs.mean() < 8
    assert simulate([1.0] * 4, 0.01, SEQUENTIAL, 300).pairs.mean() < 8
    assert simulate([1.05] * 4, 0.03, SEQUENTIAL, 300).pairs.mean() > 15


def test_two_levels_of_launches_are_not_called_equal_or_changed():
    """Broken: launches of which half are 20 % slower give a firm verdict on a server that did not change."""
    rng = np.random.default_rng(4)
    levels = np.log(1.2) * rng.integers(0, 2, (2, 500, 1, 16))
    logs = levels[1] - levels[0] + rng.normal(0, 0.01, (500, 1, 16))
    words = judge(moments(logs), MARGINS, ERROR).verdict
    assert np.isin(words, [REGRESSION, IMPROVEMENT]).mean() <= 0.025


@pytest.mark.parametrize(
    ("ratio", "error", "expected"),
    [
        (1.0, 0.001, NO_CHANGE),
        (1.049, 0.01, SIZE_UNCERTAIN),
        (1.2, 0.01, REGRESSION),
        (0.8, 0.01, IMPROVEMENT),
        (1.2, 0.2, INCONCLUSIVE),
        (1.02, 0.001, NO_CHANGE),  # it changed, but not by a meaningful amount
        (1.06, 0.003, REGRESSION),
        (1.06, 0.006, SIZE_UNCERTAIN),  # not shown to be beyond the margin
    ],
)
def test_verdict_on_a_row(ratio, error, expected):
    """Broken: a claim is made without its null hypothesis being rejected, or withheld although it is."""
    assert one(np.log(ratio), error).verdict[0] == expected


def test_null_hypothesis_is_the_margin():
    """Broken: the p-value of a regression is that of "not 1", which half the margin rejects too."""
    judged = one(np.log(1.12), 0.01)
    assert judged.verdict[0] == REGRESSION
    assert judged.p[0] == pytest.approx(stats.t.sf((np.log(1.12) - np.log(1.05)) / 0.01, 5))


def test_p_value_is_on_one_scale_for_every_look():
    """Broken: a reader has to know the look's level to see whether a claim was shown."""
    for level in (0.001, 0.01, ERROR):
        for ratio in np.linspace(0.85, 1.15, 61):
            judged = one(np.log(ratio), 0.012, level=level)
            assert (judged.verdict[0] != INCONCLUSIVE) == (judged.p[0] < ERROR)


def test_more_throughput_is_better():
    """Broken: more throughput is called a regression, or less is not shown to be worse."""
    more, less = (one(np.log(ratio), 0.01, lower_is_better=False) for ratio in (1.2, 0.8))
    assert (more.verdict[0], less.verdict[0]) == (IMPROVEMENT, REGRESSION)
    assert (more.not_worse[0], less.not_worse[0]) == (True, False)


def test_not_worse_is_shown_by_an_improvement_and_by_no_change_only():
    """Broken: the non-inferiority gate passes what may be worse."""
    shown = {ratio: bool(one(np.log(ratio), 0.01).not_worse[0]) for ratio in (0.8, 0.97, 1.0, 1.04, 1.2)}
    assert shown == {0.8: True, 0.97: True, 1.0: True, 1.04: False, 1.2: False}


def test_identical_pairs_are_no_change_and_constant_ones_are_what_they_are():
    """Broken: pairs without any variation divide by zero."""
    rows = np.log(np.array([[1.0] * 6, [1.2] * 6, [0.8] * 6, [1.02] * 6]))
    judged = judge(moments(rows), MARGINS, ERROR)
    assert list(judged.verdict) == [NO_CHANGE, REGRESSION, IMPROVEMENT, NO_CHANGE]
    assert np.isfinite(judged.p).all()


def test_family_is_corrected():
    """Broken: one of twenty rows is a change by chance."""
    rng = np.random.default_rng(9)
    logs = np.log(1.05) + rng.normal(0, 0.03, (1000, 20, 6))
    words = judge(moments(logs), MARGINS, ERROR).verdict
    assert (words == REGRESSION).any(axis=1).mean() <= 0.035


def test_holm_on_a_worked_example():
    """Broken: the correction for several claims is not Holm's."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 8)), elements=st.floats(0, 1)))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(p_values):
    """Broken: the correction makes a p-value smaller, or changes the order."""
    corrected = holm(p_values)
    assert (corrected >= p_values).all()
    assert (corrected <= 1).all()
    order = np.argsort(p_values, axis=-1, kind="stable")
    assert (np.diff(np.take_along_axis(corrected, order, axis=-1), axis=-1) >= 0).all()


def test_simulated_word_of_the_whole_is_that_of_the_report():
    """Broken: make power proves a rule that the report does not follow."""
    words = np.array(
        [
            [REGRESSION, IMPROVEMENT],
            [IMPROVEMENT, INCONCLUSIVE],
            [IMPROVEMENT, SIZE_UNCERTAIN],
            [NO_CHANGE, NO_CHANGE],
            [NO_CHANGE, INCONCLUSIVE],
            [SIZE_UNCERTAIN, NO_CHANGE],
            [IMPROVEMENT, NO_CHANGE],
        ]
    )
    for ratio in (0.97, 1.03):
        seen = np.full(words.shape, ratio)
        for row, word, ended in zip(words, whole(words, seen), settled(words), strict=True):
            metrics = pd.DataFrame(
                {
                    **{"phase": ["a", "b"], "metric": "mean", "role": "headline", "lower_is_better": True},
                    **{"ratio": ratio, "low": 0.9, "high": 1.1, "pairs": 6, "delta": 0.05},
                    **{"not_worse": False, "verdict": list(row)},
                }
            )
            assert overall(phase_verdicts(metrics), metrics) == word
            assert is_settled(metrics, blocked=False) == ended
