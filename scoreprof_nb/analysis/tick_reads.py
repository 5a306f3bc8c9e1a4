"""The times of a recording's ticks, from how often py-spy had read by when (``capture/tick_reader.py``).

For servers that the kit did not launch. At each tick py-spy reads the state of each thread of the server's
root process once, so the count of its reads grows by the number of threads, ``K``. Before the first tick it
reads the process's memory map, parses its program for tens of milliseconds, and tries to take one stack,
which is in no recording.

The k-th step of K reads after that is the k-th tick. Where the counts do not say that without doubt, the
result is a reason: a shift by one tick would put every sample into a neighbouring moment.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.components.classify import ThreadActivity
from scoreprof_nb.run_folder.records import Recording

PAUSE_S = 0.004  # between the memory map and the first stack, and twice the time between two readings
TRIED = 1  # stacks that are taken before the first tick
UNEVEN = 0.25  # of K: a burst of reads that is no multiple of K
MOST_UNEVEN = 0.02  # of the bursts
STOP_S = 0.010  # by which the last tick may be read after py-spy was told to stop, or noticed late


def root_times(
    reads: pd.DataFrame, activities: Sequence[ThreadActivity], recording: Recording
) -> tuple[NDArray[np.float64] | None, str | None]:
    """The times of the root process's ticks, or why they are not known. ``reads``: see ``read_times``."""
    roots = [activity.samples for activity in activities if not activity.samples.parents]
    if not roots:
        return None, "no samples of the server's root process"
    lost = sum(pid == roots[0].pid for _, pid, _ in recording.lost)
    times = read_times(reads, max(samples.ticks for samples in roots) + lost, recording.stopped_s)
    return (None, times) if isinstance(times, str) else (times, None)


def read_times(reads: pd.DataFrame, ticks: int, stopped_s: float) -> NDArray[np.float64] | str:
    """Epoch seconds of each tick of the root process, shape (ticks,), or why they are not known.

    ``reads``: columns before_ns, at_ns, reads, as in reads.parquet, of one block; ``ticks``: how many the
    recording has of the root process, lost ones included; ``stopped_s``: when py-spy was told to stop.
    """
    before, at = (reads[name].to_numpy(dtype=np.int64) for name in ("before_ns", "at_ns"))
    counts = reads["reads"].to_numpy(dtype=np.int64)
    apart = (before[1:] - at[:-1]) / 1e9  # readings without a change lie in between
    pauses = np.flatnonzero((apart >= PAUSE_S) & (counts[:-1] > 0))
    if not len(pauses):
        return "py-spy's reads were not counted"
    first = int(pauses[0]) + 1
    steps = np.diff(counts)[first - 1 :]
    before, at = before[first:], at[first:]
    size = int(np.bincount(steps).argmax())
    ends = np.append(apart[first:] > 0, True)  # of bursts: a reading without a change follows
    bursts = np.diff(np.append(0, np.cumsum(steps)[ends]))
    uneven = np.abs(bursts / size - np.round(bursts / size)) > UNEVEN
    if uneven.mean() > MOST_UNEVEN or bursts.sum() % size:
        return f"py-spy's reads come in other numbers than {size} at a time: threads began or ended"
    found = _spread(np.round(np.cumsum(steps) / size).astype(np.int64), before, at)[TRIED:]
    sampled, later = found[:ticks], found[ticks:]
    stops = len(sampled) == ticks and sampled[-1] <= stopped_s + STOP_S
    if not stops or (len(later) and later[0] < stopped_s - STOP_S):
        until = int((found <= stopped_s).sum())
        return f"py-spy read {until} times until it was stopped, and the recording has {ticks} ticks"
    return sampled


def _spread(
    complete: NDArray[np.int64], before: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The time of each step, evenly over the readings between which it lies. ``complete``: the number of
    steps by the end of each reading."""
    numbers = np.diff(complete, prepend=0)
    place = np.repeat(np.arange(len(numbers)), numbers)
    rank = np.arange(len(place)) - np.repeat(complete - numbers, numbers)
    share = (rank + 0.5) / numbers[place]
    times: NDArray[np.float64] = (before[place] + share * (at[place] - before[place])) / 1e9
    return times
