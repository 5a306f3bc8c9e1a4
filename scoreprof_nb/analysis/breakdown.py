"""Tables from the ticks of a phase: threads, CPU cost, hot functions, utilisation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.dependence import Units
from scoreprof_nb.analysis.intervals import ratio_of_sums
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.slices import slice_edges
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.components.catalog import NATIVE_THREADS
from scoreprof_nb.components.classify import Role, process_role
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.run_folder.records import Block
from scoreprof_nb.stacks.table import Frame, short_path

THREAD_COLUMNS = ("phase", "process", "thread", "component", "share", "low", "high", "ticks", "cpu_s")
CPU_COLUMNS = ("phase", "component", "cpu_ms", "low", "high", "requests")
HOT_COLUMNS = ("phase", "process", "thread", "function", "file", "component", "self_ms", "cumulative_ms")
UTILISATION_COLUMNS = ("phase", "process", "thread", "busy_share", "low", "high")
_Place = tuple[Role, str, str]  # of a function: role of the thread, name, file


def thread_breakdown(ticks: PhaseTicks, cpu: pd.DataFrame) -> pd.DataFrame:
    """Shares of each thread's ticks: columns THREAD_COLUMNS.

    The shares of a thread sum to 1. ``low`` and ``high``: over slices of one second, as neighbouring
    samples are not independent. ``cpu``: from ``kernel_cpu``. Threads of the same role (pools) are combined.
    """
    names, rows = ticks.catalog.names, []
    for role in _roles(ticks):
        sliced, units = _slices_seen(ticks, role)
        occurs = np.flatnonzero(sliced.any(axis=0))
        sliced = sliced[:, occurs]
        n = int(sliced.sum())
        shares = ratio_of_sums(sliced, sliced.sum(axis=1))
        low, high = shares.shares(units, n)
        cpu_s = cpu.loc[(cpu["process"] == role.process) & (cpu["thread"] == role.thread), "cpu_s"].sum()
        rows += [
            (
                ticks.phase.name,
                role.process,
                role.thread,
                names[index],
                shares.values[i],
                low[i],
                high[i],
                n,
                cpu_s,
            )
            for i, index in enumerate(occurs)
        ]
    return pd.DataFrame(rows, columns=list(THREAD_COLUMNS))


def _roles(ticks: PhaseTicks) -> list[Role]:
    return list(dict.fromkeys(thread.role for _, thread in _threads(ticks)))


def _threads(ticks: PhaseTicks) -> Iterator[tuple[BlockTicks, ThreadTicks]]:
    return ((block, thread) for block in ticks.blocks for thread in block.threads)


def _sliced(ticks: PhaseTicks, role: Role) -> NDArray[np.float64]:
    """Ticks of a role by slice and component, shape (slices of all blocks with stacks, components)."""
    parts = []
    for block in ticks.blocks:
        edges = slice_edges(block.block)
        part = np.zeros((len(edges) - 1, len(ticks.catalog.names)))
        for thread in block.threads:
            if thread.role == role:
                tick_s = block.tick_s[len(block.tick_s) - len(thread.components) :]
                number = np.searchsorted(edges[1:-1], tick_s, side="right")
                np.add.at(part, (number, thread.components), 1.0)
        parts.append(part)
    return np.concatenate(parts)


def _units(ticks: PhaseTicks) -> Units:
    """The slices of all blocks with stacks."""
    return Units.of_blocks([len(slice_edges(block.block)) - 1 for block in ticks.blocks])


def _slices_seen(ticks: PhaseTicks, role: Role) -> tuple[NDArray[np.float64], Units]:
    """``_sliced`` without the slices in which the role has no tick."""
    whole = _sliced(ticks, role)
    seen = whole.sum(axis=1) > 0
    return whole[seen], _units(ticks).part(seen)


def kernel_cpu(ticks: PhaseTicks, rules: RuleSet) -> pd.DataFrame:
    """CPU seconds in the blocks with stacks (in all blocks if none has any): one row per OS thread.

    Columns: process, thread (role, ``native_threads`` for threads without Python), pid, tid, cpu_s.
    """
    by_tid = {(thread.pid, thread.tid): thread.role for _, thread in _threads(ticks)}
    by_pid = {thread.pid: thread.role.process for _, thread in _threads(ticks)}
    for process in ticks.phase.record.processes:
        by_pid.setdefault(process.pid, process_role(rules, process.command).process)
    rows = thread_cpu(ticks, rules)
    used = rows["cpu_after_s"].fillna(rows["cpu_before_s"]) - rows["cpu_before_s"].fillna(0.0)
    whole = rows.assign(cpu_s=used).groupby(["pid", "tid"])[["cpu_s"]].sum().reset_index()
    roles = [by_tid.get((pid, tid)) for pid, tid in zip(whole["pid"], whole["tid"], strict=True)]
    whole.insert(0, "thread", [role.thread if role else NATIVE_THREADS for role in roles])
    processes = [
        role.process if role else by_pid.get(pid, "other")
        for role, pid in zip(roles, whole["pid"], strict=True)
    ]
    whole.insert(0, "process", processes)
    return whole


def thread_cpu(ticks: PhaseTicks, rules: RuleSet) -> pd.DataFrame:
    """The rows of threads.parquet of the measured blocks, without the kit's own processes."""
    phase = ticks.phase
    sampled = {thread.pid for _, thread in _threads(ticks)}
    excluded = {
        process.pid
        for process in phase.record.processes
        if process.pid not in sampled and process_role(rules, process.command).excluded
    }
    blocks = {block.number for block in _measured_blocks(ticks)}
    return phase.threads[phase.threads["block"].isin(blocks) & ~phase.threads["pid"].isin(excluded)]


