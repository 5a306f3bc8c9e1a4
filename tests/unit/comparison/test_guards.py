"""What blocks an improvement: each guard by its one definition, whatever else was measured."""

import numpy as np
import pytest

from scoreprof_nb.comparison.claims import IMPROVEMENT
from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.comparison.correctness import deviates, is_reordered, logit_tolerance
from scoreprof_nb.comparison.guards import cached_token_share, failures_guard, stopped_guard
from scoreprof_nb.comparison.verdict import BLOCKED
from scoreprof_nb.report.comparison_tables import guards_table
from scoreprof_nb.report.comparison_verdict import sentence
from tests.support.compared_runs import NOISE, compared, phase, report_of, run, side


def blocking(comparison):
    """(guard, phase) of each guard that blocks."""
    rows = comparison.guards[comparison.guards["blocks"]].to_dict("records")
    return [(row["guard"], row["phase"]) for row in rows]


def with_scores(runs, scores):
    """The runs with these scores in every answer: shape (items, labels)."""
    for one in runs:
        for of_phase in one.phases:
            table = of_phase.phase.requests
            table["scores"] = [scores for _ in range(len(table))]
    return runs


def two_labels(*probabilities):
    return [[p, 1 - p] for p in probabilities]


def test_one_failure_in_twelve_of_one_phase_of_four_blocks():
    """Broken: a correction over phases hides that every launch of test fails 1 of 12 large requests."""

    def launch(number, at, factor, failed):
        quick = [phase(factor=factor * NOISE[number], name=name) for name in ("single", "small", "mixed")]
        large = phase(factor=factor * NOISE[number], name="large", requests=12, failed=failed)
        return run(*quick, large, started_s=1e9 + 100 * number + at)

    control = [launch(number, 0, 1.0, 0) for number in range(6)]
    test = [launch(number, 1, 0.7, 1) for number in range(6)]
    comparison = compare(control, test)
    assert blocking(comparison) == [("failures", "large")]
    assert comparison.verdict == BLOCKED
    assert IMPROVEMENT not in set(comparison.metrics["verdict"]) | set(comparison.phase_verdicts["verdict"])
    assert "failed requests: test 6 of 72, control 0 of 72 in large" in sentence(report_of(comparison))


@pytest.mark.parametrize(
    ("control", "test", "of", "blocks"),
    [
        (0, 0, 1000, False),
        (0, 1, 1000, True),  # any, where control has none
        (5, 6, 1000, False),
        (5, 20, 1000, True),  # more than 1 %, and more by Fisher's test
        (12, 11, 1000, True),  # more than 1 %, although control fails as many
        (40, 80, 20_000, True),  # 0.4 %, but twice as many as control
        (40, 41, 20_000, False),
        (5, 0, 240, False),  # fewer are no reason to block
    ],
)
def test_failures_that_block(control, test, of, blocks):
    """Broken: failures of test pass, or a fix of failures is blocked."""
    assert failures_guard("small", control, of, test, of).blocks == blocks


def test_stopped_runs_block_when_test_has_more():
    """Broken: a branch that crashes now and then is an improvement."""
    assert stopped_guard({"control": (), "test": ("pair 1: died",)}).blocks
    assert not stopped_guard({"control": ("pair 1: died",), "test": ("pair 2: died",)}).blocks


def test_small_scores_that_change_by_a_factor_of_twelve_are_other_scores():
    """Broken: an absolute tolerance of 2^-7 calls 0.006 -> 0.0005 the same."""
    control = with_scores(side(), two_labels(0.006, 0.004))
    test = with_scores(side(0.7, at=1), two_labels(0.0005, 0.004))
    comparison = compare(control, test)
    assert blocking(comparison) == [("scores", "small")]
    assert comparison.correctness.scores.iloc[0]["largest_logit_change"] == pytest.approx(2.49, abs=0.01)


