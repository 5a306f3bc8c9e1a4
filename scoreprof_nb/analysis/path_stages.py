"""Where each request in flight is at each tick: on its way in, in a batch, or on its way back.

With one request in flight the threads' states say it: it is in its batches until the last tick at which
the scheduler works at a prefill or waits for one. With more, the server's log says which requests a batch
holds and when it starts; a batch ends at the last tick at which the scheduler processes its results.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.path_causes import Bools, Ints, ServerStates
from scoreprof_nb.analysis.prefill_batches import PrefillBatches
from scoreprof_nb.analysis.ticks import BlockTicks
from scoreprof_nb.components.catalog import IPC_AND_WAKEUP

Floats = NDArray[np.float64]
IDLE_S = 0.002  # between an answer and the next batch: the scheduler was idle
AFTER_BATCH = ("logprobs", "softmax", "response")  # what the HTTP thread does for a request on its way back


@dataclass(frozen=True)
class InFlight:
    """All pairs of a tick of a block and a request in flight, by tick, then in the order of sending.

    Arrays of shape (pairs,). ``tick``: place in the block; ``request``: row of the table; ``alone``: no
    other request is in flight; ``unsent``: its client has not sent it yet, although it was to be sent.
    """

    tick: Ints
    request: Ints
    alone: Bools
    unsent: Bools


@dataclass(frozen=True)
class Stages:
    """By pair, shape (pairs,). A pair is before its batch, in it (``batch``) or after it (``back``).

    ``behind``: its batch has started, but an earlier one is not finished; ``next``: it is in the batch
    that starts next; ``handed_over``: with the scheduler, as far as known (``unsure`` if not);
    ``sent_all``: its last batch has started; ``end``: the tick at which its last batch ends.
    """

    batch: Bools
    back: Bools
    behind: Bools
    next: Bools
    handed_over: Bools
    unsure: Bools
    sent_all: Bools
    end: Ints


def in_flight(block: BlockTicks, requests: pd.DataFrame, uncertain_s: float) -> InFlight:
    """The pairs of a block. ``requests``: columns start_ns, sent_ns, done_ns, in the order of sending.

    A tick's time is known to ``uncertain_s``: a tick so near to a request, with none in flight, counts
    for that request. ``path_counts`` subtracts as many idle ticks as there must be between requests.
    """
    start, sent, done = (
        requests[name].to_numpy(dtype=np.float64) / 1e9 for name in ("start_ns", "sent_ns", "done_ns")
    )
    low = np.searchsorted(block.tick_s, start, side="left")
    high = np.maximum(np.searchsorted(block.tick_s, done, side="left"), low)
    counts = high - low
    request = np.repeat(np.arange(len(requests)), counts)
    tick = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    free = np.flatnonzero(np.bincount(tick, minlength=block.ticks) == 0)
    near = _nearest(block.tick_s[free], start, done, uncertain_s)
    tick = np.concatenate([tick, free[near >= 0]])
    request = np.concatenate([request, near[near >= 0]])
    order = np.lexsort((request, tick))
    tick, request = tick[order], request[order]
    alone = np.bincount(tick, minlength=block.ticks)[tick] == 1
    unsent = (block.tick_s[tick] < sent[request]) & (start[request] < sent[request])
    return InFlight(tick, request, alone, unsent)


def _nearest(times: Floats, start: Floats, done: Floats, within_s: float) -> Ints:
    """The request that ends last before, or starts first after, each time, if that is near enough; or -1."""
    if not len(start):
        return np.full(len(times), -1, dtype=np.int64)
    by_start, by_done = np.argsort(start, kind="stable"), np.argsort(done, kind="stable")
    after = np.searchsorted(start[by_start], times)
    before = np.searchsorted(done[by_done], times, side="right") - 1
    to_start = np.append(start[by_start], np.inf)[after] - times
    to_done = times - np.append(done[by_done], -np.inf)[before]
    nearest = np.where(to_done <= to_start, by_done[before], np.append(by_start, -1)[after])
    return np.where(np.minimum(to_start, to_done) <= within_s, nearest, -1)


def stages_alone(states: ServerStates, pairs: InFlight, sent_all: Bools) -> Stages:
    """With one request in flight at a time. ``sent_all``: by pair, its last batch has started."""
    prefill = states.prefills[pairs.tick]
    end = np.full(int(pairs.request.max(initial=-1)) + 1, -1, dtype=np.int64)
    np.maximum.at(end, pairs.request[prefill], pairs.tick[prefill])
    end = end[pairs.request]
    no, yes = np.zeros(len(end), dtype=np.bool_), np.ones(len(end), dtype=np.bool_)
    back = pairs.tick > end
    return Stages(~back, back, no, yes, yes, no, sent_all, end)


def stages_by_batch(
    block: BlockTicks,
    states: ServerStates,
    pairs: InFlight,
    requests: pd.DataFrame,
    batches: PrefillBatches,
    edges: Floats,
) -> Stages:
    """With several in flight, by the batches of the server's log. ``edges``: of the slices of time."""
    starts, ends = _batch_ticks(block, states, requests, batches)
    latest = np.maximum.accumulate(ends)
    last_batch = _last_batch(block, states, requests, batches, latest)
    first, last = batches.first[pairs.request], last_batch[pairs.request]
    known = first >= 0
    started = known & (pairs.tick >= starts[first])
    end = np.where(known, ends[last], block.ticks)
    sent_all = known & (pairs.tick >= starts[last])
    back = sent_all & (pairs.tick > end)
    behind = started & ~back & (first > 0) & (pairs.tick <= latest[np.maximum(first - 1, 0)])
    upcoming = np.searchsorted(starts, pairs.tick, side="right")
    handed_over, unsure = _handed_over(block, states, pairs, requests, batches, starts, edges)
    return Stages(
        batch=started & ~back,
        back=back,
        behind=behind,
        next=known & (first == upcoming),
        handed_over=handed_over | started,
        unsure=unsure & ~started,
        sent_all=sent_all,
        end=end,
    )


