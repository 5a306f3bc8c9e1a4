"""The kernel's counters as lines over time: late ones are put back to where they belong."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.analysis.cpu_counters import block_counters, thread_counters
from tests.support.synthetic import START_S

MS = 1_000_000


def rows(*readings, block=0, pid=10, tid=10):
    """Rows of schedstat.parquet: (ms since START_S, ms on a CPU, ms waiting for one) each."""
    return pd.DataFrame(
        [
            (block, round(START_S * 1e9) + round(at * MS), pid, tid, round(on * MS), round(wait * MS))
            for at, on, wait in readings
        ],
        columns=["block", "time_ns", "pid", "tid", "on_cpu_ns", "runnable_ns"],
    )


def counters_of(table):
    return thread_counters(*(table[name].to_numpy() for name in ("time_ns", "on_cpu_ns", "runnable_ns")))


def between(counters, *at_ms):
    on_cpu, runnable = counters.between(START_S + np.array(at_ms) / 1e3)
    return on_cpu * 1e3, runnable * 1e3


def test_counter_that_keeps_up_is_read_as_it_is():
    counters = counters_of(rows((0, 100, 50), (4, 103, 51), (8, 103, 51)))
    on_cpu, runnable = between(counters, 0, 4, 8)
    assert on_cpu == pytest.approx([3, 0], abs=1e-3)
    assert runnable == pytest.approx([1, 0], abs=1e-3)


def test_time_that_is_counted_late_is_put_back():
    """The kernel counts at its own tick: 6 ms of running appear at once, in a reading of 4 ms."""
    counters = counters_of(rows((0, 0, 0), (4, 0, 0), (8, 0, 0), (12, 6, 0)))
    assert between(counters, 0, 4, 8, 12)[0] == pytest.approx([0, 2, 4], abs=1e-3)


def test_wait_that_is_counted_when_it_is_over_comes_before_the_run():
    """Broken: a thread that waited 7 ms for a core seems to wait while it runs."""
    counters = counters_of(rows((0, 0, 0), (4, 0, 0), (8, 0, 0), (12, 3, 7)))
    on_cpu, runnable = between(counters, 0, 4, 8, 12)
    assert on_cpu == pytest.approx([0, 0, 3], abs=1e-3)
    assert runnable == pytest.approx([2, 4, 1], abs=1e-3)


def test_shares_are_of_each_interval():
    counters = counters_of(rows((0, 0, 0), (4, 1, 2), (8, 1, 2)))
    at = START_S + np.array([0, 0.004])
    on_cpu, runnable = counters.shares(at, at + 0.004)
    assert on_cpu == pytest.approx([0.25, 0], abs=1e-3)
    assert runnable == pytest.approx([0.5, 0], abs=1e-3)


def test_each_thread_of_a_block_has_its_own_counters():
    """Broken: blocks or threads are mixed up."""
    table = pd.concat(
        [
            rows((0, 0, 0), (4, 1, 0)),
            rows((0, 0, 0), (4, 2, 0), tid=11),
            rows((0, 0, 0), (4, 3, 0), block=1),
            rows((0, 0, 0), tid=12),
        ]
    )
    counters = block_counters(table, 0)
    assert set(counters) == {(10, 10), (10, 11)}
    assert between(counters[10, 11], 0, 4)[0] == pytest.approx([2], abs=1e-3)


@given(
    st.lists(
        st.tuples(st.floats(0.5, 8), st.floats(0, 12), st.floats(0, 12)).map(
            lambda one: tuple(map(round, one))
        ),
        min_size=1,
        max_size=30,
    )
)
def test_thread_never_does_more_than_time_allows_and_nothing_is_invented(steps):
    """Broken: a thread runs for more than all of an interval, or the total grows."""
    readings = [(0, 0, 0)]
    for length, on, wait in steps:
        at, before_on, before_wait = readings[-1]
        readings.append((at + max(length, 1), before_on + on, before_wait + wait))
    counters = counters_of(rows(*readings))
    capacity = np.diff([at for at, _, _ in readings])
    on_cpu, runnable = between(counters, *(at for at, _, _ in readings))
    assert (on_cpu + runnable <= capacity + 1e-2).all()
    assert on_cpu.sum() <= readings[-1][1] + 1e-2
    assert runnable.sum() <= readings[-1][2] + 1e-2
    if all(on <= max(length, 1) for length, on, _ in steps):
        assert on_cpu == pytest.approx([on for _, on, _ in steps], abs=1e-2)
