"""The request path: the split of a request's wall time over what it waited for.

Defined for one request in flight at a time. Ticks come at random times (py-spy's timer is a Poisson
process), so the share of a request's ticks is an unbiased estimate of the share of its time.

What a tick belongs to when several threads work at once is decided by what the request waits for,
not by who is busy:

1. The HTTP thread's own work counts as it is: the request cannot be answered before it is done.
2. While a part of the request is still to be prefilled, the scheduler's work counts; while the
   scheduler waits for its forward thread, the forward thread's. A decode step that stands in
   between counts as ``decode_step``: the rest of the request waits for it (a compile in it counts
   as ``trace_compile``). While the forward thread works on a prefill, the scheduler prepares what
   comes next: when it then has to wait for that prefill all the same, its work was in the forward
   thread's shadow, and the forward thread's counts.
3. After the request's last prefill, the detokenizer's work counts. The forward thread's decode step
   runs on, but the answer does not wait for it.
4. A hand-over: a thread that wakes the next one is often put off the CPU within its last call, and
   is seen in it while the next one works. Such ticks, the last ones in the same stack before the
   thread waits, count for the next thread.
5. What is left is ``client`` (the load generator's own CPU time within the request) and
   ``ipc_and_wakeup`` (sockets, wake-ups, the kernel).

Where the threads cannot be put on common ticks (a server without the launcher's clock, samples that are
missing), the marginal shares are chained instead: waiting is replaced by the next thread's shares, level
by level, decode steps last. That cannot tell what overlaps, and the result says that it was used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.statistics import bootstrap_weights, interval
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.components.catalog import CLIENT, COMPONENTS, INDEX, IPC_AND_WAKEUP, NAMES

MORE_IN_FLIGHT = (
    "not defined with more than one request in flight, for a tick then belongs to several requests at once"
)
PATH_NAMES: tuple[str, ...] = (*NAMES, IPC_AND_WAKEUP, CLIENT)
COLUMNS = ("phase", "component", "mean_ms", "low", "high", "share", "max_speedup", "requests", "latency_ms")
SLICE_S = 1.0
HTTP, SCHEDULER, DETOKENIZER = (("http", "main"), ("scheduler", "main"), ("detokenizer", "main"))
FORWARD = ("scheduler", "forward")
_LEFT, _CLIENT = len(NAMES), len(NAMES) + 1
_WORK = np.array([COMPONENTS[name].work for name in NAMES])
_WAIT_FORWARD, _DECODE_STEP = INDEX["wait_forward"], INDEX["decode_step"]
_TRACE_COMPILE = INDEX["trace_compile"]


@dataclass(frozen=True)
class RequestPath:
    """``table`` has the columns COLUMNS, times in ms; empty when the path is not defined.

    ``method``: joint or marginal; ``reason``: why there is none, or why it is marginal.
    """

    table: pd.DataFrame
    method: str | None
    reason: str | None = None

    def as_mapping(self) -> Mapping[str, tuple[float, float, float]]:
        """Component to (mean, low, high) in ms."""
        columns = (self.table[name] for name in ("component", "mean_ms", "low", "high"))
        return {
            name: (float(mean), float(low), float(high))
            for name, mean, low, high in zip(*columns, strict=True)
        }


def request_path(ticks: PhaseTicks, requests: MeasuredRequests, concurrency: int, seed: int) -> RequestPath:
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
    lacking = _lacking(ticks)
    if lacking is not None:
        return RequestPath(nothing, None, lacking)
    times = profiled[["latency_ms", "client_cpu_ms"]].to_numpy(dtype=np.float64).T
    reason = _why_marginal(ticks)
    if reason is None:
        counts, method = _joint_counts(ticks, profiled), "joint"
    else:
        counts, method = _marginal_counts(ticks), "marginal"
        # A slice has no latency of its own: its interval is that of the split of the mean latency.
        times = np.repeat(times.mean(axis=1, keepdims=True), len(counts), axis=1)
    if counts.sum() == 0:
        return RequestPath(nothing, None, "no tick fell into a profiled request")
    table = _estimate(counts, times[0], times[1], seed)
    table.insert(0, "phase", ticks.phase.name)
    table["requests"] = len(profiled)
    return RequestPath(table[list(COLUMNS)], method, reason)


def _lacking(ticks: PhaseTicks) -> str | None:
    """The thread without which nothing is known of a request, if there are no samples of it."""
    for thread in (HTTP, SCHEDULER):
        if any(block.thread(*thread) is None for block in ticks.blocks):
            return f"no samples of {' / '.join(thread)}"
    return None


def _why_marginal(ticks: PhaseTicks) -> str | None:
    """Why the joint state of the threads is not known at each tick; None when it is."""
    if not all(block.aligned for block in ticks.blocks):
        return "the processes' samples could not be put on common ticks"
    for block in ticks.blocks:
        for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER):
            thread = block.thread(*role)
            if thread is not None and len(thread.components) != block.ticks:
                return f"{' / '.join(role)} has samples at {len(thread.components)} of {block.ticks} ticks"
    return None


def _estimate(
    counts: NDArray[np.float64], latency_ms: NDArray[np.float64], client_ms: NDArray[np.float64], seed: int
) -> pd.DataFrame:
    """Means with intervals by bootstrap over requests or slices.

    ``counts``: ticks by component, shape (requests or slices, components); ``latency_ms`` and
    ``client_ms``: of each of them. Each replicate sums to its mean latency, so the rows sum to the mean
    latency exactly.
    """
    n, mean_ms = len(latency_ms), latency_ms.mean()

    def path(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = weights @ counts
        total = np.maximum(sums.sum(axis=-1, keepdims=True), 1e-12)
        drawn = weights.sum(axis=-1, keepdims=True)
        result = sums / total * (weights @ latency_ms)[..., None] / drawn
        of_client = np.minimum(weights @ client_ms / drawn[..., 0], result[..., _LEFT])
        result[..., _CLIENT] += of_client
        result[..., _LEFT] -= of_client
        return result

    means = path(np.ones(n))
    replicates = path(bootstrap_weights(n, seed).astype(np.float64))
    low, high = interval(replicates, means, n, float(latency_ms.max()))
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
        for i, name in enumerate(PATH_NAMES)
        if means[i] > 1e-9
    ]
    return pd.DataFrame(rows).sort_values("mean_ms", ascending=False, kind="stable", ignore_index=True)


def _joint_counts(ticks: PhaseTicks, profiled: pd.DataFrame) -> NDArray[np.float64]:
    counts = np.zeros((len(profiled), len(PATH_NAMES)))
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
    """The number of the request in flight at each tick, -1 for none. Requests are in order."""
    number = np.searchsorted(sent_s, tick_s, side="right") - 1
    inside = (number >= 0) & (tick_s <= done_s[np.maximum(number, 0)])
    return np.where(inside, number, -1)


def tick_causes(block: BlockTicks, request: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the request in flight waits for at each tick: indices into PATH_NAMES, shape (ticks,)."""
    n = block.ticks
    http, scheduler, forward, detokenizer = (
        _states(block.thread(*role), n) for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER)
    )
    causes = np.full(n, _LEFT, dtype=np.int64)
    last_prefill = _last_prefill(scheduler, request)
    before_answer = np.arange(n) <= last_prefill

    waits = scheduler.components == _WAIT_FORWARD
    take = before_answer & waits & forward.works
    causes[take] = forward.components[take]
    hidden = _hidden(scheduler, forward, waits)
    take = before_answer & scheduler.works
    causes[take] = scheduler.components[take]
    take = before_answer & scheduler.decode & (scheduler.works | waits)
    causes[take & (causes != _TRACE_COMPILE)] = _DECODE_STEP
    take = before_answer & hidden
    causes[take] = forward.components[take]

    answering = (_hand_over(scheduler) == last_prefill) & before_answer
    take = detokenizer.works & (~before_answer | answering)
    causes[take] = detokenizer.components[take]
    # A decode step that runs just then is of the request before: nothing was handed over to it.
    next_works = before_answer & ~scheduler.decode & (scheduler.works | (waits & forward.works))
    take = http.works & ~(next_works & (_hand_over(http) >= 0))
    causes[take] = http.components[take]
    return causes


