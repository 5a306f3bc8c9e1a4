"""The checks that a phase was not cut off, that nobody set the clock, and that nothing paused the capture."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from scoreprof_nb.analysis.capture_checks import capture_checks
from scoreprof_nb.run_folder.store import Phase
from tests.support.stored_run import START_S, record

WHOLE, CLOCK = "every planned block was measured", "the machine's clock was not set"
PAUSE = "the capture was never paused"


def checks(sampled_s=(), **changes):
    """``sampled_s``: when the memory of two processes was read, in seconds after the start."""
    times_ns = [round((START_S + second) * 1e9) + late_ns for second in sampled_s for late_ns in (0, 10_000)]
    memory = pd.DataFrame({"time_ns": times_ns, "pid": 1, "rss_bytes": 1})
    phase = Phase(replace(record(), **changes), pd.DataFrame(), pd.DataFrame(), memory, Path())
    return {check.name: check for check in capture_checks(phase)}


def test_phase_that_was_cut_off_says_which_part_it_has():
    """Broken: a report shows the first minutes of an hour as the hour."""
    check = checks(planned_blocks=64)[WHOLE]
    assert check.passed is False
    assert check.text.startswith("3 of 64, 3 s")
    assert checks(planned_blocks=3)[WHOLE].passed is True


def test_steps_of_the_clock_are_told():
    """Broken: an hour's step, after which other programs' times are off, is not said."""
    check = checks(clock_steps=((START_S + 1, 3600.0), (START_S + 2, -3600.0)))[CLOCK]
    assert check.passed is False
    assert "+3600.0 s 1 s after the start, -3600.0 s 2 s after the start" in check.text
    assert checks(clock_steps=())[CLOCK].passed is True
    many = checks(clock_steps=tuple((START_S + n, 1.0) for n in range(50)))[CLOCK]
    assert "and 47 more" in many.text
    assert len(many.text) < 250


@pytest.mark.parametrize(
    ("sampled_s", "passed", "text"),
    [
        ((-1, 0, 1, 2, 3), True, "it was not"),
        ((-1, 0, 1.2, 3.4), True, "it was not"),  # a busy machine
        ((-1, 0, 1, 9.5, 10.5), False, "for 8.5 s, 1 s after the start: latencies and paths include it"),
        ((-9, -1, 0, 1, 2, 3, 12), True, "it was not"),  # before and after the blocks
    ],
)
def test_pause_of_the_capture_is_told(sampled_s, passed, text):
    """Broken: a virtual machine that was suspended for seconds looks like a slow server."""
    check = checks(sampled_s)[PAUSE]
    assert (check.passed, check.text) == (passed, text)


def test_runs_of_older_versions_are_not_judged():
    """Broken: what was not recorded counts as passed."""
    assert [check.passed for check in checks().values()] == [None, None, None]
