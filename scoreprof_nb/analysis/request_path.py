"""The request path: the split of a request's wall time over what the request waited for.

Ticks come at random times (py-spy's timer is a Poisson process), so the share of a request's ticks is an
unbiased estimate of the share of its time. ``path_causes`` has the rules of what a tick belongs to,
``path_stages`` where each request in flight is, and ``path_counts`` the formula.

With one request in flight everything is its own: nothing is queued. With more, a component has an own and
a queued part. Latency is counted from the time at which a request was to be sent (``latency_ms`` of the
requests): in an open loop a late client is part of it, as ``client``.

``client`` is the load generator's own CPU time within the request, as far as it is not explained by the
server. A tick's time is known to half a slot of the launcher's clock: between two requests that follow
each other closely, idle ticks are counted for one of them, and subtracted in the number that the pauses
must have.

Where the threads cannot be put on common ticks (times of ticks that are not certain, missing samples),
the marginal method is used with one request in flight; the result states when it was used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.capacity import Capacity, max_speedup
from scoreprof_nb.analysis.clock import SLOT_S
from scoreprof_nb.analysis.component_sums import PathSums
from scoreprof_nb.analysis.intervals import unseen_share
from scoreprof_nb.analysis.path_counts import Slices
from scoreprof_nb.analysis.path_estimate import estimate
from scoreprof_nb.analysis.path_marginal import marginal_counts
from scoreprof_nb.analysis.path_sums import all_requests, joint_sums, most_in_flight
from scoreprof_nb.analysis.prefill_batches import PrefillBatches, prefill_batches
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.ticks import PhaseTicks
from scoreprof_nb.engines.sglang_jax_analysis import DETOKENIZER, FORWARD, HTTP, SCHEDULER
from scoreprof_nb.run_folder.records import Load

COLUMNS = ("phase", "component", "mean_ms", "low", "high", "share", "max_speedup", "requests", "latency_ms")
FEWEST_REQUESTS = 5  # of a group, for a path of its own
NO_COMPILE, SLOWEST_TENTH = "no compile", "slowest tenth"


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=list(COLUMNS))


@dataclass(frozen=True)
class RequestPath:
    """``table``: the own milliseconds, columns COLUMNS, empty where the path is not defined; ``queued``:
    the same of what requests wait behind. Together they sum to the mean latency.

    ``method``: joint or marginal, None without a path; ``reason``: why there is no path, or why it is
    marginal. ``groups``: the paths of some of the requests (NO_COMPILE, SLOWEST_TENTH), those with at
    least FEWEST_REQUESTS; not of the marginal method, which does not know what a single request waits for.
    ``unseen_high_ms``: the upper end of the interval, from 0, of each component that no sample shows and
    that has no row; ``sums``: for sums of components, None without a path.
    """

    table: pd.DataFrame
    method: str | None
    reason: str | None = None
    queued: pd.DataFrame = field(default_factory=_nothing)
    groups: Mapping[str, "RequestPath"] = field(default_factory=dict)
    unseen_high_ms: float | None = None
    sums: PathSums | None = None

    def as_mapping(self) -> Mapping[str, tuple[float, float, float]]:
        """Component to (mean, low, high) of its own ms."""
        return _mapping(self.table)

    def queued_mapping(self) -> Mapping[str, tuple[float, float, float]]:
        """Component to (mean, low, high) of the ms spent waiting behind it."""
        return _mapping(self.queued)

    def component_ms(self) -> Mapping[str, float]:
        """Component to its own ms and the ms spent waiting behind it, together."""
        total: dict[str, float] = {}
        for table in (self.table, self.queued):
            for name, ms in zip(table["component"], table["mean_ms"], strict=True):
                total[str(name)] = total.get(str(name), 0.0) + float(ms)
        return total


def _mapping(table: pd.DataFrame) -> Mapping[str, tuple[float, float, float]]:
    columns = (table[name] for name in ("component", "mean_ms", "low", "high"))
    return {
        name: (float(mean), float(low), float(high)) for name, mean, low, high in zip(*columns, strict=True)
    }


def request_path(
    ticks: PhaseTicks,
    requests: MeasuredRequests,
    load: Load,
    log: pd.DataFrame,
    capacity: Capacity,
) -> RequestPath:
    """The request path of one phase over its profiled requests. ``log``: the server's."""
    profiled = requests.profiled()
    profiled = profiled[profiled["block"].isin([block.block.number for block in ticks.blocks])]
    missing = _missing(ticks, profiled)
    if missing is not None:
        return RequestPath(_nothing(), None, missing)
    everything = all_requests(ticks, requests)
    alone = most_in_flight(everything, ticks) <= 1
    batches = prefill_batches(ticks.phase, log, everything)
    reason = _why_not_joint(ticks)
    result = _Estimate(ticks, capacity, load.concurrency)
    if reason is not None and alone:
        return result.of(_marginal(ticks, profiled), profiled, "marginal", reason)
    reason = reason or (None if alone else _why_not_by_batch(ticks, batches))
    if reason is not None:
        return RequestPath(_nothing(), None, f"with more than one request in flight: {reason}")
    chosen = {"": profiled, **_groups(profiled)}
    sums = joint_sums(
        ticks, everything, batches if isinstance(batches, PrefillBatches) else None, alone, chosen
    )
    if not sums[""].own.any() and not sums[""].queued.any():
        return RequestPath(_nothing(), None, "no tick falls within a profiled request")
    paths = {
        name: result.of(sums[name], part, "joint")
        for name, part in chosen.items()
        if sums[name].own.any() or sums[name].queued.any()
    }
    whole = paths.pop("")
    return replace(whole, groups=paths)


