"""An open loop: latency from the planned sending time, and whether the numbers may be trusted.

A request that is sent late has already waited, one that times out is longer than the limit, and an overloaded
server has no latency at all: it depends on how long one looks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.queue_estimates import CYCLES, QUANTILES, estimates, resampling_units
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.run_folder.records import Block, Load

LATE_MS, LATE_SHARE = 1.0, 0.01  # of p50
ACHIEVED_SHARE = 0.98
RELAXATIONS = 20
TRUSTED_UTILISATION = 0.75  # above it, simulated intervals held the truth in 80 to 90 % of runs only
GROWTH_SHARE, LEAST_GROWTH, GROWTH_RATIO = 0.05, 5, 1.5


@dataclass(frozen=True)
class OpenLoopStep:
    """A phase in an open loop, over its blocks without py-spy.

    ``latency_ms``: mean, p50, p90, p95, p99; empty when the numbers must not be used, for the reasons in
    ``refused``. ``late_p99_ms``: how late the generator sent; ``sent_share``: of the planned requests, those
    that it sent in time for the phase; ``relaxations``: the length in relaxation times, and ``utilisation``:
    the offered rate over the capacity, None without a known capacity; ``in_flight``: the mean; ``little``:
    arrival rate x mean latency / in flight, and ``edges``: by how much it may differ from 1, because requests
    are in flight at the edges of blocks;
    ``units``: what the intervals resample.
    """

    requests: int
    timeouts: int
    offered_per_s: float
    achieved_per_s: float | None
    latency_ms: dict[str, Estimate]
    in_flight: float | None
    little: float | None
    edges: float
    late_p99_ms: float
    sent_share: float
    late: bool
    overloaded: bool
    relaxations: float | None
    utilisation: float | None
    units: str
    refused: tuple[str, ...]

    @property
    def too_short(self) -> bool:
        """Whether the queue's memory is longer than the step allows."""
        return self.relaxations is not None and self.relaxations < RELAXATIONS

    @property
    def narrow(self) -> bool:
        """Whether the intervals may be too narrow: the queue's rare long waits are seldom in a short step."""
        return self.utilisation is not None and self.utilisation > TRUSTED_UTILISATION


def open_loop_step(requests: MeasuredRequests, blocks: Sequence[Block], load: Load) -> OpenLoopStep | None:
    """None for a closed loop, and for a phase without a block that ends."""
    plain_blocks = [block for block in blocks if block.plain]
    if load.loop == "closed" or not plain_blocks:
        return None
    table = requests.table.sort_values("intended_ns", ignore_index=True)
    table["timeout"] = table["error"].eq("timeout")
    inside = table[table["plain"] & (table["ok"] | table["timeout"])]
    values = np.where(inside["timeout"], math.inf, inside["latency_ms"]).astype(np.float64)
    late = ((table["sent_ns"] - table["intended_ns"]) / 1e6).to_numpy(dtype=np.float64)
    late_p99_ms = float(np.quantile(late, 0.99)) if len(late) else math.nan
    sent_share = _sent_share(table, blocks)
    overloaded = _overloaded(table, blocks)
    wall_s = sum(_until_s(block) - block.start_s for block in plain_blocks)
    units, cycles = resampling_units(inside)
    p50_ms = float(np.median(values)) if len(values) else math.nan
    is_late = late_p99_ms > max(LATE_MS, LATE_SHARE * p50_ms) or sent_share < ACHIEVED_SHARE
    refused = []
    if is_late:
        refused.append(
            f"the load generator is the bottleneck: p99 of its delay {late_p99_ms:.1f} ms, "
            f"{sent_share:.0%} of the requests sent in time"
        )
    if overloaded:
        refused.append("the server is overloaded: requests in flight grow over the step")
    in_flight = _in_flight(table, plain_blocks)
    little, edges = _little(table, inside, plain_blocks)
    return OpenLoopStep(
        requests=len(inside),
        timeouts=int(inside["timeout"].sum()),
        offered_per_s=load.offered_per_s or math.nan,
        achieved_per_s=_departures_per_s(table, blocks),
        latency_ms={} if refused else estimates(values, units),
        in_flight=in_flight,
        little=little,
        edges=edges,
        late_p99_ms=late_p99_ms,
        sent_share=sent_share,
        late=is_late,
        overloaded=overloaded,
        relaxations=_relaxations(load, wall_s),
        utilisation=_utilisation(load),
        units=f"{cycles} regenerative cycles" if cycles >= CYCLES else f"{len(set(units))} batches",
        refused=tuple(refused),
    )


def with_queueing(rows: Sequence[Mapping[str, object]], step: OpenLoopStep) -> list[dict[str, object]]:
    """The rows of a latency table with the step's own numbers: requests in a queue are not independent, and
    those that time out count. A percentile beyond the timeout, like one that is refused, is NaN."""
    own = dict[str, object]()
    for name in ("mean", *QUANTILES):
        estimate = step.latency_ms.get(name, Estimate(math.nan))
        for part, value in (("ms", estimate.value), ("low", estimate.low), ("high", estimate.high)):
            own[f"{name}_{part}"] = value if math.isfinite(value) else math.nan
    return [
        {**row, **own, "requests": step.requests} if row["which"] == "all" else dict(row)
        for row in rows
        if row["which"] in ("all", "with py-spy")
    ]


