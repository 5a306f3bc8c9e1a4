"""The cost per item of a run, from those of its phases that can be compared."""

import pandas as pd

from scoreprof_nb.analysis.cost_per_item import PathAtItems, cost_per_item
from scoreprof_nb.analysis.request_path import NO_COMPILE
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis


def run_cost_per_item(analysis: RunAnalysis) -> pd.DataFrame:
    """Fixed ms and ms per item by component: the columns of cost_per_item.py.

    From the phases with one load and one number of items per request each; of several loads from the one
    with the most phases, then the one with the fewest requests in flight.
    """
    by_load: dict[tuple[str, float, float], list[PathAtItems]] = {}
    for phase in analysis.phases:
        at_items = _path_at_items(phase)
        if at_items is not None:
            load = phase.load
            key = load.loop, load.concurrency or 0, load.offered_per_s or 0
            by_load.setdefault(key, []).append(at_items)
    best = min(by_load, key=lambda key: (-len(by_load[key]), key), default=None)
    return cost_per_item(by_load[best] if best is not None else [])


def _path_at_items(phase: PhaseAnalysis) -> PathAtItems | None:
    """The own ms of a phase, without requests hit by a compile; None without a joint path, or if the
    requests differ in their number of items."""
    items = phase.requests.table["items"].unique()
    if phase.path.method != "joint" or len(items) != 1:
        return None
    path = phase.path.groups.get(NO_COMPILE, phase.path)
    requests, rate_hz = int(path.table["requests"].iloc[0]), phase.ticks.blocks[0].recording.rate_hz
    return PathAtItems(phase.name, int(items[0]), path.as_mapping(), 1e3 / (rate_hz * requests))
