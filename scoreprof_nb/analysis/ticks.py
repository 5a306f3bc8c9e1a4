"""The ticks of a phase on one time axis: what every thread did at every tick.

py-spy's recording has no times, and a tick is missing from a process that could not be read. Both are
corrected here:

- The launcher shows the time in its stack (``capture/launcher.py``), so the time of each tick is known to
  4 ms. For an attached server, the ticks are seen from outside, in the counts of py-spy's own reads
  (``tick_reads``). Without either, ticks are assumed to be evenly spaced.
- py-spy logs the time, process and thread of each lost tick. It is restored at the tick of that time. A
  read fails when the interpreter runs Python while it is read, so the thread that failed was *running*:
  its tick gets the component of its nearest running sample. The other threads of the process get the
  component of their nearest sample.
- A stack that changed while it was read is torn: its outermost frame is not the thread's usual one. Such
  a sample also means "running Python, place unknown" and is filled in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.clock import clock_times, late_ticks, tick_times
from scoreprof_nb.analysis.tick_reads import map_reads, root_times
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import Role, ThreadActivity, classify
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.run_folder.records import Block, Recording
from scoreprof_nb.run_folder.store import Phase
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.table import ImportFailed, NotOrdered, StackTable

FEWEST_ALIGNED = 2  # blocks on common ticks, for the others to be left out
MAX_UNTIMED = 2  # lost ticks of unknown time shift all earlier ticks of their process


@dataclass(frozen=True)
class ThreadTicks:
    """One thread over the ticks of a block. Arrays have one entry per tick.

    ``components``: int16, indices into the phase's catalog; ``stack_ids``: int32, -1 where the stack is
    lost or torn; ``decode``: bool, part of a decode step; ``lost``: bool, the tick was restored or its
    stack was torn.
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
    """The ticks of one profiled block. py-spy runs longer than the block; what lies outside is cut.

    ``tick_s``: epoch seconds of each tick; ``timed``: they are measured, not assumed; ``mismatch``:
    the largest difference between the tick counts of two processes, with lost ticks restored; ``untimed``:
    why the times are assumed, None where that is not known.
    """

    block: Block
    recording: Recording
    table: StackTable
    tick_s: NDArray[np.float64]
    timed: bool
    mismatch: int
    threads: tuple[ThreadTicks, ...]
    catalog: Catalog = CATALOG
    untimed: str | None = None

    @property
    def ticks(self) -> int:
        return len(self.tick_s)

    @property
    def aligned(self) -> bool:
        """Whether the joint state of the threads at a tick may be used."""
        untimed = (self.recording.errors or 0) - len(self.recording.lost)
        return self.timed and self.mismatch <= late_ticks(self.recording) and untimed <= MAX_UNTIMED

    def thread(self, process: str, thread: str) -> ThreadTicks | None:
        """The thread of these roles with the most ticks; None if there is none."""
        threads = [t for t in self.threads if t.role.process == process and t.role.thread == thread]
        return max(threads, key=lambda t: len(t.components), default=None)


@dataclass(frozen=True)
class PhaseTicks:
    """All profiled blocks of a phase.

    ``failures``: why recordings are missing or cannot be read; ``catalog``: what the threads' components
    are indices into.
    """

    phase: Phase
    blocks: tuple[BlockTicks, ...]
    failures: tuple[str, ...]
    catalog: Catalog = CATALOG


def joint(ticks: PhaseTicks) -> PhaseTicks:
    """The phase without the blocks whose threads are not on common ticks, if two or more, and at least half,
    are left.

    On a busy machine py-spy may attach late to a process. Such a block is better left out of the request path
    than a reason to give up the joint state of the threads in all of them.
    """
    aligned = tuple(block for block in ticks.blocks if block.aligned)
    enough = len(aligned) >= FEWEST_ALIGNED and 2 * len(aligned) >= len(ticks.blocks)
    return replace(ticks, blocks=aligned) if enough else ticks


