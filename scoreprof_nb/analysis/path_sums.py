"""The sums that the request path is computed from, over all threads and requests of a phase."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.clock import SLOT_S
from scoreprof_nb.analysis.path_causes import Bools, ServerStates, server_states
from scoreprof_nb.analysis.path_counts import Parts, Slices, parts_of, slice_edges, sliced
from scoreprof_nb.analysis.path_stages import (
    Floats,
    InFlight,
    batch_starts,
    in_flight,
    stages_alone,
    stages_by_batch,
)
from scoreprof_nb.analysis.prefill_batches import PrefillBatches
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks

UNCERTAIN_S = SLOT_S / 2  # of a tick's time, by the launcher's clock


def all_requests(ticks: PhaseTicks, requests: MeasuredRequests) -> pd.DataFrame:
    """All requests of the phase in the order of sending, the warm-up's and repeated ones too: they are in
    flight, and in batches. Column ``start_ns``: from when on its latency counts."""
    table = requests.table
    early_ns = (table["latency_ms"] * 1e6 - (table["done_ns"] - table["sent_ns"])).round().astype("int64")
    measured = table.assign(start_ns=table["sent_ns"] - early_ns.clip(lower=0))
    others = ticks.phase.requests
    others = others[~others["request"].isin(table["request"])]
    others = others.assign(start_ns=others["sent_ns"], client_cpu_ms=others["client_cpu_ns"] / 1e6)
    both = pd.concat([measured, others]) if len(others) else measured
    return both.sort_values("sent_ns", kind="stable", ignore_index=True)


def most_in_flight(requests: pd.DataFrame, ticks: PhaseTicks) -> int:
    """The largest number in flight at a time within the blocks with stacks."""
    start, done = (requests[name].to_numpy(dtype=np.float64) / 1e9 for name in ("start_ns", "done_ns"))
    most = 0
    for block in ticks.blocks:
        inside = start[(start >= block.block.start_s) & (start < block.block.stop_s)]
        begun = np.searchsorted(np.sort(start), inside, side="right")
        most = max(most, int((begun - np.searchsorted(np.sort(done), inside, side="right")).max(initial=0)))
    return most


def joint_sums(
    ticks: PhaseTicks,
    requests: pd.DataFrame,
    batches: PrefillBatches | None,
    alone: bool,
    chosen: Mapping[str, pd.DataFrame],
) -> Mapping[str, Slices]:
    """The sums over slices of time of each choice of requests; the choice ``""`` has all of them.

    ``alone``: never more than one request is in flight; else ``batches`` are needed.
    """
    rows = {name: requests["request"].isin(part["request"]).to_numpy() for name, part in chosen.items()}
    sums: dict[str, Slices] = {}
    for block, parts, edges in _parts_by_block(ticks, requests, batches, alone, chosen[""]["latency_ms"]):
        for name, wanted in rows.items():
            here = sliced(block, parts, requests, wanted, edges, UNCERTAIN_S)
            sums[name] = sums[name].together(here) if name in sums else here
    return sums


def ticks_by_request(
    ticks: PhaseTicks, requests: pd.DataFrame, batches: PrefillBatches | None, alone: bool
) -> pd.DataFrame:
    """What each request waits for, in ticks: columns request, component (number in the catalog), queued,
    ticks. The arguments are those of ``joint_sums``."""
    tables = [
        pd.DataFrame(
            {
                "request": requests["request"].to_numpy()[parts.request],
                "block": block.block.number,
                "component": parts.component,
                "queued": parts.queued,
            }
        )
        for block, parts, _ in _parts_by_block(
            ticks, requests, batches, alone, requests["latency_ms"].dropna()
        )
    ]
    table = pd.concat(tables, ignore_index=True)
    own_block = requests.set_index("request")["block"]
    table = table[table["block"].to_numpy() == own_block.loc[table["request"]].to_numpy()]
    counts: pd.DataFrame = (
        table.groupby(["request", "component", "queued"]).size().rename("ticks").reset_index()
    )
    return counts


def _parts_by_block(
    ticks: PhaseTicks,
    requests: pd.DataFrame,
    batches: PrefillBatches | None,
    alone: bool,
    latency_ms: "pd.Series[float]",
) -> Iterator[tuple[BlockTicks, Parts, Floats]]:
    """The parts of the ticks of each block, and the bounds of its slices. ``latency_ms``: of the requests
    that are summed up."""
    mean_ms = float(latency_ms.mean())
    active_s = min(sum(block.block.wall_s for block in ticks.blocks), float(latency_ms.sum()) / 1e3)
    for block in ticks.blocks:
        states = server_states(block)
        pairs = in_flight(block, requests, UNCERTAIN_S)
        edges = slice_edges(block, mean_ms, active_s)
        if alone or batches is None:
            stages = stages_alone(states, pairs, _sent_all(block, states, pairs, batches))
        else:
            stages = stages_by_batch(block, states, pairs, requests, batches, edges)
        yield block, parts_of(states, pairs, stages, block.catalog), edges


def _sent_all(
    block: BlockTicks, states: ServerStates, pairs: InFlight, batches: PrefillBatches | None
) -> Bools:
    """By pair, whether the last of the request's batches has started; True where that is not known."""
    if batches is None:
        return np.ones(len(pairs.tick), dtype=np.bool_)
    starts = np.append(batch_starts(block, states, batches), 0)
    started: Bools = pairs.tick >= starts[batches.last[pairs.request]]
    return started
