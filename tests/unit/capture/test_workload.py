"""What is sent: the same bytes for the same seed."""

import json

import pytest

from scoreprof_nb.capture.workload import DISTINCT_PAYLOADS, request_bodies, workload_fingerprint
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError


def payloads(phase, **parameters):
    return [body.payload for body in request_bodies(Parameters(**parameters), phase, [294, 293])]


# ---- bodies


@pytest.mark.parametrize("phase", ["single", "small", "large", "mixed"])
def test_same_seed_gives_the_same_bytes(phase):
    """Broken: control and test do different work."""
    assert payloads(phase, seed=7) == payloads(phase, seed=7)


def test_other_seed_gives_other_bytes():
    """Broken: every seed gives the same requests."""
    assert not set(payloads("small", seed=1)) & set(payloads("small", seed=2))


def test_bytes_depend_on_nothing_but_seed_kind_and_items():
    """Broken: a longer phase or a higher rate changes what is sent."""
    plain = payloads("small", seed=1)
    assert plain == payloads(
        "small", seed=1, phase_s=100, rate_hz=7, concurrency=3, single_items=5, label="x"
    )
    assert plain != payloads("small", seed=1, small_items=5)
    assert plain != payloads("single", seed=1, single_items=4)


def test_bodies_are_score_requests_of_the_asked_size():
    """Broken: a phase sends requests of another size, or none that the Score API accepts."""
    for phase, items in (("single", 1), ("small", 4), ("large", 32)):
        bodies = request_bodies(Parameters(), phase, [294, 293])
        assert len({body.payload for body in bodies}) == DISTINCT_PAYLOADS
        for body in bodies:
            sent = json.loads(body.payload)
            assert (body.kind, body.items, len(sent["items"])) == (phase, items, items)
            assert sent["label_token_ids"] == [294, 293]
            assert all(isinstance(item, str) and item for item in [sent["query"], *sent["items"]])


def test_mixed_alternates_the_kinds_and_sends_their_bytes():
    """Broken: ``mixed`` sends other requests than the phases that it is compared with."""
    mixed = request_bodies(Parameters(), "mixed", [294, 293])
    assert [body.kind for body in mixed] == ["single", "small", "large"] * DISTINCT_PAYLOADS
    for kind in ("single", "small", "large"):
        assert [body.payload for body in mixed if body.kind == kind] == payloads(kind)


def test_description_tells_other_bytes_and_nothing_else_apart():
    """Broken: runs with different requests are compared, or runs with the same are refused."""
    described_as = {
        workload_fingerprint(request_bodies(Parameters(**parameters), "mixed", labels))
        for parameters, labels in (
            ({}, [294, 293]),
            ({"label": "x", "phase_s": 9}, [294, 293]),
            ({"seed": 5}, [294, 293]),
            ({}, [1, 2]),
            ({"small_items": 5}, [294, 293]),
        )
    }
    assert len(described_as) == 4
    assert all("8 single x 1" in text for text in described_as)


def test_file_phase_sends_the_users_bodies(tmp_path):
    """Broken: the phase of the user's file sends something else."""
    path = tmp_path / "own.jsonl"
    path.write_text('{"query": "q", "items": ["a", "b", "c"]}\n')
    (body,) = request_bodies(Parameters(requests_file=str(path)), "file", [1])
    assert (body.kind, body.items, body.labels) == ("file", 3, 1)
    with pytest.raises(ParameterError, match="cannot be read"):
        request_bodies(Parameters(requests_file=str(tmp_path / "none")), "file", [1])
