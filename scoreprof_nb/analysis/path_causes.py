"""What the server works at, at each tick: the rules of cause of the request path.

When several threads work at once, a tick belongs to what a request waits for, not to whichever thread is
busy:

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
   count for the next thread. Being off the CPU lasts HAND_OVER_S at most: a thread that is longer in one
   stack is at work in it.
5. The rest is ``ipc_and_wakeup`` (sockets, wake-ups, the kernel).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.analysis.ticks import BlockTicks
from scoreprof_nb.components.catalog import IPC_AND_WAKEUP
from scoreprof_nb.engines.sglang_jax_analysis import DETOKENIZER, FORWARD, HTTP, SCHEDULER

HAND_OVER_S = 0.02  # some time slices of the kernel's scheduler (3 ms) with several threads on one core
_RESULTS = ("wait_forward", "output", "logprobs")  # of the scheduler: it processes a batch's results
_DECODE_STEP, _TRACE_COMPILE = "decode_step", "trace_compile"
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ServerStates:
    """The server at every tick of a block; components are indices into the catalog, shape (ticks,).

    ``batch``: what the requests in a batch wait for; ``batch_behind``: the same for a batch whose
    computation runs while the scheduler prepares another one; ``scheduler``, ``detokenizer`` and ``http``:
    what that thread works at, -1 where it does not work.

    ``prefills``: the scheduler works at a prefill or waits for one; ``prepares``, ``results``: before its
    computation starts, or after; ``next_works``: what the HTTP thread may have handed over to works.
    ``scheduler_hand_over``, ``http_hand_over``: within a hand-over its last tick, -1 elsewhere.
    """

    batch: Ints
    batch_behind: Ints
    scheduler: Ints
    detokenizer: Ints
    http: Ints
    prefills: Bools
    prepares: Bools
    results: Bools
    next_works: Bools
    scheduler_hand_over: Ints
    http_hand_over: Ints


def server_states(block: BlockTicks) -> ServerStates:
    """The states of the threads of the request path, put together."""
    index = block.catalog.index
    http, scheduler, forward, detokenizer = (
        _thread(block, role) for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER)
    )
    waits = scheduler.components == index["wait_forward"]
    causes = np.full(block.ticks, index[IPC_AND_WAKEUP], dtype=np.int64)
    take = waits & forward.works
    causes[take] = forward.components[take]
    causes[scheduler.works] = scheduler.components[scheduler.works]
    take = scheduler.decode & (scheduler.works | waits)
    causes[take & (causes != index[_TRACE_COMPILE])] = index[_DECODE_STEP]
    hidden = _hidden(scheduler, forward, waits)
    causes[hidden] = forward.components[hidden]
    results = np.isin(scheduler.components, [index[name] for name in _RESULTS]) & ~scheduler.decode
    limit = max(round(HAND_OVER_S * block.recording.rate_hz), 1)
    return ServerStates(
        batch=causes,
        batch_behind=np.where(forward.works, forward.components, causes).astype(np.int64),
        scheduler=_at_work(scheduler),
        detokenizer=_at_work(detokenizer),
        http=_at_work(http),
        prefills=(scheduler.works | waits) & ~scheduler.decode,
        prepares=scheduler.works & ~scheduler.decode & ~results,
        results=results,
        next_works=~scheduler.decode & (scheduler.works | (waits & forward.works)),
        scheduler_hand_over=_hand_over(scheduler, limit),
        http_hand_over=_hand_over(http, limit),
    )


@dataclass(frozen=True)
class _Thread:
    """One thread at every tick of a block; component and stack are -1 without such a thread."""

    components: NDArray[np.int16]
    stack_ids: NDArray[np.int32]
    works: Bools
    decode: Bools


def _thread(block: BlockTicks, role: tuple[str, str]) -> _Thread:
    thread, n = block.thread(*role), block.ticks
    if thread is None:  # no overlap scheduling, no detokenizer
        nothing = np.zeros(n, dtype=np.bool_)
        return _Thread(np.full(n, -1, dtype=np.int16), np.full(n, -1, dtype=np.int32), nothing, nothing)
    works = block.catalog.work[thread.components]
    return _Thread(thread.components, thread.stack_ids, works, thread.decode)


def _at_work(thread: _Thread) -> Ints:
    return np.where(thread.works, thread.components, -1).astype(np.int64)


def _hidden(scheduler: _Thread, forward: _Thread, waits: Bools) -> Bools:
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


def _hand_over(thread: _Thread, limit: int) -> Ints:
    """At the last ticks in the same stack before a thread stops working, if there are at most ``limit``:
    the last of them; -1 elsewhere."""
    result = np.full(len(thread.works), -1, dtype=np.int64)
    stops = np.flatnonzero(thread.works & ~np.append(thread.works[1:], False))
    for last in stops:
        tick = last
        while tick >= 0 and thread.works[tick] and thread.stack_ids[tick] == thread.stack_ids[last]:
            tick -= 1
        if last - tick <= limit:
            result[tick + 1 : last + 1] = last
    return result
