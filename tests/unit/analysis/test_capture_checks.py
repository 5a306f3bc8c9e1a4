"""The checks that a phase was not cut off, and that nobody set the clock."""

from dataclasses import replace

from scoreprof_nb.analysis.capture_checks import capture_checks
from tests.support.stored_run import START_S, record

WHOLE, CLOCK = "every planned block was measured", "the machine's clock was not set"


def checks(**changes):
    return {check.name: check for check in capture_checks(replace(record(), **changes))}


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


def test_runs_of_older_versions_are_not_judged():
    """Broken: what was not recorded counts as passed."""
    assert [check.passed for check in capture_checks(record())] == [None, None]
