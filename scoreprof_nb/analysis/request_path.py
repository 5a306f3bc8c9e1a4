"""The request path: the split of a request's wall time over what the request waited for.

Defined for one request in flight at a time. Ticks come at random times (py-spy's timer is a Poisson
process), so the share of a request's ticks is an unbiased estimate of the share of its time.

When several threads work at once, a tick belongs to what the request waits for, not to whichever thread
is busy:

1. The HTTP thread's own work counts: the request cannot be answered before it is done.
2. While a part of the request is still to be prefilled, the scheduler's work counts, and while the
   scheduler waits for its forward thread, the forward thread's. A decode step in between counts as
   ``decode_step``, because the rest of the request waits for it (a compile in it counts as
   ``trace_compile``). While the forward thread works on a prefill, the scheduler prepares what comes next.
   If it then has to wait for that prefill anyway, its work was hidden behind the forward thread's, and
   the forward thread's counts.
3. After the request's last prefill, the detokenizer's work counts. The forward thread's decode step
   continues, but the response does not wait for it.
4. A hand-over: a thread that wakes the next one is often descheduled within its last call, and is sampled
   in it while the next one works. Such ticks, the last ones in the same stack before the thread waits,
   count for the next thread.
5. The rest is ``client`` (the load generator's own CPU time within the request) and ``ipc_and_wakeup``
   (sockets, wake-ups, the kernel).

Where the threads cannot be put on common ticks (a server without the launcher's clock, missing samples),
the marginal shares are chained instead: waiting is replaced by the next thread's shares, level by level,
decode steps last. This method cannot show what overlaps; the result states when it was used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.dependence import Units
from scoreprof_nb.analysis.intervals import mean_of, ratio_of_sums, unseen_share
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.components.catalog import CLIENT, IPC_AND_WAKEUP
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.engines.sglang_jax_analysis import DETOKENIZER, FORWARD, HTTP, SCHEDULER

MORE_IN_FLIGHT = (
    "not defined with more than one request in flight: a tick then belongs to several requests at once"
)
COLUMNS = ("phase", "component", "mean_ms", "low", "high", "share", "max_speedup", "requests", "latency_ms")
SLICE_S = 1.0
_WAIT_FORWARD, _DECODE_STEP, _TRACE_COMPILE = "wait_forward", "decode_step", "trace_compile"


@dataclass(frozen=True)
class RequestPath:
    """``table``: columns COLUMNS, times in ms; empty where the path is not defined.

    ``method``: joint or marginal, None without a path; ``reason``: why there is no path, or why it is
    marginal; ``unseen_high_ms``: the upper end of the interval, from 0, of each component that no sample
    shows and that has no row.
    """

    table: pd.DataFrame
    method: str | None
    reason: str | None = None
    unseen_high_ms: float | None = None

    def as_mapping(self) -> Mapping[str, tuple[float, float, float]]:
        """Component to (mean, low, high) in ms."""
        columns = (self.table[name] for name in ("component", "mean_ms", "low", "high"))
        return {
            name: (float(mean), float(low), float(high))
            for name, mean, low, high in zip(*columns, strict=True)
        }


def request_path(ticks: PhaseTicks, requests: MeasuredRequests, concurrency: int) -> RequestPath:
    """The request path of one phase over its profiled requests."""
    nothing = pd.DataFrame(columns=list(COLUMNS))
    if concurrency > 1:
        return RequestPath(nothing, None, MORE_IN_FLIGHT)
    profiled = requests.profiled()
    profiled = profiled[profiled["block"].isin([block.block.number for block in ticks.blocks])]
    if not ticks.blocks or profiled.empty:
        return RequestPath(
            nothing, None, "no stacks were recorded" if not ticks.blocks else "no profiled request"
        )
    missing = _missing_thread(ticks)
    if missing is not None:
        return RequestPath(nothing, None, missing)
    times = profiled[["latency_ms", "client_cpu_ms"]].to_numpy(dtype=np.float64).T
    reason = _why_marginal(ticks)
    if reason is None:
        counts, method, units = _joint_counts(ticks, profiled), "joint", Units.of_requests(profiled)
    else:
        counts, method = _marginal_counts(ticks), "marginal"
        units = Units.of_blocks([len(_slice_bounds(block)) - 1 for block in ticks.blocks])
        # Slices have no latency of their own: the interval is that of the split of the mean latency.
        times = np.repeat(times.mean(axis=1, keepdims=True), len(counts), axis=1)
    if counts.sum() == 0:
        return RequestPath(nothing, None, "no tick falls within a profiled request")
    table = _estimate(counts, times[0], times[1], ticks.catalog, units)
    table.insert(0, "phase", ticks.phase.name)
    table["requests"] = len(profiled)
    unseen_ms = unseen_share(round(counts.sum())) * times[0].mean()
    return RequestPath(table[list(COLUMNS)], method, reason, float(unseen_ms))


def _missing_thread(ticks: PhaseTicks) -> str | None:
    """Why there is no path at all: no samples of a thread that every request passes; None if there are."""
    for thread in (HTTP, SCHEDULER):
        if any(block.thread(*thread) is None for block in ticks.blocks):
            return f"no samples of {' / '.join(thread)}"
    return None


def _why_marginal(ticks: PhaseTicks) -> str | None:
    """Why the joint state of the threads is not known at every tick; None if it is."""
    if not all(block.aligned for block in ticks.blocks):
        return "the processes' samples could not be put on common ticks"
    for block in ticks.blocks:
        for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER):
            thread = block.thread(*role)
            if thread is not None and len(thread.components) != block.ticks:
                return (
                    f"{' / '.join(role)} was sampled at only {len(thread.components)} of {block.ticks} ticks"
                )
    return None


def _estimate(
    counts: NDArray[np.float64],
    latency_ms: NDArray[np.float64],
    client_ms: NDArray[np.float64],
    catalog: Catalog,
    units: Units,
) -> pd.DataFrame:
    """Means with intervals.

    ``counts``: ticks by component, shape (units, components); ``latency_ms`` and ``client_ms``: of each unit
    (request or slice). The rows sum to the mean latency exactly.
    """
    mean_ms = latency_ms.mean()
    occurs = counts.any(axis=0)
    occurs[[catalog.index[IPC_AND_WAKEUP], catalog.index[CLIENT]]] = True
    names = [name for name, used in zip(catalog.names, occurs, strict=True) if used]
    rest, client = names.index(IPC_AND_WAKEUP), names.index(CLIENT)
    counts = counts[:, occurs]
    path = ratio_of_sums(counts, counts.sum(axis=1)).times(mean_of(latency_ms))
    path = path.moved(rest, client, mean_of(client_ms))
    means = path.values
    low, high = path.amounts(units, float(latency_ms.max()))
    rows = [
        {
            "component": name,
            "mean_ms": means[i],
            "low": min(low[i], means[i]),
            "high": max(high[i], means[i]),
            "share": means[i] / mean_ms,
            "max_speedup": mean_ms / (mean_ms - means[i]) if means[i] < 0.999 * mean_ms else np.inf,
            "latency_ms": mean_ms,
        }
        for i, name in enumerate(names)
        if means[i] > 1e-9
    ]
    return pd.DataFrame(rows).sort_values("mean_ms", ascending=False, kind="stable", ignore_index=True)


def _joint_counts(ticks: PhaseTicks, profiled: pd.DataFrame) -> NDArray[np.float64]:
    counts = np.zeros((len(profiled), len(ticks.catalog.names)))
    sent = profiled["sent_ns"].to_numpy() / 1e9
    done = profiled["done_ns"].to_numpy() / 1e9
    for block in ticks.blocks:
        request = _request_of(block.tick_s, sent, done)
        causes = tick_causes(block, request)
        inside = request >= 0
        np.add.at(counts, (request[inside], causes[inside]), 1.0)
    return counts


def _request_of(
    tick_s: NDArray[np.float64], sent_s: NDArray[np.float64], done_s: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The number of the request in flight at each tick, -1 for none. Requests are in the order of time."""
    number = np.searchsorted(sent_s, tick_s, side="right") - 1
    inside = (number >= 0) & (tick_s <= done_s[np.maximum(number, 0)])
    return np.where(inside, number, -1)