def goodput_per_s(requests: MeasuredRequests, blocks: Sequence[Block], slo_ms: float) -> float | None:
    """Requests per second that are answered within the limit, over the blocks without py-spy."""
    wall_s = sum(_until_s(block) - block.start_s for block in blocks if block.plain)
    return float((requests.plain()["latency_ms"] <= slo_ms).sum()) / wall_s if wall_s > 0 else None


def knee(rates: Sequence[float], mean_ms: Sequence[float]) -> float | None:
    """The rate with the largest throughput / latency: beyond it, latency grows faster than throughput.

    Source: Kleinrock, Power and deterministic rules of thumb for probabilistic problems in computer
    communications, ICC 1979. None without two rates.
    """
    known = [(rate / ms, rate) for rate, ms in zip(rates, mean_ms, strict=True) if math.isfinite(ms)]
    return max(known)[1] if len(known) > 1 else None


def highest_rate(rates: Sequence[float], p99_ms: Sequence[float], slo_ms: float) -> float | None:
    """The highest rate that meets the limit at p99, as do all lower ones; None if the lowest does not.

    A rate whose p99 is not known (NaN), as with too few requests, says nothing for or against.
    """
    best = None
    for rate, ms in sorted(zip(rates, p99_ms, strict=True)):
        if ms > slo_ms:
            break
        best = rate if ms <= slo_ms else best
    return best


def _until_s(block: Block) -> float:
    return block.stop_s if block.until_s is None else block.until_s


def _sent_share(table: pd.DataFrame, blocks: Sequence[Block]) -> float:
    start, stop = blocks[0].start_s * 1e9, _until_s(blocks[-1]) * 1e9
    planned = int(table["intended_ns"].between(start, stop).sum())
    return int(table["sent_ns"].between(start, stop).sum()) / planned if planned else math.nan


def _departures_per_s(table: pd.DataFrame, blocks: Sequence[Block]) -> float | None:
    start, stop = blocks[0].start_s, _until_s(blocks[-1])
    done = table["ok"] & table["done_ns"].between(start * 1e9, stop * 1e9)
    return int(done.sum()) / (stop - start) if stop > start else None


def _overloaded(table: pd.DataFrame, blocks: Sequence[Block]) -> bool:
    """Whether the answers fall behind, and more requests are in flight at the end than at the beginning."""
    start, stop = blocks[0].start_s * 1e9, _until_s(blocks[-1]) * 1e9
    arrivals, departures = (
        int(table[name].between(start, stop).sum()) for name in ("intended_ns", "done_ns")
    )
    growth = arrivals - departures
    thirds = np.linspace(start, stop, 4)
    first, last = (_mean_in_flight(table, thirds[i], thirds[i + 1]) for i in (0, 2))
    return growth >= max(LEAST_GROWTH, GROWTH_SHARE * arrivals) and last > GROWTH_RATIO * first


def _mean_in_flight(table: pd.DataFrame, start_ns: float, stop_ns: float) -> float:
    """The time average of the number of requests between their planned sending and their answer."""
    overlap = table["done_ns"].clip(upper=stop_ns) - table["intended_ns"].clip(lower=start_ns)
    return float(overlap.clip(lower=0).sum()) / (stop_ns - start_ns) if stop_ns > start_ns else math.nan


def _in_flight(table: pd.DataFrame, blocks: Sequence[Block]) -> float | None:
    spans = [(block.start_s * 1e9, _until_s(block) * 1e9) for block in blocks]
    total = sum(stop - start for start, stop in spans)
    if total <= 0:
        return None
    return sum(_mean_in_flight(table, *span) * (span[1] - span[0]) for span in spans) / total


def _little(table: pd.DataFrame, inside: pd.DataFrame, blocks: Sequence[Block]) -> tuple[float | None, float]:
    """Little's law, L = lambda W, as a ratio, and the share of the time that is beyond the blocks' edges.

    ``inside``: the requests planned within the blocks, whose time counts in full; ``table``: all requests,
    whose time within the blocks counts.
    """
    within = beyond = 0.0
    for block in blocks:
        start, stop = block.start_s * 1e9, _until_s(block) * 1e9
        within += _mean_in_flight(table, start, stop) * (stop - start)
        at_edge = [
            (table["done_ns"].clip(upper=stop) - start)[(table["intended_ns"] < start)],
            (table["done_ns"] - stop)[table["intended_ns"].between(start, stop)],
        ]
        beyond += sum(float(part.clip(lower=0).sum()) for part in at_edge)
    if within <= 0:
        return None, 0.0
    elapsed = float((inside["done_ns"] - inside["intended_ns"]).sum())
    return elapsed / within, beyond / within


def _utilisation(load: Load) -> float | None:
    return load.offered_per_s / load.capacity_per_s if load.capacity_per_s and load.offered_per_s else None


def _relaxations(load: Load, wall_s: float) -> float | None:
    """The length of the step in relaxation times of the queue, S / (1 - sqrt(rho))^2."""
    rho = _utilisation(load)
    if rho is None or load.capacity_per_s is None:
        return None
    if rho >= 1:
        return 0.0
    return wall_s * load.capacity_per_s * (1 - math.sqrt(rho)) ** 2