def _hidden(scheduler: "_States", forward: "_States", waits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the scheduler works in the shadow of its forward thread: it then waits for what the forward
    thread had begun before and works on without a pause."""
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
    """For the last ticks in the same stack before a thread stops working: the last of them; else -1."""
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
    components: NDArray[np.int16]
    stack_ids: NDArray[np.int32]
    works: NDArray[np.bool_]
    decode: NDArray[np.bool_]


def _states(thread: ThreadTicks | None, n: int) -> _States:
    if thread is None:  # no overlap scheduling, no detokenizer
        nothing = np.zeros(n, dtype=np.bool_)
        return _States(np.full(n, -1, dtype=np.int16), np.full(n, -1, dtype=np.int32), nothing, nothing)
    return _States(thread.components, thread.stack_ids, _WORK[thread.components], thread.decode)


def _last_prefill(scheduler: _States, request: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the request in flight at each tick: its last tick with a prefill going on, -1 for none."""
    waits = scheduler.components == _WAIT_FORWARD
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
        _shares(block.thread(*role), block.ticks, part) for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER)
    )
    path = np.zeros(len(PATH_NAMES))
    left = 1.0
    for work, limit in (
        (http * _WORK, 1.0),
        (scheduler * _WORK, 1.0),
        (forward * _WORK, float(scheduler[_WAIT_FORWARD])),
        (detokenizer * _WORK, 1.0),
        (_decode_steps(block, part), 1.0),
    ):
        total = float(work.sum())
        taken = min(total, limit, left)
        if total > 0:
            path[: len(NAMES)] += work * taken / total
        left -= taken
    path[_LEFT] = left
    return path


