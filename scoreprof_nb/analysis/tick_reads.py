"""The times of a recording's ticks, from how often py-spy had read by when (``capture/tick_reader.py``).

For servers that the kit did not launch. At each tick py-spy reads the state of each thread of the server's
root process once, so the count of its reads grows by the number of threads, ``K``. Before the first tick it
reads the process's memory map, parses its program for tens of milliseconds, and tries to take one stack,
which is in no recording.

The k-th step of K reads after that is the k-th tick. Where the counts do not say that without doubt, the
result is a reason: a shift by one tick would put every sample into a neighbouring moment. So the number of
steps until py-spy's end must agree with the recording, too.
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
NEIGHBOURS = 21
MOST_UNEVEN = 0.02  # of the bursts
LATE_S = 0.020  # between two readings when py-spy begins: the memory map and the first stack must be apart
# Ticks after the last one of the recording: py-spy notices at the next tick that it is to stop, and takes one
# or two more until its threads have ended, of which the last is hardly ever seen.
FEWEST_LATER, MOST_LATER = 1, 3
STOP_S = 0.25  # between the last tick and the moment at which py-spy was told to stop


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

    ``reads``: columns before_ns, at_ns, reads, as in reads-N.parquet; ``ticks``: how many the recording has
    of the root process, lost ones included; ``stopped_s``: when py-spy was told to stop.
    """
    found = all_times(reads)
    if isinstance(found, str):
        return found
    sampled, later = found[:ticks], found[ticks:]
    if not ticks or not FEWEST_LATER <= len(found) - ticks <= MOST_LATER:
        return f"py-spy was seen to read {len(found)} times, and the recording has {ticks} ticks"
    if max(abs(sampled[-1] - stopped_s), abs(later[0] - stopped_s)) > STOP_S:
        return "py-spy was not seen to read when it was stopped"
    return sampled


def all_times(reads: pd.DataFrame) -> NDArray[np.float64] | str:
    """Epoch seconds of each tick of the root process that was seen, those after the recording's end too, or
    why they are not known. ``reads``: see ``read_times``."""
    before, at = (reads[name].to_numpy(dtype=np.int64) for name in ("before_ns", "at_ns"))
    counts = reads["reads"].to_numpy(dtype=np.int64)
    apart = (before[1:] - at[:-1]) / 1e9  # readings without a change lie in between
    pauses = np.flatnonzero((apart >= PAUSE_S) & (counts[:-1] > 0))
    if not len(pauses):
        return "py-spy's reads were not counted"
    first = int(pauses[0]) + 1
    if ((at - before)[: first + 1] > LATE_S * 1e9).any():
        return "py-spy's reads were counted too seldom when it began"
    steps = np.diff(counts)[first - 1 :]
    before, at = before[first:], at[first:]
    size = int(np.bincount(steps).argmax())
    last = np.append(apart[first:] > 0, True)  # of a burst: a reading without a change follows
    burst = np.cumsum(last) - last
    sizes = np.bincount(burst, steps)
    each = _each(sizes, size)
    numbers = np.round(sizes / each)
    if (np.abs(sizes / each - numbers) > UNEVEN).mean() > MOST_UNEVEN:
        return f"py-spy's reads come in other numbers than {size} at a time: threads began or ended"
    within = np.cumsum(steps) - np.append(0, np.cumsum(sizes)[:-1])[burst]
    before_burst = np.append(0, np.cumsum(numbers)[:-1])[burst]
    complete = before_burst + np.round(within / sizes[burst] * numbers[burst])
    return _spread(complete.astype(np.int64), before, at)[TRIED:]


def _each(sizes: NDArray[np.float64], usual: int) -> NDArray[np.float64]:
    """The reads per tick at each burst: the median of the neighbouring bursts that are of one tick. Threads
    of the server may begin or end."""
    single = pd.Series(np.where(sizes < 1.5 * usual, sizes, np.nan))
    each: NDArray[np.float64] = single.rolling(NEIGHBOURS, center=True, min_periods=1).median().to_numpy()
    return np.where(np.isnan(each), usual, each)


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