def _last_batch(
    block: BlockTicks, states: ServerStates, requests: pd.DataFrame, batches: PrefillBatches, latest: Ints
) -> Ints:
    """The last batch of each request. ``latest``: the last tick of each batch and those before it.

    Items of requests that are sent together reach the scheduler mixed, so the last item of one may be in a
    later batch than counting says. The ticks show it: while the scheduler is busy with a prefill, and the
    HTTP thread and the detokenizer wait, for two ticks in a row, no request is on its way back.
    """
    waits = (states.http < 0) & (states.detokenizer < 0) & states.prefills
    waits &= np.append(False, waits[:-1])
    seen = np.append(-1, np.maximum.accumulate(np.where(waits, np.arange(block.ticks), -1)))
    answered = np.searchsorted(block.tick_s, requests["done_ns"].to_numpy(dtype=np.float64) / 1e9)
    by_ticks = np.searchsorted(latest, seen[answered], side="left")
    corrected = np.maximum(batches.last, np.minimum(by_ticks, len(latest) - 1))
    last: Ints = np.where(batches.last >= 0, corrected, -1)
    return last


def batch_starts(block: BlockTicks, states: ServerStates, batches: PrefillBatches) -> Ints:
    """The first tick of each batch. The log's line comes when the scheduler has formed the batch, which
    thus starts with the ticks right before at which the scheduler prepares."""
    starts: Ints = np.searchsorted(block.tick_s, batches.start_s)
    for number in range(len(starts)):
        earliest = starts[number - 1] if number else 0
        while starts[number] > earliest and states.prepares[starts[number] - 1]:
            starts[number] -= 1
    return starts