def tick_causes(block: BlockTicks, request: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the request in flight waits for at each tick: indices into the catalog, shape (ticks,)."""
    n, index = block.ticks, block.catalog.index
    http, scheduler, forward, detokenizer = (
        _states(block, role) for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER)
    )
    causes = np.full(n, index[IPC_AND_WAKEUP], dtype=np.int64)
    waits = scheduler.components == index[_WAIT_FORWARD]
    last_prefill = _last_prefill(scheduler, waits, request)
    before_answer = np.arange(n) <= last_prefill

    take = before_answer & waits & forward.works
    causes[take] = forward.components[take]
    hidden = _hidden(scheduler, forward, waits)
    take = before_answer & scheduler.works
    causes[take] = scheduler.components[take]
    take = before_answer & scheduler.decode & (scheduler.works | waits)
    causes[take & (causes != index[_TRACE_COMPILE])] = index[_DECODE_STEP]
    take = before_answer & hidden
    causes[take] = forward.components[take]

    answering = (_hand_over(scheduler) == last_prefill) & before_answer
    take = detokenizer.works & (~before_answer | answering)
    causes[take] = detokenizer.components[take]
    # A decode step at that moment belongs to the previous request: nothing was handed over to it.
    next_works = before_answer & ~scheduler.decode & (scheduler.works | (waits & forward.works))
    take = http.works & ~(next_works & (_hand_over(http) >= 0))
    causes[take] = http.components[take]
    return causes


def _hidden(scheduler: "_States", forward: "_States", waits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the scheduler's work is hidden behind its forward thread's: right after it, the scheduler waits
    for what the forward thread started before and is still working on."""
    result = np.zeros(len(waits), dtype=np.bool_)
    waits_for_prefill = waits & ~scheduler.decode & forward.works
    ends = np.flatnonzero(scheduler.works[:-1] & forward.works[:-1] & waits_for_prefill[1:])
    for last in ends:
        tick = last
        while tick >= 0 and scheduler.works[tick] and forward.works[tick]:
            result[tick] = True
            tick -= 1
    return result


def _hand_over(states: "_States") -> NDArray[np.int64]:
    """At the last ticks in the same stack before a thread stops working: the last of them; -1 elsewhere."""
    result = np.full(len(states.works), -1, dtype=np.int64)
    stops = np.flatnonzero(states.works & ~np.append(states.works[1:], False))
    for last in stops:
        tick = last
        while tick >= 0 and states.works[tick] and states.stack_ids[tick] == states.stack_ids[last]:
            result[tick] = last
            tick -= 1
    return result


@dataclass(frozen=True)
class _States:
    """One thread at every tick of a block; component and stack are -1 without such a thread."""

    components: NDArray[np.int16]
    stack_ids: NDArray[np.int32]
    works: NDArray[np.bool_]
    decode: NDArray[np.bool_]


def _states(block: BlockTicks, role: tuple[str, str]) -> _States:
    thread, n = block.thread(*role), block.ticks
    if thread is None:  # no overlap scheduling, no detokenizer
        nothing = np.zeros(n, dtype=np.bool_)
        return _States(np.full(n, -1, dtype=np.int16), np.full(n, -1, dtype=np.int32), nothing, nothing)
    works = block.catalog.work[thread.components]
    return _States(thread.components, thread.stack_ids, works, thread.decode)


def _last_prefill(
    scheduler: _States, waits: NDArray[np.bool_], request: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For the request in flight at each tick: the last tick of its prefills, -1 for none."""
    prefill = (scheduler.works | waits) & ~scheduler.decode & (request >= 0)
    last = np.full(int(request.max(initial=-1)) + 2, -1, dtype=np.int64)
    np.maximum.at(last, request[prefill], np.flatnonzero(prefill))
    return last[request]  # the last entry, for request -1, stays -1


def _marginal_counts(ticks: PhaseTicks) -> NDArray[np.float64]:
    """The chained marginal shares of each slice of one second, times its ticks: (slices, components)."""
    return np.array(
        [
            _chained(block, slice(first, last)) * (last - first)
            for block in ticks.blocks
            for first, last in pairwise(_slice_bounds(block))
        ]
    )


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
        (forward * does_work, float(scheduler[index[_WAIT_FORWARD]])),
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
    steps = scheduler.decode[ticks] & (work[components] | (components == index[_WAIT_FORWARD]))
    in_steps = float(steps.mean()) if len(steps) else 0.0
    compiling = 0.0
    for thread in (scheduler, forward):
        if thread is not None and len(thread.components):
            compiles = (thread.components == index[_TRACE_COMPILE]) & thread.decode
            compiling += float(compiles[_part_of(thread, block, part)].mean())
    compiling = min(compiling, in_steps)
    result[index[_TRACE_COMPILE]], result[index[_DECODE_STEP]] = compiling, in_steps - compiling
    return result