def _measured_blocks(ticks: PhaseTicks) -> list[Block]:
    """The blocks with stacks; all blocks if none has any, as CPU time is known without stacks too."""
    return [block.block for block in ticks.blocks] or list(ticks.phase.record.blocks)


def requests_served(ticks: PhaseTicks, requests: MeasuredRequests) -> float:
    """The number of requests in the measured blocks; one that lies partly within counts as a part."""
    return sum(
        float(answered_between(requests, np.array([block.start_s, block.stop_s])).sum())
        for block in _measured_blocks(ticks)
    )


def answered_between(requests: MeasuredRequests, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The number of requests between each two edges (epoch seconds); parts of requests count as parts."""
    table = requests.table[requests.table["ok"]]
    sent, done = (table[name].to_numpy(dtype=np.float64) for name in ("sent_ns", "done_ns"))
    inside = [
        np.clip(np.minimum(done, stop) - np.maximum(sent, start), 0, None) / (done - sent)
        for start, stop in pairwise(edges * 1e9)
    ]
    return np.array([part.sum() for part in inside])


def cpu_per_request(ticks: PhaseTicks, cpu: pd.DataFrame, requests: MeasuredRequests) -> pd.DataFrame:
    """CPU milliseconds per request by component: columns CPU_COLUMNS, largest first.

    The kernel's CPU time of each thread is divided among the thread's running components by their ticks
    (among all of its components if no sample shows it running), so the rows sum to the kernel's figure
    divided by the requests. ``low`` and ``high``: of CPU / requests, over slices of one second. A
    slice's CPU time is its running ticks times the thread's CPU time per running tick, so a thread's
    total varies as well as its split (slightly too much: ticks add randomness that the kernel's total
    does not have). Threads without ticks (``native_threads``) have no slices: their interval is not
    known, NaN.
    """
    names = ticks.catalog.names
    if not ticks.blocks:  # without stacks it is not known what a thread's time was spent on
        return pd.DataFrame(columns=list(CPU_COLUMNS))
    answered = np.concatenate(
        [answered_between(requests, slice_edges(block.block)) for block in ticks.blocks]
    )
    served = float(answered.sum())
    if served <= 0:
        return pd.DataFrame(columns=list(CPU_COLUMNS))
    spent_ms = np.zeros((len(answered), len(names)))
    for role in _roles(ticks):
        of_role = (cpu["process"] == role.process) & (cpu["thread"] == role.thread)
        sliced = _sliced(ticks, role)
        running = np.where(ticks.catalog.waiting, 0.0, sliced)
        if running.sum() == 0:
            running = sliced
        spent_ms += running / running.sum() * float(cpu.loc[of_role, "cpu_s"].sum()) * 1e3
    per_request = ratio_of_sums(spent_ms, answered)
    means = per_request.values
    all_running_ms = sum(len(block.threads) * block.block.wall_s * 1e3 for block in ticks.blocks)
    low, high = per_request.amounts(_units(ticks), all_running_ms / served)
    rows = [(ticks.phase.name, names[i], means[i], low[i], high[i], served) for i in np.flatnonzero(means)]
    native = float(cpu["cpu_s"].sum()) * 1e3 / served - float(means.sum())
    if native > 1e-9:
        rows.append((ticks.phase.name, NATIVE_THREADS, native, np.nan, np.nan, served))
    table = pd.DataFrame(rows, columns=list(CPU_COLUMNS))
    return table.sort_values("cpu_ms", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class WorkingStack:
    """A stack of a thread at work, with its wall time within the block."""

    role: Role
    frames: tuple[Frame, ...]
    component: str
    samples: int
    wall_ms: float

    def labels(self) -> tuple[str, ...]:
        """The role and the frames, root first, without line numbers, ids or installation folders."""
        return (str(self.role), *(f"{frame.name} ({short_path(frame.file)})" for frame in self.frames))


def working_stacks(ticks: PhaseTicks) -> Iterator[WorkingStack]:
    """Each distinct stack and component of each thread and block. Lost ticks have no stack."""
    catalog = ticks.catalog
    for block, thread in _threads(ticks):
        tick_ms = block.block.wall_s * 1e3 / max(block.ticks, 1)
        real = (thread.stack_ids >= 0) & catalog.work[thread.components]
        pairs, counts = np.unique(
            np.stack([thread.stack_ids[real], thread.components[real]]), axis=1, return_counts=True
        )
        for (stack_id, component), count in zip(pairs.T, counts, strict=True):
            yield WorkingStack(
                thread.role,
                tuple(block.table.stack(int(stack_id))),
                catalog.names[component],
                int(count),
                float(count) * tick_ms,
            )


def hot_functions(ticks: PhaseTicks, served: float) -> pd.DataFrame:
    """Milliseconds of wall time per request in each function while its thread works.

    Columns HOT_COLUMNS, largest self time first. ``self_ms``: the function is the innermost frame;
    ``cumulative_ms``: it is anywhere in the stack, counted once. ``component``: the one with most of the
    function's self time (cumulative time if it has none). Lost ticks have no stack and are not
    included; the table is empty if no request was answered.
    """
    if served <= 0:
        return pd.DataFrame(columns=list(HOT_COLUMNS))
    self_time: dict[_Place, dict[str, float]] = {}
    cumulative: dict[_Place, dict[str, float]] = {}
    for stack in working_stacks(ticks):
        places = [(stack.role, frame.name, frame.file) for frame in stack.frames]
        for place in set(places):
            _add(cumulative, place, stack)
        if places:
            _add(self_time, places[-1], stack)
    rows = []
    for place, by_component in cumulative.items():
        alone = self_time.get(place, {})
        role, function, file = place
        main = _largest(alone or by_component, ticks.catalog.names)
        self_ms, cumulative_ms = sum(alone.values()), sum(by_component.values())
        rows.append(
            (ticks.phase.name, role.process, role.thread, function, file, main, self_ms, cumulative_ms)
        )
    table = pd.DataFrame(rows, columns=list(HOT_COLUMNS))
    table[["self_ms", "cumulative_ms"]] /= served
    return table.sort_values(
        ["self_ms", "cumulative_ms", "function"], ascending=[False, False, True], ignore_index=True
    )


def _add(times: dict[_Place, dict[str, float]], place: _Place, stack: WorkingStack) -> None:
    by_component = times.setdefault(place, {})
    by_component[stack.component] = by_component.get(stack.component, 0.0) + stack.wall_ms


def _largest(by_component: Mapping[str, float], names: Sequence[str]) -> str:
    """The component with most of the time; of equal ones the first in the catalog's order."""
    return max(by_component, key=lambda name: (by_component[name], -names.index(name)))


def utilisation(ticks: PhaseTicks) -> pd.DataFrame:
    """The share of the time in which each thread works: columns UTILISATION_COLUMNS."""
    rows = []
    for role in _roles(ticks):
        sliced, units = _slices_seen(ticks, role)
        work = sliced[:, ticks.catalog.work].sum(axis=1, keepdims=True)
        busy = ratio_of_sums(work, sliced.sum(axis=1))
        low, high = busy.shares(units, int(sliced.sum()))
        row = (role.process, role.thread, float(busy.values[0]), float(low[0]), float(high[0]))
        rows.append((ticks.phase.name, *row))
    return pd.DataFrame(rows, columns=list(UTILISATION_COLUMNS))
