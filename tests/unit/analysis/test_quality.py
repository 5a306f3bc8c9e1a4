"""The quality of a capture, and that what is missing from it fails a check."""

from dataclasses import replace

import numpy as np
import pytest

from scoreprof_nb.analysis.quality import capture_quality, limits
from tests.support.synthetic import block, phase_of, place, stack_table, thread_ticks, ticked

STACKS = ["main@serve.py"] * 10


def ticks_of(*threads, written=20):
    of = block(wall_s=0.1)
    of = replace(of, recording=replace(of.recording, samples=written))
    table = stack_table(
        place("http", "main", STACKS, pid=1, tid=1), place("scheduler", "main", STACKS, pid=2, tid=2)
    )
    return phase_of(ticked(threads, of=of, table=table))


def lost(thread, n):
    return replace(thread, lost=np.arange(len(thread.components)) < n)


def quality_of(*threads):
    ticks = ticks_of(*threads)
    return capture_quality(ticks, ticks.phase.threads)


def checks_of(ticks):
    return {
        check.name: check.passed
        for check in limits("small", capture_quality(ticks, ticks.phase.threads), 0.0, ())
    }


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_lost_share_is_that_of_the_thread_that_lost_most(order):
    """Broken: torn stacks of the scheduler hide behind a thread that always sleeps."""
    scheduler = lost(thread_ticks("scheduler", "main", "batch*10", pid=2, tid=2), 3)
    watchdog = thread_ticks("scheduler", "watchdog", "idle_wait*10", pid=2, tid=3)
    http = thread_ticks("http", "main", "http*10", pid=1, tid=1)
    assert quality_of(*[http, scheduler, watchdog][order]).lost_share == pytest.approx(0.3)


@pytest.mark.parametrize(("written", "passed"), [(20, True), (25, False), (None, None)])
def test_samples_that_were_not_read_fail_a_check(written, passed):
    """Broken: a recording that is cut short gives a smaller number and no word."""
    ticks = ticks_of(thread_ticks("http", "main", "http*10", pid=1, tid=1), written=written)
    assert checks_of(ticks)["every sample that py-spy wrote was read"] is passed


def test_rate_is_that_of_the_block():
    found = quality_of(thread_ticks("http", "main", "http*10", pid=1, tid=1))
    assert (found.ticks, found.effective_rate_hz) == (10, pytest.approx(100))