@pytest.mark.parametrize("p", [0.001, 0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_one_definition_in_logit_space(p, dtype):
    """Broken: half of the tolerance of a logit deviates, or twice of it, and more, does not."""
    tolerance = logit_tolerance(dtype)

    def shifted(by):
        return 1 / (1 + np.exp(-(np.log(p / (1 - p)) + by)))

    reference = np.array([[p, 1 - p]])
    small, large = (np.array([[[q, 1 - q]]]) for q in (shifted(tolerance / 2), shifted(2 * tolerance + 0.5)))
    assert not deviates(small, reference, tolerance)[0]
    if p * (1 - p) > 1e-3:
        assert deviates(large, reference, tolerance)[0]


def test_reordered_items_block_also_when_the_scores_are_nearly_equal():
    """Broken: items in another order, whose scores differ by less than the tolerance, are the same answer."""
    control = with_scores(side(), two_labels(0.501, 0.502, 0.503, 0.504))
    test = with_scores(side(0.7, at=1), two_labels(0.504, 0.501, 0.502, 0.503))
    comparison = compare(control, test)
    assert blocking(comparison) == [("scores", "small")]
    assert "items in another order" in sentence(report_of(comparison))


def test_rounding_is_no_reordering():
    """Broken: a rounding step that changes the order of two nearly equal items blocks."""
    rng = np.random.default_rng(1)
    scores = np.array([[0.5, 0.5], [0.5002, 0.4998], [0.51, 0.49], [0.3, 0.7]])
    control = np.array([scores, scores])
    for _ in range(200):
        noise = rng.normal(0, 1e-3, 4)
        assert not is_reordered(control, control + np.stack([noise, -noise], axis=1))
    assert not is_reordered(control[:, :1], control[:, :1] + 0.1)


def test_items_that_control_itself_cannot_tell_apart_have_no_order():
    """Broken: a server whose scores vary by themselves is accused of reordering."""
    rng = np.random.default_rng(2)
    answers = 0.5 + rng.normal(0, 1e-3, (2, 8, 4, 1))
    assert not is_reordered(answers[0], answers[1])


def test_no_shared_payload_is_not_checked_and_blocks():
    """Broken: sides without a common request are assumed to return the same scores."""
    test = side(0.7, at=1)
    for one in test:
        one.phases[0].phase.requests["payload"] += 100
    comparison = compare(side(), test)
    assert blocking(comparison) == [("scores", "small")]
    assert "not checked" in sentence(report_of(comparison))
    assert guards_table(comparison).iloc[0]["result"] == "BLOCKS"


PAYLOADS = 2000


def with_new_requests(runs, answered, seed, repeats=20, skewed=(), skew=0.0):
    """The runs with ``answered`` requests that are all new, and some of them once more. Their logits are
    rounded as in bfloat16; those of the payloads ``skewed`` are ``skew`` larger."""
    for at, one in enumerate(runs):
        noise = np.random.default_rng([seed, at])
        table = one.phases[0].phase.requests
        number = np.concatenate([np.arange(answered), np.arange(repeats)])
        logits = np.random.default_rng(0).normal(2.5, 1.5, (PAYLOADS, 4))[number] + noise.normal(
            0, 0.012, (len(number), 4)
        )
        logits[np.isin(number, skewed)] += skew
        step = 2.0 ** (np.floor(np.log2(np.abs(logits))) - 7)
        p = 1 / (1 + np.exp(-np.round(logits / step) * step))
        new = table.loc[np.zeros(len(number), dtype=int)].reset_index(drop=True)
        one.phases[0].phase.requests = new.assign(
            payload=number,
            repeat=np.arange(len(number)) >= answered,
            scores=list(np.stack([p, 1 - p], axis=2)),
        )
    return runs


def test_thousands_of_new_requests_are_compared_where_both_sides_sent_them():
    """Broken: each request is new, the faster side sends more of them, and its further requests or the
    rounding of a few are other scores."""
    control = with_new_requests(side(pairs=1), PAYLOADS - 500, 1)
    test = with_new_requests(side(0.7, at=1, pairs=1), PAYLOADS, 2)
    comparison = compare(control, test)
    row = comparison.correctness.scores.iloc[0]
    assert (row["payloads"], row["only_one_side"]) == (PAYLOADS - 500, 500)
    assert row["test_answers"] == PAYLOADS - 500 + 20, "repeats count too"
    assert row["test_deviating"] > 0, "of rounding alone"
    assert row["same"]
    assert blocking(comparison) == []


@pytest.mark.parametrize(
    ("skewed", "skew"), [((7,), 0.5), (range(0, PAYLOADS, 40), 0.12)], ids=["one far off", "many a little"]
)
def test_other_scores_among_thousands_of_new_requests_block(skewed, skew):
    """Broken: what is allowed for rounding hides a wrong answer, or a change of one payload in forty."""
    control = with_new_requests(side(pairs=2), PAYLOADS, 1)
    test = with_new_requests(side(0.7, at=1, pairs=2), PAYLOADS, 2, skewed=skewed, skew=skew)
    comparison = compare(control, test)
    assert blocking(comparison) == [("scores", "small")]
    assert "other scores" in sentence(report_of(comparison))


@pytest.mark.parametrize(
    ("control", "test", "blocks"), [(0.0, 0.4, True), (0.4, 0.0, True), (0.3, 0.305, False)]
)
def test_more_hits_of_the_prefix_cache_on_one_side_block(control, test, blocks):
    """Broken: a side that found its prompts in the cache did less work, and is called faster."""
    comparison = compare(side(cached=control), side(0.7, cached=test, at=1))
    assert blocking(comparison) == ([("prefix cache", "small")] if blocks else [])


def test_unknown_cache_hits_are_said_to_be_unknown():
    """Broken: a server log without the count passes for one without hits."""
    assert cached_token_share(phase()) is None
    reasons = list(compared().guards.query("guard == 'prefix cache'")["reason"])
    assert reasons == ["prompt tokens from the prefix cache: not known"]
