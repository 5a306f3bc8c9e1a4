"""Scores: whether equal payloads got equal ones, within the precision of the model's number format."""

import pytest

from scoreprof_nb.analysis.scores import TOLERANCES, dtype_of, scores, tolerance_of
from tests.support.synthetic import sent

BFLOAT16 = TOLERANCES["bfloat16"]


def answers(*payload_and_scores):
    return sent(
        *(
            {"at_ms": 1000 * i, "latency_ms": 10, "payload": payload, "scores": values}
            for i, (payload, values) in enumerate(payload_and_scores)
        )
    )


def test_equal_payloads_with_equal_scores_are_consistent():
    """Broken: scores within the tolerance are called inconsistent."""
    result = scores(
        answers((0, [[0.25, 0.75]]), (1, [[0.5, 0.5], [0.1, 0.9]]), (0, [[0.251, 0.749]])), BFLOAT16
    )
    assert result.consistent is True
    assert result.max_difference == pytest.approx(0.001)


def test_equal_payloads_with_other_scores_are_inconsistent():
    """Broken: scores beyond the tolerance are called consistent."""
    result = scores(answers((0, [[0.25, 0.75]]), (0, [[0.27, 0.73]])), BFLOAT16)
    assert result.consistent is False
    assert result.max_difference == pytest.approx(0.02)


def test_the_warm_ups_answers_count_too():
    """Broken: a payload sent once in the warm-up and once in the measurement is not checked for equal scores."""
    twice = sent(
        {"at_ms": 0, "latency_ms": 10, "warmup": True, "scores": [[0.25, 0.75]]},
        {"at_ms": 100, "latency_ms": 10, "scores": [[0.75, 0.25]]},
    )
    assert scores(twice, BFLOAT16).consistent is False


def test_payloads_that_came_once_say_nothing_about_consistency():
    """Broken: payloads sent only once are called consistent."""
    result = scores(answers((0, [[0.25, 0.75]]), (1, [[0.9, 0.1]])), BFLOAT16)
    assert result.consistent is None
    assert result.max_difference is None
    assert result.digest is not None


def test_without_answers_nothing_is_known_of_scores():
    """Broken: a run without answers claims something about its scores."""
    failed = sent({"at_ms": 0, "latency_ms": 1, "error": "timeout", "scores": None})
    assert scores(failed, BFLOAT16).digest is None
    assert scores(failed, BFLOAT16).consistent is None


def test_digest_says_whether_two_runs_gave_the_same_scores():
    """Broken: equal scores of two runs have different digests, or different scores the same one."""
    one = scores(answers((0, [[0.25, 0.75]]), (1, [[0.5, 0.5]])), BFLOAT16)
    reordered = scores(answers((1, [[0.5, 0.5]]), (0, [[0.25, 0.75]]), (0, [[0.2501, 0.7499]])), BFLOAT16)
    other = scores(answers((0, [[0.25, 0.75]]), (1, [[0.6, 0.4]])), BFLOAT16)
    assert one.digest == reordered.digest
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("dtype", "consistent"),
    [("bfloat16", True), ("float16", False), ("float32", False), ("not known", True)],
)
def test_the_tolerance_is_the_precision_of_the_models_own_format(dtype, consistent):
    """Broken: a float32 model whose scores vary by a bfloat16 rounding step is called consistent."""
    result = scores(answers((0, [[0.25, 0.75]]), (0, [[0.255, 0.745]])), tolerance_of(dtype))
    assert result.consistent is consistent
    assert result.max_difference == pytest.approx(0.005)


def test_dtype_is_the_servers_flag_else_the_models_own():
    """Broken: the tolerance is that of another number format than the server used."""
    assert dtype_of({"command": "x --dtype float16", "model_dtype": "float32"}) == "float16"
    assert dtype_of({"command": "x --dtype=auto", "model_dtype": "float32"}) == "float32"
    assert dtype_of({}) == "not known"


def test_new_requests_are_judged_by_those_that_were_sent_once_more():
    """Broken: nothing is checked when payloads are new, or the digest depends on how many were sent."""

    def run(n, again):
        rows = [
            {"at_ms": 10 * k, "latency_ms": 1, "payload": k, "scores": [[0.1 * (k % 9), 0.5]]}
            for k in range(n)
        ]
        more = {"at_ms": 10 * n, "latency_ms": 1, "payload": 0, "repeat": True, "scores": [[again, 0.5]]}
        warm = {"at_ms": -10, "latency_ms": 1, "payload": -1, "warmup": True, "scores": [[0.9, 0.9]]}
        return scores(sent(warm, {**warm, "scores": [[0.1, 0.1]]}, *rows, more), BFLOAT16)

    assert run(5, 0.0).consistent is True
    assert run(5, 0.1).consistent is False
    assert run(5, 0.0).digest == run(50, 0.0).digest != run(5, 0.1).digest


def test_equal_numbers_of_other_kinds_are_other_payloads():
    """Broken: in ``mixed`` the scores of one kind are compared with another's."""
    rows = [
        {"at_ms": 10 * k, "latency_ms": 1, "kind": kind, "payload": 0, "scores": [[0.4 * k]]}
        for k, kind in enumerate(("single", "small"))
    ]
    assert scores(sent(*rows), BFLOAT16).max_difference is None
