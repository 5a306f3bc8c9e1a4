"""When a thread ran and when it waited for a core, from the kernel's counters (schedstat.parquet).

The counters move late: the time on a CPU at the kernel's next timer tick (4 ms at 250 Hz) or when the
thread stops running, the time of a wait when it is over. Both are put back to where they belong: a thread
cannot have run, or waited, for longer than the time that has passed, so what is too much for an interval
belongs to the one before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ThreadCounters:
    """One thread over a block: seconds on a CPU and seconds waiting for one, since ``time_s[0]``.

    Arrays of shape (readings,): ``time_s`` (epoch seconds), ``on_cpu_s``, ``runnable_s``. In between, the
    counters are straight lines.
    """

    time_s: Floats
    on_cpu_s: Floats
    runnable_s: Floats

    def between(self, edges: Floats) -> tuple[Floats, Floats]:
        """Seconds on a CPU and seconds waiting for one between each two edges (epoch seconds)."""
        on_cpu, runnable = (
            np.diff(np.interp(edges, self.time_s, counter)) for counter in (self.on_cpu_s, self.runnable_s)
        )
        return on_cpu, runnable

    def shares(self, first: Floats, last: Floats) -> tuple[Floats, Floats]:
        """The shares of each interval on a CPU, and waiting for one; ``first`` and ``last``: epoch s."""
        lengths = np.maximum(last - first, 1e-9)
        on_cpu, runnable = (
            (np.interp(last, self.time_s, counter) - np.interp(first, self.time_s, counter)) / lengths
            for counter in (self.on_cpu_s, self.runnable_s)
        )
        return np.clip(on_cpu, 0, 1), np.clip(runnable, 0, 1)


def block_counters(schedstat: pd.DataFrame, block: int) -> Mapping[tuple[int, int], ThreadCounters]:
    """The counters of each thread in a block, by (pid, tid); threads with a single reading are left out."""
    of_block = schedstat["block"].to_numpy() == block
    pid, tid, time_ns, on_cpu_ns, runnable_ns = (
        schedstat[name].to_numpy()[of_block] for name in ("pid", "tid", "time_ns", "on_cpu_ns", "runnable_ns")
    )
    order = np.lexsort((time_ns, tid, pid))
    another = (np.diff(pid[order]) != 0) | (np.diff(tid[order]) != 0)
    return {
        (int(pid[rows[0]]), int(tid[rows[0]])): thread_counters(
            time_ns[rows], on_cpu_ns[rows], runnable_ns[rows]
        )
        for rows in np.split(order, np.flatnonzero(another) + 1)
        if len(rows) > 1
    }


def thread_counters(time_ns: Ints, on_cpu_ns: Ints, runnable_ns: Ints) -> ThreadCounters:
    """The counters of one thread, at least two readings in the order of time."""
    time_s = time_ns / 1e9
    capacity = np.diff(time_s)
    on_cpu = _put_back(np.diff(on_cpu_ns) / 1e9, capacity)
    runnable = _put_back(np.diff(runnable_ns) / 1e9, np.maximum(capacity - on_cpu, 0.0))
    return ThreadCounters(time_s, _cumulative(on_cpu), _cumulative(runnable))


def _cumulative(increments: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(increments)])


def _put_back(increments: Floats, capacity: Floats) -> Floats:
    """Move what exceeds the capacity of an interval to the ones before it.

    From the last interval back, the debt is ``max(0, debt + increment - capacity)``. What even the first
    interval cannot hold happened before it, and is dropped.
    """
    excess = np.cumsum((increments - capacity)[::-1])
    debt = (excess - np.minimum(np.minimum.accumulate(excess), 0.0))[::-1]  # after each interval, going back
    carried: Floats = np.concatenate([debt[1:], [0.0]])
    return np.maximum(increments + carried - debt, 0.0)
