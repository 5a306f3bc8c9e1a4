"""The samples of a phase on one time axis: what every thread did at every tick.

py-spy's recording has no times and drops a process from a tick that it could not read. Both are
mended here:

- The launcher shows the time in its stack (``capture/launcher.py``), so each tick has its time, to
  4 ms. Without a launcher (a server that was found), ticks are taken as evenly spaced.
- Each lost tick has a line in py-spy's own log with time, process and thread. It is put back at the
  tick of that time. A read fails when the interpreter runs Python while it is read, so the thread
  that failed was *running*: the tick gets the component of that thread's nearest running sample;
  the other threads of the process keep the component of their nearest sample.
- A stack read while it changed is torn: its outermost frame is not the one that the thread always
  has. Such a sample too says "running Python, place unknown", and is filled in the same way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.components.catalog import COMPONENTS, NAMES
from scoreprof_nb.components.classify import Role, ThreadActivity, classify
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.run_folder.store import Block, Phase, Recording
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.table import ImportFailed, StackTable

# As in capture/launcher.py, which is stand-alone: a test asserts that they agree.
CLOCK_FILE, SLOT_S, SLOTS, FIRST_LINE = "scoreprof-clock", 0.004, 2500, 2

WAITING = np.array([COMPONENTS[name].waiting for name in NAMES])
MOST_UNTIMED = 2  # lost ticks without a time shift all ticks of their process before them
LATE_S = 0.15  # py-spy attaches to a process's children one after the other


@dataclass(frozen=True)
class ThreadTicks:
    """One thread over the ticks of a block. Arrays have one entry per tick.

    ``components``: int16; ``stack_ids``: int32, -1 for a lost or torn one; ``decode``: bool;
    ``lost``: bool, the tick was put back, or its stack was torn.
    """

    role: Role
    pid: int
    tid: int
    components: NDArray[np.int16]
    stack_ids: NDArray[np.int32]
    decode: NDArray[np.bool_]
    lost: NDArray[np.bool_]


@dataclass(frozen=True)
class BlockTicks:
    """The ticks of one profiled block: py-spy begins before it and ends after it, what lies outside is cut.

    ``tick_s``: epoch seconds of each tick; ``timed``: they are measured, not assumed; ``mismatch``:
    the largest difference between two processes' numbers of ticks, lost ones put back.
    """

    block: Block
    recording: Recording
    table: StackTable
    tick_s: NDArray[np.float64]
    timed: bool
    mismatch: int
    threads: tuple[ThreadTicks, ...]

    @property
    def ticks(self) -> int:
        return len(self.tick_s)

    @property
    def aligned(self) -> bool:
        """Whether the joint state of the threads at a tick may be used."""
        untimed = (self.recording.errors or 0) - len(self.recording.lost)
        return self.timed and self.mismatch <= late_ticks(self.recording) and untimed <= MOST_UNTIMED

    def thread(self, process: str, thread: str) -> ThreadTicks | None:
        """The thread of these roles with the most samples, None when there is none."""
        found = [t for t in self.threads if t.role.process == process and t.role.thread == thread]
        return max(found, key=lambda t: len(t.components), default=None)


@dataclass(frozen=True)
class PhaseTicks:
    """All profiled blocks of a phase; ``failures`` says which recordings are missing or unreadable."""

    phase: Phase
    blocks: tuple[BlockTicks, ...]
    failures: tuple[str, ...]


def phase_ticks(phase: Phase, rules: RuleSet) -> PhaseTicks:
    """Read and classify the recordings of a phase."""
    blocks = []
    failures = [
        f"block {block.number + 1}: {block.recording.failure}"
        for block in phase.record.blocks
        if block.recording is not None and block.recording.failure is not None
    ]
    for block, path in phase.recording_paths():
        assert block.recording is not None
        try:
            table = read_recording(path)
        except ImportFailed as error:
            failures.append(f"block {block.number + 1}: {error}")
            continue
        failures.extend(f"block {block.number + 1}: {part.where}: {part.why}" for part in table.skipped)
        found = block_ticks(block, block.recording, table, classify(table, rules))
        if not found.threads:
            failures.append(f"block {block.number + 1}: no sample lies within the block")
            continue
        blocks.append(found)
    return PhaseTicks(phase, tuple(blocks), tuple(failures))


def block_ticks(
    block: Block, recording: Recording, table: StackTable, activities: Sequence[ThreadActivity]
) -> BlockTicks:
    """Put the samples of a recording on one axis of ticks."""
    read: dict[int, int] = {}
    for activity in activities:
        read[activity.samples.pid] = max(read.get(activity.samples.pid, 0), activity.samples.ticks)
    lost = {pid: sorted((at, tid) for at, p, tid in recording.lost if p == pid) for pid in read}
    totals = [count + len(lost[pid]) for pid, count in read.items()]
    n = max(totals, default=0)
    times = _clock_times(activities, table, recording)
    most_late = late_ticks(recording)
    if times is not None and n - len(times) <= most_late:
        timed, tick_s = True, _from_the_beginning(times, n, recording)
    else:
        timed, tick_s = False, _even_times(recording, n)
    inside = (tick_s >= block.start_s) & (tick_s <= block.stop_s)
    places = {pid: _lost_places(tick_s, [at for at, _ in lost[pid]], n) for pid in read}
    roots = _roots(table)
    threads = tuple(
        _thread_ticks(
            activity,
            roots,
            inside,
            places[activity.samples.pid],
            [tid for _, tid in lost[activity.samples.pid]],
            most_late,
        )
        for activity in activities
        if not activity.role.excluded
    )
    mismatch = n - min(totals, default=0)
    there = tuple(thread for thread in threads if len(thread.components))
    return BlockTicks(block, recording, table, tick_s[inside], timed, mismatch, there)


def late_ticks(recording: Recording) -> float:
    """The ticks by which a process may have been attached later than the first."""
    return max(2.0, LATE_S * recording.rate_hz)


def _even_times(recording: Recording, n: int) -> NDArray[np.float64]:
    return recording.started_s + (np.arange(n) + 0.5) * (recording.stopped_s - recording.started_s) / max(
        n, 1
    )


def _from_the_beginning(times: NDArray[np.float64], n: int, recording: Recording) -> NDArray[np.float64]:
    """The clock's times over all ticks. The few that it lacks it lacks at the beginning: py-spy
    attached to it later than to another process; they are spread evenly before its first."""
    missing = max(n - len(times), 0)
    start = min(recording.started_s, float(times[0]))
    before = start + (np.arange(missing) + 0.5) * (float(times[0]) - start) / max(missing, 1)
    return np.concatenate([before, times])[:n]


def _clock_times(
    activities: Iterable[ThreadActivity], table: StackTable, recording: Recording
) -> NDArray[np.float64] | None:
    """Epoch seconds of each tick by the launcher's stack, None without a launcher."""
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
    """Slots of a repeating cycle to epoch seconds: the cycle is the one nearest to the tick's turn."""
    cycle_s = SLOTS * SLOT_S
    n = len(slot)
    expected = _even_times(recording, n)
    within = (slot + 0.5) * SLOT_S
    times = within + np.round((expected - within) / cycle_s) * cycle_s
    index = np.arange(n)
    times = np.interp(index, index[known], times[known])
    return np.maximum.accumulate(times)