def _missing(ticks: PhaseTicks, profiled: pd.DataFrame) -> str | None:
    """Why there is no path at all: no stacks, no requests, or no samples of a thread that every request
    passes; None if there are."""
    if not ticks.blocks:
        return "no stacks were recorded"
    if profiled.empty:
        return "no profiled request"
    for thread in (HTTP, SCHEDULER):
        if any(block.thread(*thread) is None for block in ticks.blocks):
            return f"no samples of {' / '.join(thread)}"
    return None


def _why_not_joint(ticks: PhaseTicks) -> str | None:
    """Why the joint state of the threads is not known at every tick; None if it is."""
    unaligned = [block for block in ticks.blocks if not block.aligned]
    if unaligned:
        why = next((f": {block.untimed}" for block in unaligned if block.untimed), "")
        return f"the processes' samples could not be put on common ticks{why}"
    for block in ticks.blocks:
        for role in (HTTP, SCHEDULER, FORWARD, DETOKENIZER):
            thread = block.thread(*role)
            if thread is not None and len(thread.components) != block.ticks:
                return (
                    f"{' / '.join(role)} was sampled at only {len(thread.components)} of {block.ticks} ticks"
                )
    return None


def _why_not_by_batch(ticks: PhaseTicks, batches: PrefillBatches | str) -> str | None:
    """Why it is not known where each request is, with several in flight; None if it is."""
    for block in ticks.blocks:
        for process, name in (HTTP, SCHEDULER):
            pids = {t.pid for t in block.threads if (t.role.process, t.role.thread) == (process, name)}
            if len(pids) > 1:
                return f"{len(pids)} {process} processes: it is not known which one serves which request"
    if isinstance(batches, str):
        return batches
    apart_s = np.median(np.diff(batches.start_s)) if len(batches.start_s) > 1 else np.inf
    if apart_s < SLOT_S:
        return (
            f"batches start {apart_s * 1e3:.1f} ms after each other, less than the {SLOT_S * 1e3:.0f} ms to "
            "which the time of a tick is known"
        )
    return None


def _groups(profiled: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Requests that have a path of their own, by the name of the group."""
    groups = {SLOWEST_TENTH: profiled.nlargest(len(profiled) // 10, "latency_ms")}
    if profiled["compile_hit"].notna().all() and profiled["compile_hit"].any():
        groups[NO_COMPILE] = profiled[~profiled["compile_hit"].astype(bool)]
    return {name: part for name, part in groups.items() if len(part) >= FEWEST_REQUESTS}


def _marginal(ticks: PhaseTicks, profiled: pd.DataFrame) -> Slices:
    """Slices have no latency of their own: the interval is that of the split of the mean latency."""
    own, block = marginal_counts(ticks)
    latency_ms, client_ms = (
        np.full(len(own), profiled[name].mean()) for name in ("latency_ms", "client_cpu_ms")
    )
    nothing = np.zeros(len(own))
    return Slices(own, np.zeros_like(own), nothing, latency_ms, client_ms, nothing + 1, block)


@dataclass(frozen=True)
class _Estimate:
    """What all paths of a phase have in common."""

    ticks: PhaseTicks
    capacity: Capacity
    in_flight: int | None

    def of(
        self, slices: Slices, requests: pd.DataFrame, method: str, reason: str | None = None
    ) -> RequestPath:
        """The path of some requests, from their sums."""
        most_ms = float(requests["latency_ms"].max())
        own, queued, sums = estimate(slices, most_ms, self.ticks.catalog)
        unseen_ms = unseen_share(sums.ticks) * float(requests["latency_ms"].mean())
        tables = [
            part.assign(
                phase=self.ticks.phase.name,
                max_speedup=[
                    max_speedup(name, own, queued, self.capacity, self.in_flight)
                    for name in part["component"]
                ],
                requests=len(requests),
            )[list(COLUMNS)]
            for part in (own, queued)
        ]
        return RequestPath(tables[0], method, reason, tables[1], unseen_high_ms=unseen_ms, sums=sums)
