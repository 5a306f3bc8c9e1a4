"""Which thread limits throughput, and what removing a component could give.

A thread that works D ms per request answers at most 1000 / D requests/s, so the largest D of all bounds
the throughput. With N requests in flight in a closed loop the mean latency is at least N x D, and at
least what a request takes without a queue (asymptotic bounds: Denning and Buzen, The Operational Analysis
of Queueing Network Models, ACM Computing Surveys 10, 1978, 5.2).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.ticks import PhaseTicks
from scoreprof_nb.engines.sglang_jax_analysis import DETOKENIZER, FORWARD, HTTP, SCHEDULER

COLUMNS = ("phase", "process", "thread", "busy_share", "busy_ms", "most_per_s", "limits")


@dataclass(frozen=True)
class Capacity:
    """How busy the threads of the request path are.

    ``table``: columns COLUMNS, one row per thread: share of the time at work, ms at work per request, the
    requests per second that this allows, and whether it is the thread that limits throughput; empty
    without stacks or requests. ``components``: the same ms by component, columns process, thread,
    component, busy_ms. Threads of one process share Python's lock: together they allow less.
    """

    table: pd.DataFrame
    components: pd.DataFrame

    def busiest_ms(self, without: str = "") -> float:
        """The most ms per request that a thread works at, a component left out; 0 if not known."""
        left = self.components[self.components["component"] != without]
        return float(left.groupby(["process", "thread"])["busy_ms"].sum().max()) if len(left) else 0.0


def capacity(ticks: PhaseTicks, served: float) -> Capacity:
    """``served``: the number of requests in the blocks with stacks."""
    names, rows = ticks.catalog.names, []
    wall_ms = sum(block.block.wall_s for block in ticks.blocks) * 1e3
    for process, thread in (HTTP, SCHEDULER, FORWARD, DETOKENIZER):
        busy_ms = np.zeros(len(names))
        for block in ticks.blocks:
            seen = block.thread(process, thread)
            if seen is not None and len(seen.components):
                counts = np.bincount(seen.components, minlength=len(names)) * ticks.catalog.work
                busy_ms += counts / len(seen.components) * block.block.wall_s * 1e3
        rows += [
            (process, thread, names[i], busy_ms[i] / served) for i in np.flatnonzero(busy_ms) if served > 0
        ]
    components = pd.DataFrame(rows, columns=["process", "thread", "component", "busy_ms"])
    table = components.groupby(["process", "thread"], sort=False)["busy_ms"].sum().reset_index()
    table["busy_share"] = table["busy_ms"] * served / wall_ms if wall_ms else np.nan
    table["most_per_s"] = 1e3 / table["busy_ms"]
    table["limits"] = table["busy_ms"] == table["busy_ms"].max()
    table["phase"] = ticks.phase.name
    return Capacity(table[list(COLUMNS)], components)


def max_speedup(
    component: str, own: pd.DataFrame, queued: pd.DataFrame, capacity: Capacity, in_flight: int | None
) -> float:
    """The most by which the mean latency could fall if a component took no time: latency / what is left.

    What is left is at least the rest of the path; with N in flight (``in_flight``; None for an open loop,
    whose rate stays the same) also at least N x the busy time of the busiest thread then: the queue moves
    to the next bottleneck. Infinite if nothing is left.
    """
    latency_ms = float(own["mean_ms"].sum() + queued["mean_ms"].sum())
    gone = sum(float(part.loc[part["component"] == component, "mean_ms"].sum()) for part in (own, queued))
    left_ms = latency_ms - gone
    if in_flight is not None and in_flight > 1:
        left_ms = max(left_ms, in_flight * capacity.busiest_ms(component))
    if left_ms <= 0.001 * latency_ms:
        return np.inf
    return max(latency_ms / left_ms, 1.0)