def _shares(thread: ThreadTicks | None, ticks: int, part: slice) -> NDArray[np.float64]:
    """Shares of the ticks in each component, decode steps left out: shape (components,)."""
    if thread is None:
        return np.zeros(len(NAMES))
    part = _own(thread, ticks, part)
    components, decode = thread.components[part], thread.decode[part]
    return np.bincount(components[~decode], minlength=len(NAMES)) / max(len(components), 1)


def _own(thread: ThreadTicks, ticks: int, part: slice) -> slice:
    """The part of a thread's ticks; of a thread that lacks some it is not known which: all that it has."""
    return part if len(thread.components) == ticks else slice(None)


def _decode_steps(block: BlockTicks, part: slice) -> NDArray[np.float64]:
    """The share of the scheduler's ticks in a decode step, as ``decode_step``, or ``trace_compile`` for
    as much of it as its forward thread compiles then: shape (components,)."""
    result = np.zeros(len(NAMES))
    scheduler, forward = block.thread(*SCHEDULER), block.thread(*FORWARD)
    if scheduler is None:
        return result
    own = _own(scheduler, block.ticks, part)
    components = scheduler.components[own]
    steps = scheduler.decode[own] & (_WORK[components] | (components == _WAIT_FORWARD))
    result[_DECODE_STEP] = steps.mean() if len(steps) else 0.0
    for thread in (scheduler, forward):
        if thread is not None and len(thread.components):
            compiles = (thread.components == _TRACE_COMPILE) & thread.decode
            share = float(compiles[_own(thread, block.ticks, part)].mean())
            moved = min(share, result[_DECODE_STEP])
            result[_TRACE_COMPILE] += moved
            result[_DECODE_STEP] -= moved
    return result
