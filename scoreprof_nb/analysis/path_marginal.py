"""The request path from the threads' shares alone, where they cannot be put on common ticks.

The marginal shares are chained: waiting is replaced by the next thread's shares, level by level, decode
steps last. This cannot show what overlaps, nor who waits for whom with several requests in flight.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.components.catalog import IPC_AND_WAKEUP
from scoreprof_nb.engines.sglang_jax_analysis import DETOKENIZER, FORWARD, HTTP, SCHEDULER

SLICE_S = 1.0


def marginal_counts(ticks: PhaseTicks) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The chained marginal shares of each slice of one second, times its ticks: (slices, components).

    And the number of the measured block of each slice.
    """
    slices = [
        (block, slice(first, last))
        for block in ticks.blocks
        for first, last in pairwise(_slice_bounds(block))
    ]
    counts = np.array([_chained(block, part) * (part.stop - part.start) for block, part in slices])
    return counts, np.array([block.block.number for block, _ in slices], dtype=np.int64)


def _slice_bounds(block: BlockTicks) -> list[int]:
    seconds = max(round(float(block.tick_s[-1] - block.tick_s[0]) / SLICE_S), 1)
    return [round(i * block.ticks / seconds) for i in range(seconds + 1)]


def _chained(block: BlockTicks, part: slice) -> NDArray[np.float64]:
    """Waiting replaced by the next thread's shares, level by level: sums to 1."""
    http, scheduler, forward, detokenizer = (
        _shares(block, role, part) for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER)
    )
    does_work, index = block.catalog.work, block.catalog.index
    path = np.zeros(len(does_work))
    rest = 1.0
    for work, limit in (
        (http * does_work, 1.0),
        (scheduler * does_work, 1.0),
        (forward * does_work, float(scheduler[index["wait_forward"]])),
        (detokenizer * does_work, 1.0),
        (_decode_steps(block, part), 1.0),
    ):
        total = float(work.sum())
        taken = min(total, limit, rest)
        if total > 0:
            path += work * taken / total
        rest -= taken
    path[index[IPC_AND_WAKEUP]] += rest
    return path


def _shares(block: BlockTicks, role: tuple[str, str], part: slice) -> NDArray[np.float64]:
    """Shares of a thread's ticks in each component, without decode steps: shape (components,)."""
    thread, size = block.thread(*role), len(block.catalog.names)
    if thread is None:
        return np.zeros(size)
    part = _part_of(thread, block, part)
    components, decode = thread.components[part], thread.decode[part]
    return np.bincount(components[~decode], minlength=size) / max(len(components), 1)


def _part_of(thread: ThreadTicks, block: BlockTicks, part: slice) -> slice:
    """The part of a thread's ticks; all of them if the thread lacks some, as it is not known which."""
    return part if len(thread.components) == block.ticks else slice(None)


def _decode_steps(block: BlockTicks, part: slice) -> NDArray[np.float64]:
    """The share of the scheduler's ticks in a decode step: as ``decode_step``, and as ``trace_compile`` for
    as much of it as is compiling. Shape (components,)."""
    work, index = block.catalog.work, block.catalog.index
    result = np.zeros(len(work))
    scheduler, forward = block.thread(*SCHEDULER), block.thread(*FORWARD)
    if scheduler is None:
        return result
    ticks = _part_of(scheduler, block, part)
    components = scheduler.components[ticks]
    steps = scheduler.decode[ticks] & (work[components] | (components == index["wait_forward"]))
    in_steps = float(steps.mean()) if len(steps) else 0.0
    compiling = 0.0
    for thread in (scheduler, forward):
        if thread is not None and len(thread.components):
            compiles = (thread.components == index["trace_compile"]) & thread.decode
            compiling += float(compiles[_part_of(thread, block, part)].mean())
    compiling = min(compiling, in_steps)
    result[index["trace_compile"]], result[index["decode_step"]] = compiling, in_steps - compiling
    return result
