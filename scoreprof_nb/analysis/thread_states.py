"""What a thread at work really did: it ran, it waited for a core, or neither.

The kernel counts the first two for each thread. The rest of the time in which its stack shows work is time
in which it could not run: it waited for the GIL or another lock, for a page, or for the device.

A thread's totals are the kernel's. Their split over components is by the counters around each tick (within
a slot of the clock), then fitted to the totals, since a slot that holds the end of one component also holds
the beginning of the next. Where the ticks have no times, the split is by their number alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.breakdown import answered_between
from scoreprof_nb.analysis.clock import SLOT_S
from scoreprof_nb.analysis.cpu_counters import Floats, ThreadCounters, block_counters
from scoreprof_nb.analysis.dependence import Units, half_width
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.slices import slice_edges
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.components.classify import Role
from scoreprof_nb.components.component import Catalog

STATE_COLUMNS = (
    *("phase", "process", "thread", "component", "work_ms", "on_cpu_ms", "runnable_ms", "off_cpu_ms"),
    *("off_low", "off_high", "requests"),
)


@dataclass(frozen=True)
class TickStates:
    """A thread's ticks with the kernel's counters around each: shares of its slot, shape (ticks,)."""

    thread: ThreadTicks
    counters: ThreadCounters
    on_cpu: Floats
    runnable: Floats

    @property
    def off_cpu(self) -> Floats:
        return np.maximum(1.0 - self.on_cpu - self.runnable, 0.0)


@dataclass(frozen=True)
class BlockStates:
    """The threads of a block whose counters are known.

    ``counters``: of every thread of the server, native ones too, by (pid, tid).
    """

    block: BlockTicks
    threads: tuple[TickStates, ...]
    counters: Mapping[tuple[int, int], ThreadCounters]


@dataclass(frozen=True)
class Split:
    """Seconds by component, arrays of shape (..., components); the three sum to the time of the ticks."""

    on_cpu: Floats
    runnable: Floats
    off_cpu: Floats


def phase_states(ticks: PhaseTicks) -> tuple[BlockStates, ...]:
    """The states of the threads at every tick, by block."""
    return tuple(_block_states(block, ticks.phase.schedstat) for block in ticks.blocks)


def _block_states(block: BlockTicks, schedstat: pd.DataFrame) -> BlockStates:
    counters = block_counters(schedstat, block.block.number)
    states = []
    for thread in block.threads:
        known = counters.get((thread.pid, thread.tid))
        if known is not None:
            at_s = block.tick_s[block.ticks - len(thread.components) :]
            shares = known.shares(at_s - SLOT_S / 2, at_s + SLOT_S / 2)
            if not block.timed:  # then every tick has the same weight
                shares = (np.ones(len(at_s)), np.ones(len(at_s)))
            states.append(TickStates(thread, known, *shares))
    return BlockStates(block, tuple(states), counters)


def state_table(
    ticks: PhaseTicks, states: tuple[BlockStates, ...], requests: MeasuredRequests
) -> pd.DataFrame:
    """The states of each thread at work, by component: columns STATE_COLUMNS, ms per request.

    ``work_ms``: the time of the component's ticks, of which ``on_cpu_ms``, ``runnable_ms`` and
    ``off_cpu_ms`` are the parts. ``off_low``, ``off_high``: the 95 % interval, by what each slice of one
    second contributes (``dependence``). Empty where the counters were not read.
    """
    catalog = ticks.catalog
    rows = []
    roles = dict.fromkeys(state.thread.role for of_block in states for state in of_block.threads)
    by_block = [answered_between(requests, slice_edges(of_block.block.block)) for of_block in states]
    answered = np.concatenate(by_block or [np.zeros(0)])
    served = float(answered.sum())
    if served <= 0:
        return pd.DataFrame(columns=list(STATE_COLUMNS))
    units = Units.of_blocks(list(map(len, by_block)))
    served_without = np.maximum(served - answered, 1e-9)[:, None]
    for role in roles:
        sums = [_sums(of_block, role, catalog) for of_block in states]
        sliced = [np.concatenate(parts) for parts in zip(*sums, strict=True)]
        split = split_time(catalog, *(part.sum(axis=0) for part in sliced))
        without = split_time(catalog, *(part.sum(axis=0) - part for part in sliced)).off_cpu
        work_ms = sliced[0].sum(axis=0) * 1e3 / served
        off_ms = split.off_cpu * 1e3 / served
        half = half_width(off_ms - without * 1e3 / served_without, units)
        low = np.where(np.isnan(half), 0.0, np.maximum(off_ms - half, 0.0))
        high = np.where(np.isnan(half), work_ms, np.minimum(off_ms + half, work_ms))
        for index in np.flatnonzero(catalog.work & (work_ms > 0)):
            times = (part[index] * 1e3 / served for part in (split.on_cpu, split.runnable, split.off_cpu))
            rows.append(
                (
                    *(ticks.phase.name, role.process, role.thread, catalog.names[index], work_ms[index]),
                    *(*times, low[index], high[index], served),
                )
            )
    table = pd.DataFrame(rows, columns=list(STATE_COLUMNS))
    return table.sort_values("off_cpu_ms", ascending=False, kind="stable", ignore_index=True)


def _sums(states: BlockStates, role: Role, catalog: Catalog) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of a role, by slice: seconds of ticks, on a CPU and runnable by component, both by the kernel.

    The first three have shape (slices, components), the last two (slices, 1).
    """
    block = states.block
    edges = slice_edges(block.block)
    shape = (len(edges) - 1, len(catalog.names))
    time, on_cpu, runnable = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    kernel = np.zeros((2, len(edges) - 1))
    tick_s = block.block.wall_s / max(block.ticks, 1)
    for state in states.threads:
        if state.thread.role == role:
            at_s = block.tick_s[block.ticks - len(state.on_cpu) :]
            place = np.searchsorted(edges[1:-1], at_s, side="right"), state.thread.components
            np.add.at(time, place, tick_s)
            np.add.at(on_cpu, place, state.on_cpu * tick_s)
            np.add.at(runnable, place, state.runnable * tick_s)
            kernel += state.counters.between(edges)
    return time, on_cpu, runnable, kernel[0][:, None], kernel[1][:, None]


