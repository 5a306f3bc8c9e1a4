"""The times of a recording's ticks, from how often py-spy had read by when (``capture/tick_reader.py``).

For servers that the kit did not launch. At each tick py-spy reads the state of each thread of the server's
root process once, so the count of its reads grows by the number of threads, ``K``. Before the first tick it
reads the process's memory map, parses its program for tens of milliseconds, and tries to take one stack,
which is in no recording.

The k-th step of K reads after that is the k-th tick. Where the counts do not say that without doubt, the
result is a reason: a shift by one tick would put every sample into a neighbouring moment. So the number of
steps until py-spy's end must agree with the recording, too, and the reads of the memory map with those of the
server's other recordings: the first stack was not taken for a part of it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.components.classify import ThreadActivity
from scoreprof_nb.run_folder.records import Recording

PAUSE_S = 0.004  # between the memory map and the first stack, and twice the time between two readings
LATE_S = 0.020  # between two readings when py-spy begins: the memory map and the first stack must be apart
TRIED = 1  # stacks that are taken before the first tick
FIRST_BURSTS = 3  # among which the memory map is read again if the first stack could not be taken
UNEVEN = 0.25  # of K: a burst of reads that is no multiple of K
NEIGHBOURS = 21
MOST_UNEVEN = 0.02  # of the bursts
# Ticks after the last one of the recording: py-spy notices at the next tick that it is to stop, and takes one
# or two more until its threads have ended, or some more on a busy machine. The last is hardly ever seen.
FEWEST_LATER, MOST_LATER = 1, 6
STOP_S = 0.25  # between the last tick and the moment at which py-spy was told to stop


@dataclass(frozen=True)
class _Start:
    """``first``: the row with the first reads after the memory map; ``map_reads``: how many that took;
    ``sure``: the readings are close enough to tell the two apart."""

    first: int
    map_reads: int
    sure: bool


def _start(reads: pd.DataFrame, known_map: int | None = None) -> _Start | None:
    """``known_map``: where a reading shows just so many reads, the memory map was read, and no more."""
    before, at, counts = (reads[name].to_numpy(dtype=np.int64) for name in ("before_ns", "at_ns", "reads"))
    pauses = np.flatnonzero(((before[1:] - at[:-1]) >= PAUSE_S * 1e9) & (counts[:-1] > 0))
    if not len(pauses):
        return None
    exact = np.flatnonzero(counts == known_map)
    if len(exact):
        return _Start(int(exact[0]) + 1, int(counts[exact[0]]), sure=True)
    first = int(pauses[0]) + 1
    sure = bool(((at - before)[:first] <= LATE_S * 1e9).all())
    return _Start(first, int(counts[first - 1]), sure)


def map_reads(recordings: Iterable[pd.DataFrame]) -> int | None:
    """How many reads py-spy needs for the memory map of the root process, as most of those recordings say
    that are sure of it; None if none is. ``recordings``: of one server, see ``read_times``."""
    starts = filter(None, map(_start, recordings))
    found = Counter(start.map_reads for start in starts if start.sure)
    return found.most_common(1)[0][0] if found else None


def root_times(
    reads: pd.DataFrame, known_map: int | None, activities: Sequence[ThreadActivity], recording: Recording
) -> tuple[NDArray[np.float64] | None, str | None]:
    """The times of the root process's ticks, or why they are not known. The arguments are those of
    ``read_times``."""
    roots = [activity.samples for activity in activities if not activity.samples.parents]
    if not roots:
        return None, "no samples of the server's root process"
    lost = sum(pid == roots[0].pid for _, pid, _ in recording.lost)
    ticks = max(samples.ticks for samples in roots) + lost
    times = read_times(reads, known_map, ticks, recording.stopped_s)
    return (None, times) if isinstance(times, str) else (times, None)


def read_times(
    reads: pd.DataFrame, known_map: int | None, ticks: int, stopped_s: float
) -> NDArray[np.float64] | str:
    """Epoch seconds of each tick of the root process, shape (ticks,), or why they are not known.

    ``reads``: columns before_ns, at_ns, reads, as in reads-N.parquet; ``known_map``: see ``map_reads``;
    ``ticks``: how many the recording has of the root process, lost ones included; ``stopped_s``: when py-spy
    was told to stop.
    """
    start = _start(reads, known_map)
    if start is None or known_map is None:
        return "py-spy's reads were not counted"
    if start.map_reads != known_map:
        return "py-spy's reads were counted too seldom when it began"
    found = _all_times(reads, start)
    if isinstance(found, str):
        return found
    if not ticks or not FEWEST_LATER <= len(found) - ticks <= MOST_LATER:
        return f"py-spy was seen to read {len(found)} times, and the recording has {ticks} ticks"
    if max(abs(found[ticks - 1] - stopped_s), abs(found[ticks] - stopped_s)) > STOP_S:
        return "py-spy was not seen to read when it was stopped"
    return found[:ticks]


def _all_times(reads: pd.DataFrame, start: _Start) -> NDArray[np.float64] | str:
    """Epoch seconds of each tick of the root process that was seen, those after the recording's end too, or
    why they are not known."""
    steps = np.diff(reads["reads"].to_numpy(dtype=np.int64))[start.first - 1 :]
    before, at = (reads[name].to_numpy(dtype=np.int64)[start.first :] for name in ("before_ns", "at_ns"))
    size = int(np.bincount(steps).argmax())
    last = np.append(before[1:] > at[:-1], True)  # of a burst: a reading without a change follows
    burst = np.cumsum(last) - last
    sizes = np.bincount(burst, steps)
    within = np.cumsum(steps) - np.append(0, np.cumsum(sizes)[:-1])[burst]
    whole = np.bincount(burst, (within % size == 0) & ~last) > 0  # a tick ends within the burst
    first, pieces = sizes[:FIRST_BURSTS], whole[:FIRST_BURSTS]
    ticks_only = pieces | ((first % size == 0) & (first != start.map_reads))
    if ((np.abs(first - start.map_reads) <= 1) & ~ticks_only).any() and start.map_reads > size:
        return "py-spy needed two attempts to begin"
    each = _each(sizes, size)
    numbers = np.round(sizes / each)
    if (np.abs(sizes / each - numbers) > UNEVEN).mean() > MOST_UNEVEN:
        return f"py-spy's reads come in other numbers than {size} at a time: threads began or ended"
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
