"""Where `make bench ONLY=own` gets the parts of a run's time from."""

import pytest

from scoreprof_nb.run_folder.records import (
    Block,
    DeviceTrace,
    Manifest,
    PhaseRecord,
    ServerProcess,
    Warmup,
)
from tests.bench.own_run import parts_of, written

START_S = 1_700_000_000.0


def phase(name, started_s, finished_s, trace=None):
    """Warm-up of 5 s, then two blocks of 4 s with a second between them."""
    at_s = START_S + started_s
    blocks = (Block(0, at_s + 5, at_s + 9, None), Block(1, at_s + 10, at_s + 14, None))
    processes = (ServerProcess(1, 0, "launch_server"),)
    warmup = Warmup(5, 5.0, None, True, "5 requests")
    return PhaseRecord(name, at_s, START_S + finished_s, warmup, blocks, processes, device_trace=trace)


RECORDS = (
    phase("single", 20, 40, DeviceTrace(START_S + 35, START_S + 36, write_s=2)),
    phase("small", 42, 58),
)
MANIFEST = Manifest(
    run_id="a",
    label="a",
    parameters={},
    phases=("single", "small"),
    started_s=START_S + 3,
    finished_s=START_S + 61,
    status="complete",
)


@pytest.fixture
def parts():
    return parts_of(MANIFEST, RECORDS, START_S, START_S + 70)


def test_parts_add_up_to_the_run(parts):
    """Broken: some of a run's time is left out, or counted twice."""
    assert sum(part.seconds for part in parts) == pytest.approx(70)


def test_only_what_the_kit_itself_does_is_its_own(parts):
    """Broken: the kit would answer for the server's start, or would hide its own work in the load."""
    by_name = {part.name.partition(",")[0].partition(";")[0]: part.seconds for part in parts}
    assert by_name == pytest.approx(
        {
            "imports": 3,
            "the server's start": 17,
            "warm-up": 10,
            "load": 18,
            "device traces": 4,
            "ends of phases": 6,
            "the server's end": 3,
            "analysis": 9,
        }
    )
    assert sum(part.seconds for part in parts if part.whose == "kit") == pytest.approx(3 + 6 + 9)


def test_section_says_what_is_the_kits(parts):
    """Broken: the page would not answer how long the kit itself takes."""
    text = written(parts, 2, (7.25, 8.0))
    assert "of 70 s, **18.0 s** are the kit's own" in text
    assert "7.2 s" in text