def split_time(
    catalog: Catalog,
    time: Floats,
    on_cpu: Floats,
    runnable: Floats,
    kernel_on: Floats,
    kernel_runnable: Floats,
) -> Split:
    """Split the time of each component's ticks into the three states.

    ``time``: seconds of ticks, shape (..., components); ``on_cpu``, ``runnable``: seconds by the counters
    around the ticks; ``kernel_on``, ``kernel_runnable``: the thread's totals, shape (..., 1). The time on a
    CPU goes to running components first, as waiting ones do not run; a wait for a core goes where the
    counters saw it, as a thread that has been woken up waits in a stack that shows waiting. What the
    kernel counted beyond the time of the ticks is left out.
    """
    waiting = catalog.waiting
    running = share_out(kernel_on, np.where(waiting, 0, on_cpu), np.where(waiting, 0, time))
    left = kernel_on - running.sum(axis=-1, keepdims=True)
    of_cpu = running + share_out(left, np.where(waiting, on_cpu, 0), np.where(waiting, time, 0))
    waits = share_out(kernel_runnable, runnable, time - of_cpu)
    return Split(of_cpu, waits, time - of_cpu - waits)


def share_out(total: Floats, weights: Floats, limits: Floats) -> Floats:
    """Divide totals, shape (..., 1), in proportion to weights, up to limits, shape (..., components)."""
    weights = np.maximum(weights, 1e-9 * limits)
    out = np.zeros(np.broadcast_shapes(weights.shape, total.shape))
    for _ in range(limits.shape[-1]):
        left = np.maximum(total - out.sum(axis=-1, keepdims=True), 0.0)
        open_weights = np.where(out < limits, weights, 0.0)
        added = left * open_weights / np.maximum(open_weights.sum(axis=-1, keepdims=True), 1e-300)
        if float(added.max(initial=0.0)) < 1e-12:
            break
        out = np.minimum(out + added, limits)
    return out