def _lost_places(tick_s: NDArray[np.float64], lost_s: Sequence[float], n: int) -> NDArray[np.int64]:
    """A tick of its own for each lost one: the nearest in time that is not taken. Both are sorted."""
    taken: set[int] = set()
    for at in lost_s:
        near = int(np.searchsorted(tick_s, at))
        candidates = [place for place in range(max(0, near - 3), min(n, near + 4)) if place not in taken]
        if candidates:
            taken.add(min(candidates, key=lambda place: abs(tick_s[place] - at)))
    return np.array(sorted(taken), dtype=np.int64)


def _thread_ticks(
    activity: ThreadActivity,
    roots: NDArray[np.int64],
    inside: NDArray[np.bool_],
    places: NDArray[np.int64],
    lost_tids: Sequence[int],
    most_late: float,
) -> ThreadTicks:
    """Spread the samples over the ticks that are not lost; fill the lost and the torn ones.

    ``roots``: the outermost place of each stack, shape (stacks,); ``inside``: the ticks that lie in the
    block, shape (all ticks,); ``most_late``: the ticks by which a process may have been attached later
    than the first.
    """
    samples, n = activity.samples, len(inside)
    lost = np.zeros(n, dtype=np.bool_)
    lost[places] = True
    kept = np.flatnonzero(~lost)
    # What is missing is missing at the beginning: a process that py-spy attached to a little later than
    # to the others, or a thread that began later.
    missing = max(len(kept) - samples.ticks, 0)
    kept = kept[missing:]
    components = np.full(n, -1, dtype=np.int16)
    stack_ids = np.full(n, -1, dtype=np.int32)
    decode = np.zeros(n, dtype=np.bool_)
    count = len(kept)
    components[kept] = activity.components[:count]
    stack_ids[kept] = samples.stack_ids[:count]
    decode[kept] = activity.decode[:count]
    # An unknown thread (0) is taken for the main thread, whose id is the process's.
    ran = {
        place
        for place, tid in zip(places.tolist(), lost_tids, strict=False)
        if (tid or samples.pid) == samples.tid
    }
    attached_late = missing <= most_late
    if attached_late:
        lost[components < 0] = True
    if count:
        own = roots[samples.stack_ids[:count]]
        torn = kept[own != np.bincount(own + 1).argmax() - 1]
        lost[torn] = True
        stack_ids[torn] = -1
        ran.update(torn.tolist())
        whole = kept[~lost[kept]]
        running = whole[~WAITING[components[whole]]]
        for place in np.flatnonzero(lost):
            if (attached_late or place >= kept[0]) and len(whole):
                sources = running if int(place) in ran and len(running) else whole
                source = _nearest(sources, int(place))
                components[place] = components[source]
                decode[place] = decode[source]
    # A thread that was not there all the time has fewer ticks than the block.
    present = inside & (components >= 0)
    return ThreadTicks(
        activity.role,
        samples.pid,
        samples.tid,
        components[present],
        stack_ids[present],
        decode[present],
        lost[present],
    )


def _roots(table: StackTable) -> NDArray[np.int64]:
    """A number for the outermost place (function and file) of each stack, -1 for an empty stack."""
    places: dict[tuple[str, str], int] = {}
    by_frame = [places.setdefault((frame.name, frame.file), len(places)) for frame in table.frames]
    first = [int(table.frame_ids[start]) if start < stop else -1 for start, stop in pairwise(table.offsets)]
    return np.array([by_frame[frame] if frame >= 0 else -1 for frame in first], dtype=np.int64)


def _nearest(places: NDArray[np.int64], place: int) -> int:
    at = int(np.searchsorted(places, place))
    around = places[max(0, at - 1) : at + 1]
    return int(around[np.argmin(np.abs(around - place))])