def phase_ticks(phase: Phase, rules: RuleSet) -> PhaseTicks:
    """Read and classify the recordings of a phase."""
    blocks = []
    failures = [
        f"block {block.number + 1}: {block.recording.failure}"
        for block in phase.record.blocks
        if block.recording is not None and block.recording.failure is not None
    ]
    all_reads = dict(phase.reads())
    known_map = map_reads(all_reads.values())
    for block, path in phase.recording_paths():
        assert block.recording is not None
        try:
            table = read_recording(path)
            reads = all_reads.get(block.number)
            in_block = block_ticks(
                block, block.recording, table, classify(table, rules), rules.catalog, reads, known_map
            )
        except (ImportFailed, NotOrdered) as error:
            failures.append(f"block {block.number + 1}: {error}")
            continue
        failures.extend(f"block {block.number + 1}: {part.where}: {part.why}" for part in table.skipped)
        if not in_block.threads:
            failures.append(f"block {block.number + 1}: no sample lies within the block")
            continue
        blocks.append(in_block)
    return PhaseTicks(phase, tuple(blocks), tuple(failures), rules.catalog)


def block_ticks(
    block: Block,
    recording: Recording,
    table: StackTable,
    activities: Sequence[ThreadActivity],
    catalog: Catalog = CATALOG,
    reads: pd.DataFrame | None = None,
    known_map: int | None = None,
) -> BlockTicks:
    """Put the samples of a recording on one axis of ticks. Raises NotOrdered for a table of counts.

    ``reads``: the counts of py-spy's reads, for a server without a clock; ``known_map``: see
    ``tick_reads.map_reads``.
    """
    table.require_order()
    sampled: dict[int, int] = {}
    for activity in activities:
        pid = activity.samples.pid
        sampled[pid] = max(sampled.get(pid, 0), activity.samples.ticks)
    lost = {pid: sorted((at, tid) for at, p, tid in recording.lost if p == pid) for pid in sampled}
    totals = [count + len(lost[pid]) for pid, count in sampled.items()]
    n = max(totals, default=0)
    clock_s = clock_times(activities, table, recording)
    untimed = None
    if clock_s is None and reads is not None:
        clock_s, untimed = root_times(reads, known_map, activities, recording)
    tick_s, timed = tick_times(clock_s, n, recording)
    axis = _Axis(
        inside=(tick_s >= block.start_s) & (tick_s <= block.stop_s),
        roots=_roots(table),
        lost={
            pid: _Lost(lost_places(tick_s, [at for at, _ in entries], n), [tid for _, tid in entries])
            for pid, entries in lost.items()
        },
        max_late=late_ticks(recording),
        waiting=catalog.waiting,
    )
    threads = [_thread_ticks(activity, axis) for activity in activities if not activity.role.excluded]
    return BlockTicks(
        block=block,
        recording=recording,
        table=table,
        tick_s=tick_s[axis.inside],
        timed=timed,
        mismatch=n - min(totals, default=0),
        threads=tuple(thread for thread in threads if len(thread.components)),
        catalog=catalog,
        untimed=untimed,
    )


def lost_places(tick_s: NDArray[np.float64], lost_s: Sequence[float], n: int) -> NDArray[np.int64]:
    """The tick of each lost one: the nearest in time that is not taken yet. Both inputs are sorted."""
    taken: set[int] = set()
    for at in lost_s:
        near = int(np.searchsorted(tick_s, at))
        candidates = [place for place in range(max(0, near - 3), min(n, near + 4)) if place not in taken]
        if candidates:
            taken.add(min(candidates, key=lambda place: abs(tick_s[place] - at)))
    return np.array(sorted(taken), dtype=np.int64)


@dataclass(frozen=True)
class _Lost:
    """The lost ticks of one process: their places on the axis, sorted, and the threads that failed.

    A tick for which no place is left has a thread id and no place.
    """

    places: NDArray[np.int64]
    tids: Sequence[int]

    def of_thread(self, pid: int, tid: int) -> NDArray[np.int64]:
        """The places at which this thread failed. Thread id 0 (unknown) stands for the main thread."""
        tids = [lost or pid for lost in self.tids[: len(self.places)]]
        failed: NDArray[np.int64] = self.places[np.array(tids, dtype=np.int64) == tid]
        return failed