def _batch_ticks(
    block: BlockTicks, states: ServerStates, requests: pd.DataFrame, batches: PrefillBatches
) -> tuple[Ints, Ints]:
    """The first and the last tick of each batch.

    A batch ends with the results that the scheduler processes next, and before its first answer. With
    overlap scheduling that may be after the next batch has started; results come in the order of batches.
    """
    count = len(batches.start_s)
    starts = batch_starts(block, states, batches)
    answered_tick = np.searchsorted(block.tick_s, _first_answers(requests, batches))
    ends = np.full(count, -1, dtype=np.int64)
    pending = -1  # an earlier batch whose results have not been seen
    for number in range(count):
        until = starts[number + 1] if number + 1 < count else block.ticks
        tick, seen = int(starts[number]), False
        while tick < until:
            if states.results[tick]:
                if 0 <= pending < number and tick < answered_tick[pending]:
                    ends[pending] = tick
                    if not (tick + 1 < until and states.results[tick + 1]):
                        pending = number
                elif tick < answered_tick[number]:
                    ends[number], seen = tick, True
            elif states.prefills[tick] and tick < answered_tick[number] and not seen:
                ends[number] = tick
            tick += 1
        pending = -1 if seen else number
    return starts, np.maximum(ends, starts - 1)


def _first_answers(requests: pd.DataFrame, batches: PrefillBatches) -> Floats:
    """Epoch seconds of the first answer to a request that each batch completes; infinite without one."""
    answered = np.full(len(batches.start_s), np.inf)
    known = batches.last >= 0
    np.minimum.at(answered, batches.last[known], requests["done_ns"].to_numpy(dtype=np.float64)[known] / 1e9)
    return answered


def _on_arrival(
    block: BlockTicks, states: ServerStates, requests: pd.DataFrame, batches: PrefillBatches, starts: Ints
) -> Bools:
    """Whether each batch starts as soon as a request is handed over: the scheduler was idle right before, as
    a tick shows, or the answers to the batch before it."""
    idle = ~states.prefills & (states.batch == block.catalog.index[IPC_AND_WAKEUP])
    before = starts - 1
    seen = (before >= np.append(0, starts[:-1])) & (before >= 0) & idle[np.maximum(before, 0)]
    answered = np.append(-np.inf, _first_answers(requests, batches)[:-1]) + IDLE_S < batches.start_s
    by_batch: Bools = seen | answered
    return by_batch


def _handed_over(
    block: BlockTicks,
    states: ServerStates,
    pairs: InFlight,
    requests: pd.DataFrame,
    batches: PrefillBatches,
    starts: Ints,
    edges: Floats,
) -> tuple[Bools, Bools]:
    """Whether the request of each pair is with the scheduler, and whether that is not known.

    The HTTP thread hands over one request after the other; each takes the mean time per sequence of
    its slice of time (not of the block, so that its error is part of the intervals). This is corrected by
    what is known: while the thread waits it holds no request, at the start of each batch the log says how
    many sequences the scheduler has, and an idle scheduler starts a batch at once.
    """
    free = states.http < 0
    works = ~free & ~np.isin(states.http, [block.catalog.index[name] for name in AFTER_BATCH])
    sent = requests["sent_ns"].to_numpy(dtype=np.float64) / 1e9
    items = np.diff(batches.sequences, prepend=0)
    at = np.clip(np.searchsorted(edges, sent, side="right") - 1, 0, len(edges) - 2)
    here = (sent >= edges[0]) & (sent < edges[-1])
    sequences = np.bincount(at[here], items[here], minlength=len(edges) - 1)
    worked = np.histogram(block.tick_s[works], edges)[0] / block.ticks * (edges[-1] - edges[0])
    each_s = (worked / np.maximum(sequences, 1))[at] * items
    sure = bool((batches.queued >= 0).all())
    known_at = np.searchsorted(batches.queued, batches.sequences) if sure else batches.first
    batch_s = np.append(batches.start_s, [np.inf, -np.inf])
    next_free = np.append(block.tick_s[free], np.inf)[np.searchsorted(block.tick_s[free], sent)]
    arrival = np.append(_on_arrival(block, states, requests, batches, starts), False)
    earliest = np.maximum(sent, batch_s[np.where(arrival[known_at], known_at, known_at - 1)])
    latest = np.minimum(batch_s[known_at], next_free)
    handed_s, before_s = np.empty(len(sent)), -np.inf
    for number in range(len(sent)):
        before_s = max(before_s, sent[number]) + each_s[number]
        handed_s[number] = before_s = min(max(before_s, earliest[number]), latest[number])
    handed_over = free[pairs.tick] | (block.tick_s[pairs.tick] >= handed_s[pairs.request])
    return handed_over, np.full(len(pairs.tick), not sure) & ~free[pairs.tick]
