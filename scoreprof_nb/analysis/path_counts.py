"""What each request in flight waits for at each tick, and the sums of it over slices of time.

The sum of the latencies is the integral of the number in flight, N(t). A tick counts N(tick), one part per
request, so that

    component = mean latency x sum over ticks of its parts / sum over ticks of N

which sums to the mean latency exactly. A part is the request's own (its batch is worked at, or the HTTP
thread works for it), or queued: what it waits behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.path_causes import Bools, Ints, ServerStates
from scoreprof_nb.analysis.path_stages import AFTER_BATCH, Floats, InFlight, Stages
from scoreprof_nb.analysis.ticks import BlockTicks
from scoreprof_nb.components.catalog import BEFORE_BATCH, CLIENT, IPC_AND_WAKEUP
from scoreprof_nb.components.component import Catalog

_BEFORE_BATCH = ("tokenize", "validation")  # what the HTTP thread does for a request on its way in
SLICE_LATENCIES = 10.0
FEWEST_SLICES = 10


@dataclass(frozen=True)
class Parts:
    """The parts of the ticks of a block, shape (pairs,): as in InFlight, and the component of each part."""

    tick: Ints
    request: Ints
    component: Ints
    queued: Bools


def parts_of(states: ServerStates, pairs: InFlight, stages: Stages, catalog: Catalog) -> Parts:
    """What each request waits for, by its stage and what the server works at."""
    index, tick = catalog.index, pairs.tick
    component = np.full(len(tick), index[IPC_AND_WAKEUP], dtype=np.int64)
    queued = np.zeros(len(tick), dtype=np.bool_)
    before = ~stages.batch & ~stages.back
    front = stages.batch & ~stages.behind
    busy = _any_of_tick(front, tick)  # a batch is being worked at
    other = _any_of_tick(stages.behind, tick) & states.prepares[tick]
    causes = np.where(other, states.batch_behind[tick], states.batch[tick])

    idle = ~busy & (states.batch[tick] == index[IPC_AND_WAKEUP])  # the scheduler holds no request
    waits = front | (before & ~idle)
    component[waits] = causes[waits]
    queued[before & (busy | (waits & ~stages.next))] = True
    prepared = stages.behind & states.prepares[tick]
    component[prepared] = states.scheduler[tick][prepared]
    waits = stages.behind & ~prepared
    component[waits], queued[waits] = causes[waits], True

    answering = front & (states.scheduler_hand_over[tick] == stages.end) & (stages.end >= 0)
    detokenized = (stages.back | answering) & (states.detokenizer[tick] >= 0)
    component[detokenized] = states.detokenizer[tick][detokenized]

    # A hand-over can be told from work only while nobody else may be worked for.
    gives_way = pairs.alone & ~stages.back & states.next_works[tick] & (states.http_hand_over[tick] >= 0)
    by_http = (states.http[tick] >= 0) & ~(gives_way & stages.sent_all)
    with_http = by_http & (stages.back | (before & (idle | ~stages.handed_over)))
    target = _first_of_tick(_order(states, pairs, stages, with_http, index), tick, by_http)
    queued[with_http], component[with_http] = True, states.http[tick][with_http]
    unsure = by_http & before & stages.unsure & busy
    component[unsure] = index[BEFORE_BATCH]
    component[target], queued[target] = states.http[tick][target], False
    component[pairs.unsent], queued[pairs.unsent] = index[CLIENT], False
    return Parts(tick, pairs.request, component, queued)


def _any_of_tick(values: Bools, tick: Ints) -> Bools:
    """By pair, whether any pair of the same tick has the value."""
    seen = np.zeros(int(tick.max(initial=-1)) + 1, dtype=np.bool_)
    seen[tick[values]] = True
    by_pair: Bools = seen[tick]
    return by_pair


def _order(
    states: ServerStates, pairs: InFlight, stages: Stages, with_http: Bools, index: Mapping[str, int]
) -> NDArray[np.int64]:
    """The order in which the HTTP thread may be at work for the requests of a tick: smallest first.

    Those on their way in or back, by what it does, the oldest first; then the newest of the others, whose
    last items it may be sending.
    """
    http = states.http[pairs.tick]
    inwards = np.isin(http, [index[name] for name in _BEFORE_BATCH])
    outwards = np.isin(http, [index[name] for name in AFTER_BATCH])
    rank = np.where(stages.back == (outwards | (~inwards & stages.back)), 0, 1)
    count = int(pairs.request.max(initial=0)) + 1
    return np.where(with_http, rank * count + pairs.request, 3 * count - pairs.request).astype(np.int64)


def _first_of_tick(order: NDArray[np.int64], tick: Ints, among: Bools) -> NDArray[np.int64]:
    """Of each tick the pair, among some, that is first in order."""
    places = np.flatnonzero(among)
    places = places[np.lexsort((order[places], tick[places]))]
    first = np.append(True, np.diff(tick[places]) > 0)[: len(places)]
    found: Ints = places[first]
    return found


@dataclass(frozen=True)
class Slices:
    """Sums over slices of time of some requests of a phase.

    ``own``, ``queued``: parts of ticks, shape (slices, components); ``excess``: the parts in ``own`` of
    ipc_and_wakeup that must lie between two requests; ``latency_ms``, ``client_ms``: the requests' time
    in flight and CPU time of their clients; ``requests``: their number, one partly in the slice as a part;
    ``block``: the number of the measured block.
    """

    own: Floats
    queued: Floats
    excess: Floats
    latency_ms: Floats
    client_ms: Floats
    requests: Floats
    block: Ints

    def together(self, other: "Slices") -> "Slices":
        """The slices of both."""
        return Slices(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in _FIELDS))


_FIELDS = ("own", "queued", "excess", "latency_ms", "client_ms", "requests", "block")


def slice_edges(block: BlockTicks, mean_ms: float, active_s: float) -> Floats:
    """Epoch seconds of the bounds of a block's slices.

    ``active_s``: of all blocks, the time in which requests are in flight. Slices of SLICE_LATENCIES mean
    latencies are nearly independent of each other; where that gives fewer than FEWEST_SLICES with requests,
    they are shorter, down to one latency.
    """
    latencies = active_s * 1e3 / mean_ms
    count = max(latencies / SLICE_LATENCIES, min(latencies, FEWEST_SLICES))
    here = max(round(count * block.block.wall_s / active_s), 1)
    return np.linspace(block.block.start_s, block.block.stop_s, here + 1)


def sliced(
    block: BlockTicks, parts: Parts, requests: pd.DataFrame, chosen: Bools, edges: Floats, uncertain_s: float
) -> Slices:
    """The sums of the ``chosen`` requests (by row of the table) of the block over the slices between
    ``edges``."""
    chosen = chosen & (requests["block"] == block.block.number).to_numpy()
    size, count = len(block.catalog.names), len(edges) - 1
    counts = np.zeros((2, count, size))
    used = chosen[parts.request]
    number = np.searchsorted(edges[1:-1], block.tick_s[parts.tick[used]], side="right")
    np.add.at(counts, (parts.queued[used].astype(np.int64), number, parts.component[used]), 1.0)
    rows = requests[chosen]
    start, done = (rows[name].to_numpy(dtype=np.float64) / 1e9 for name in ("start_ns", "done_ns"))
    flown = np.clip((edges[:, None] - start) / np.maximum(done - start, 1e-12), 0, 1)  # by each edge
    flown[0], flown[-1] = 0, 1  # as they belong to the block
    shares = np.diff(flown, axis=0)
    return Slices(
        own=counts[0],
        queued=counts[1],
        excess=_excess(block, requests, chosen, edges, uncertain_s),
        latency_ms=shares @ rows["latency_ms"].to_numpy(dtype=np.float64),
        client_ms=shares @ rows["client_cpu_ms"].to_numpy(dtype=np.float64),
        requests=shares.sum(axis=1),
        block=np.full(count, block.block.number, dtype=np.int64),
    )


def _excess(
    block: BlockTicks, requests: pd.DataFrame, chosen: Bools, edges: Floats, uncertain_s: float
) -> Floats:
    """The expected ticks between two requests that ``in_flight`` counts for the one before or after."""
    start, done = (requests[name].to_numpy(dtype=np.float64) / 1e9 for name in ("start_ns", "done_ns"))
    latest = np.maximum.accumulate(done)[:-1]
    last = np.maximum.accumulate(np.where(done == np.maximum.accumulate(done), np.arange(len(done)), 0))[:-1]
    free = np.clip(start[1:] - latest, 0, None)
    inside = (latest >= edges[0]) & (start[1:] <= edges[-1])
    part = np.minimum(free / 2, uncertain_s) * inside * block.ticks / (edges[-1] - edges[0])
    ticks = part * chosen[last] + part * chosen[1:]
    number = np.searchsorted(edges[1:-1], latest, side="right")
    return np.bincount(number, ticks, minlength=len(edges) - 1)
