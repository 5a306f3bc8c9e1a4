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

Where the processes cannot be aligned to common ticks (a server without the launcher's clock), the
marginal shares are chained instead: waiting is replaced by the next thread's shares, level by level.
That cannot tell what overlaps, and the result says that it was used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.samples import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.analysis.statistics import bootstrap_weights, interval_of
from scoreprof_nb.components.catalog import CLIENT, COMPONENTS, INDEX, IPC_AND_WAKEUP, NAMES

PATH_NAMES: tuple[str, ...] = (*NAMES, IPC_AND_WAKEUP, CLIENT)
COLUMNS = ("phase", "component", "mean_ms", "low", "high", "share", "max_speedup", "requests", "latency_ms")
SLICE_S = 1.0
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
        return RequestPath(nothing, None, "not defined with more than one request in flight")
    profiled = requests.profiled()
    if not ticks.blocks or profiled.empty:
        return RequestPath(
            nothing, None, "no stacks were recorded" if not ticks.blocks else "no profiled request"
        )
    latency_ms = profiled["latency_ms"].to_numpy(dtype=np.float64)
    if all(block.aligned for block in ticks.blocks):
        counts, method, reason = _joint_counts(ticks, profiled), "joint", None
    else:
        counts, method = _marginal_counts(ticks), "marginal"
        reason = "the processes' samples could not be put on common ticks"
    if counts.sum() == 0:
        return RequestPath(nothing, None, "no tick fell into a profiled request")
    client_ms = float(profiled["client_cpu_ms"].mean())
    table = _estimate(counts, latency_ms, client_ms, seed)
    table.insert(0, "phase", ticks.phase.name)
    return RequestPath(table, method, reason)


def _estimate(
    counts: NDArray[np.float64], latency_ms: NDArray[np.float64], client_ms: float, seed: int
) -> pd.DataFrame:
    """Means with intervals by bootstrap over the rows of counts: (requests or slices, components).

    Each replicate sums to its mean latency, so the rows sum to the mean latency exactly. Slices have
    no latency of their own: there the interval is that of the split of the mean latency.
    """
    requests, mean_ms = len(latency_ms), latency_ms.mean()
    if len(counts) != requests:
        latency_ms = np.full(len(counts), mean_ms)

    def path(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = weights @ counts
        total = np.maximum(sums.sum(axis=-1, keepdims=True), 1e-12)
        latency = (weights @ latency_ms)[..., None] / weights.sum(axis=-1, keepdims=True)
        result = sums / total * latency
        of_client = np.minimum(client_ms, result[..., _LEFT])
        result[..., _CLIENT] += of_client
        result[..., _LEFT] -= of_client
        return result

    n = len(latency_ms)
    means = path(np.ones(n))
    replicates = path(bootstrap_weights(n, seed).astype(np.float64))
    low, high = interval_of(replicates)
    rows = [
        {
            "component": name,
            "mean_ms": means[i],
            "low": min(low[i], means[i]),
            "high": max(high[i], means[i]),
            "share": means[i] / mean_ms,
            "max_speedup": mean_ms / (mean_ms - means[i]) if means[i] < 0.999 * mean_ms else np.inf,
            "requests": requests,
            "latency_ms": mean_ms,
        }
        for i, name in enumerate(PATH_NAMES)
        if means[i] > 0
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
    http = _states(block.thread("http", "main"), n)
    scheduler = _states(block.thread("scheduler", "main"), n)
    forward = _states(block.thread("scheduler", "forward"), n)
    detokenizer = _states(block.thread("detokenizer", "main"), n)
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
    if thread is None or len(thread.components) != n:
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
    http = _shares(block, part, "http", "main")
    scheduler = _shares(block, part, "scheduler", "main")
    forward = _shares(block, part, "scheduler", "forward")
    path = np.zeros(len(PATH_NAMES))
    left = 1.0
    for work, limit in (
        (http * _WORK, 1.0),
        (scheduler * _WORK, 1.0),
        (forward * _WORK, float(scheduler[_WAIT_FORWARD])),
        (_shares(block, part, "detokenizer", "main") * _WORK, 1.0),
    ):
        total = float(work.sum())
        taken = min(total, limit, left)
        if total > 0:
            path[: len(NAMES)] += work * taken / total
        left -= taken
    path[_LEFT] = left
    return path


def _shares(block: BlockTicks, part: slice, process: str, thread: str) -> NDArray[np.float64]:
    """Shares of the ticks in each component, decode steps left out: shape (components,)."""
    found = block.thread(process, thread)
    if found is None or len(found.components) != block.ticks:
        return np.zeros(len(NAMES))
    components, decode = found.components[part], found.decode[part]
    return np.bincount(components[~decode], minlength=len(NAMES)) / max(len(components), 1)