@dataclass(frozen=True)
class _Axis:
    """What the threads of a block have in common.

    ``inside``: the ticks that lie in the block, shape (all ticks,); ``roots``: the outermost place of each
    stack, shape (stacks,); ``lost``: by process id; ``max_late``: the number of ticks by which py-spy may
    attach to a process later than to the first; ``waiting``: by component.
    """

    inside: NDArray[np.bool_]
    roots: NDArray[np.int64]
    lost: Mapping[int, _Lost]
    max_late: float
    waiting: NDArray[np.bool_]

    @property
    def n(self) -> int:
        return len(self.inside)

    def mask(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True at these places, shape (all ticks,)."""
        result = np.zeros(self.n, dtype=np.bool_)
        result[places] = True
        return result


def _thread_ticks(activity: ThreadActivity, axis: _Axis) -> ThreadTicks:
    """Spread a thread's samples over the ticks that are not lost; fill the lost and the torn ones."""
    samples = activity.samples
    lost = axis.lost[samples.pid]
    kept, missing = sampled_places(axis.n, lost.places, samples.ticks)
    count = len(kept)
    components = np.full(axis.n, -1, dtype=np.int16)
    stack_ids = np.full(axis.n, -1, dtype=np.int32)
    decode = np.zeros(axis.n, dtype=np.bool_)
    components[kept] = activity.components[:count]
    stack_ids[kept] = samples.stack_ids[:count]
    decode[kept] = activity.decode[:count]

    torn = kept[_torn(axis.roots[samples.stack_ids[:count]])]
    stack_ids[torn] = -1
    gaps = axis.mask(lost.places) | axis.mask(torn)
    attached_late = missing <= axis.max_late
    if attached_late:
        gaps |= components < 0
    whole = kept[~gaps[kept]]
    if len(whole):
        to_fill = np.flatnonzero(gaps if attached_late else gaps & (np.arange(axis.n) >= kept[0]))
        ran = axis.mask(lost.of_thread(samples.pid, samples.tid)) | axis.mask(torn)
        running = whole[~axis.waiting[components[whole]]]
        sources = _sources(to_fill, ran, whole, running)
        components[to_fill] = components[sources]
        decode[to_fill] = decode[sources]
    present = axis.inside & (components >= 0)  # a thread that started or ended late lacks some ticks
    return ThreadTicks(
        activity.role,
        samples.pid,
        samples.tid,
        components[present],
        stack_ids[present],
        decode[present],
        gaps[present],
    )


def sampled_places(n: int, lost: NDArray[np.int64], samples: int) -> tuple[NDArray[np.int64], int]:
    """The ticks, of ``n``, that a thread's samples belong to, and how many it lacks.

    Those that it lacks are at the beginning: py-spy attached to the process later than to another, or the
    thread started later.
    """
    kept = np.delete(np.arange(n), lost)
    missing = max(len(kept) - samples, 0)
    return kept[missing:], missing


def _torn(roots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each sample's outermost place is another than the thread's most frequent one."""
    if not len(roots):
        return np.zeros(0, dtype=np.bool_)
    usual = int(np.bincount(roots + 1).argmax()) - 1
    return np.not_equal(roots, usual)


def _sources(
    places: NDArray[np.int64],
    ran: NDArray[np.bool_],
    whole: NDArray[np.int64],
    running: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each place to be filled the place that it is filled from: the nearest ``whole`` one, or the
    nearest ``running`` one where the thread ``ran``."""
    sources = _nearest(whole, places)
    if len(running):
        while_running = ran[places]
        sources[while_running] = _nearest(running, places[while_running])
    return sources


def _roots(table: StackTable) -> NDArray[np.int64]:
    """A number for the outermost place (function and file) of each stack, -1 for an empty stack."""
    places: dict[tuple[str, str], int] = {}
    by_frame = [places.setdefault((frame.name, frame.file), len(places)) for frame in table.frames]
    first = [int(table.frame_ids[start]) if start < stop else -1 for start, stop in pairwise(table.offsets)]
    return np.array([by_frame[frame] if frame >= 0 else -1 for frame in first], dtype=np.int64)


def _nearest(candidates: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The candidate nearest to each place, the earlier one of two. Candidates are sorted, at least one."""
    at = np.searchsorted(candidates, places)
    before = candidates[np.maximum(at - 1, 0)]
    after = candidates[np.minimum(at, len(candidates) - 1)]
    return np.where(np.abs(after - places) < np.abs(before - places), after, before)
