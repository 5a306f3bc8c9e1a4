"""The tracks of the server's threads: component, innermost function and CPU state at each tick."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.analysis.clock import SLOT_S
from scoreprof_nb.analysis.cpu_counters import ThreadCounters, block_counters
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.stacks.table import StackTable, short_path
from scoreprof_nb.timeline.tracks import Counter, Group, Slice, Track

NOT_READ = "(not read)"
NO_FRAME = "(no Python frame)"
CORES_STEP_S = 0.02
STATES = ("on CPU", "waiting for a core", "neither")
Nanoseconds = NDArray[np.int64]


def thread_tracks(ticks: PhaseTicks) -> Iterator[Track]:
    """Two tracks per thread: what it does, and whether it runs. Threads in the order of the recordings."""
    counters = {
        block.block.number: block_counters(ticks.phase.schedstat, block.block.number)
        for block in ticks.blocks
    }
    for first in {(one.pid, one.tid): one for block in ticks.blocks for one in block.threads}.values():
        group = Group(first.role.process, first.pid)
        doing: list[Slice] = []
        running: list[Slice] = []
        for block in ticks.blocks:
            for thread in block.threads:
                if (thread.pid, thread.tid) == (first.pid, first.tid):
                    doing += component_slices(block, thread)
                    known = counters[block.block.number].get((first.pid, first.tid))
                    running += state_slices(block, known) if known is not None else []
        yield Track(group, str(first.role.thread), first.tid, slices=tuple(doing))
        if running:
            yield Track(group, f"{first.role.thread}: CPU", slices=tuple(running))


def component_slices(block: BlockTicks, thread: ThreadTicks) -> list[Slice]:
    """Runs of ticks with the same component; within them, runs with the same innermost function.

    The detail ``ticks`` of a run is the number of its ticks.
    """
    edges = tick_edges(block)[block.ticks - len(thread.components) :]
    labels, functions = _functions(block.table, thread.stack_ids)
    slices = []
    for first, last in _runs(thread.components):
        children = tuple(
            Slice(int(edges[first + start]), int(edges[first + stop]), labels[functions[first + start]])
            for start, stop in _runs(functions[first:last])
        )
        name = block.catalog.names[thread.components[first]]
        details = (("ticks", last - first),)
        slices.append(Slice(int(edges[first]), int(edges[last]), name, details, children))
    return slices


def state_slices(block: BlockTicks, counters: ThreadCounters) -> list[Slice]:
    """Whether a thread ran, waited for a core or neither: what took most of each slot, runs merged."""
    edges = _grid(block, SLOT_S)
    on_cpu, runnable = counters.between(edges)
    state = np.argmax([on_cpu, runnable, np.diff(edges) - on_cpu - runnable], axis=0)
    edges_ns = _nanoseconds(edges)
    return [
        Slice(int(edges_ns[first]), int(edges_ns[last]), STATES[state[first]]) for first, last in _runs(state)
    ]


def core_tracks(ticks: PhaseTicks, group: Group) -> Iterator[Track]:
    """Counters over all threads of the server, native ones too: cores in use, threads waiting for one."""
    points: tuple[list[tuple[int, float]], list[tuple[int, float]]] = ([], [])
    for block in ticks.blocks:
        counters = block_counters(ticks.phase.schedstat, block.block.number)
        if counters:
            edges = _grid(block, CORES_STEP_S)
            sums = np.sum([one.between(edges) for one in counters.values()], axis=0) / np.diff(edges)
            starts = _nanoseconds(edges[:-1])
            for into, values in zip(points, sums, strict=True):
                into += zip(starts.tolist(), np.round(values, 3).tolist(), strict=True)
                into.append((int(_nanoseconds(edges)[-1]), 0.0))
    for name, unit, values in zip(
        ("cores in use", "waiting for a core"), ("cores", "threads"), points, strict=True
    ):
        if values:
            yield Track(group, name, counter=Counter(unit, tuple(values)))


def tick_edges(block: BlockTicks) -> Nanoseconds:
    """Epoch nanoseconds: a tick stands for the time around it, half-way to its neighbours.

    Shape (ticks + 1,). The clock tells only a tick's slot: those of one slot are spread evenly over it.
    """
    at_s = block.tick_s
    if block.timed:
        _, place, sizes = np.unique(at_s, return_inverse=True, return_counts=True)
        rank = np.arange(len(at_s)) - (np.cumsum(sizes) - sizes)[place]
        at_s = at_s + ((rank + 0.5) / sizes[place] - 0.5) * SLOT_S
    middle = (at_s[1:] + at_s[:-1]) / 2
    edges = np.concatenate([[block.block.start_s], middle, [block.block.stop_s]])
    return _nanoseconds(np.maximum.accumulate(np.clip(edges, block.block.start_s, block.block.stop_s)))


def _grid(block: BlockTicks, step_s: float) -> NDArray[np.float64]:
    start_s, stop_s = block.block.start_s, block.block.stop_s
    return np.linspace(start_s, stop_s, max(round((stop_s - start_s) / step_s), 1) + 1)


def _nanoseconds(at_s: NDArray[np.float64]) -> Nanoseconds:
    return np.round(at_s * 1e9).astype(np.int64)


def _runs(values: NDArray[np.generic]) -> list[tuple[int, int]]:
    """The first index of each run of equal values, and the one after its last."""
    bounds = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return list(pairwise(bounds)) if len(values) else []


def _functions(table: StackTable, stack_ids: NDArray[np.int32]) -> tuple[Sequence[str], NDArray[np.int64]]:
    """The label of each distinct innermost function, and its index at each tick."""
    labels: dict[str, int] = {}
    distinct, place = np.unique(stack_ids, return_inverse=True)
    index = [labels.setdefault(_label(table, int(stack_id)), len(labels)) for stack_id in distinct]
    return tuple(labels), np.array(index, dtype=np.int64)[place]


def _label(table: StackTable, stack_id: int) -> str:
    if stack_id < 0:
        return NOT_READ
    frames = table.stack(stack_id)
    return f"{frames[-1].name} ({short_path(frames[-1].file)})" if frames else NO_FRAME
