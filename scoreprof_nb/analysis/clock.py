"""The times of a recording's ticks, from the stack of the launcher's clock.

The launcher's main thread runs one line of ``CLOCK_FILE`` after the other, SLOT_S each, so its line
number in a sample is the time within a cycle of SLOTS slots.
"""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.components.classify import ThreadActivity
from scoreprof_nb.run_folder.records import Recording
from scoreprof_nb.stacks.table import StackTable

# As in capture/launcher.py, which is stand-alone: a test asserts that they agree.
CLOCK_FILE, SLOT_S, SLOTS, FIRST_LINE = "scoreprof-clock", 0.004, 2500, 2

LATE_S = 0.15  # py-spy attaches to the processes one after the other


def late_ticks(recording: Recording) -> float:
    """The number of ticks by which py-spy may attach to a process later than to the first."""
    return max(2.0, LATE_S * recording.rate_hz)


def tick_times(
    clock_s: NDArray[np.float64] | None, n: int, recording: Recording
) -> tuple[NDArray[np.float64], bool]:
    """Epoch seconds of each of ``n`` ticks, and whether they were measured.

    ``clock_s``: by the launcher's clock; None, or too few of them: ticks are taken as evenly spaced.
    """
    if clock_s is None or n - len(clock_s) > late_ticks(recording):
        return _even_times(recording, n), False
    return _with_late_start(clock_s, n, recording), True


def _even_times(recording: Recording, n: int) -> NDArray[np.float64]:
    recorded_s = recording.stopped_s - recording.started_s
    return recording.started_s + (np.arange(n) + 0.5) * recorded_s / max(n, 1)


def _with_late_start(times: NDArray[np.float64], n: int, recording: Recording) -> NDArray[np.float64]:
    """The clock's times over all ticks. Those that the clock lacks are at the beginning, as py-spy
    attached to it later than to another process; they are spread evenly before its first one."""
    missing = max(n - len(times), 0)
    start = min(recording.started_s, float(times[0]))
    before = start + (np.arange(missing) + 0.5) * (float(times[0]) - start) / max(missing, 1)
    return np.concatenate([before, times])[:n]


def clock_times(
    activities: Iterable[ThreadActivity], table: StackTable, recording: Recording
) -> NDArray[np.float64] | None:
    """Epoch seconds of each tick, from the launcher's stack; None without a launcher."""
    clock = next((a for a in activities if a.role.process == "clock" and a.role.thread == "main"), None)
    if clock is None:
        return None
    slots = np.full(table.n_stacks, -1, dtype=np.int64)
    for stack_id in np.unique(clock.samples.stack_ids):
        for frame in table.stack(int(stack_id)):
            if frame.file.endswith(CLOCK_FILE) and frame.line is not None and frame.line >= FIRST_LINE:
                slots[stack_id] = frame.line - FIRST_LINE
    slot = slots[clock.samples.stack_ids]
    known = slot >= 0
    if known.sum() < 0.9 * max(len(slot), 1):
        return None
    return _unwrapped(slot, known, recording)


def _unwrapped(
    slot: NDArray[np.int64], known: NDArray[np.bool_], recording: Recording
) -> NDArray[np.float64]:
    """Slots of a repeating cycle to epoch seconds: each in the cycle that is nearest to the time that
    evenly spaced ticks would have. What contradicts most others, as when the clock was seen while it caught
    up with the present, is not known."""
    cycle_s = SLOTS * SLOT_S
    n = len(slot)
    expected = _even_times(recording, n)
    within = (slot + 0.5) * SLOT_S
    times = within + np.round((expected - within) / cycle_s) * cycle_s
    index = np.arange(n)
    trusted = index[known][_in_order(times[known])]
    return np.interp(index, trusted, times[trusted])


def _in_order(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """The places of a longest part of the times that never goes back (patience sorting)."""
    ends: list[float] = []  # of the parts of each length so far, the smallest last time
    places: list[int] = []
    before = np.full(len(times), -1, dtype=np.int64)
    for place, time_s in enumerate(times.tolist()):
        length = bisect_right(ends, time_s)
        before[place] = places[length - 1] if length else -1
        ends[length : length + 1] = [time_s]
        places[length : length + 1] = [place]
    chosen = []
    place = places[-1] if places else -1
    while place >= 0:
        chosen.append(place)
        place = int(before[place])
    return np.array(chosen[::-1], dtype=np.int64)
