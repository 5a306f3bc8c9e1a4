"""The cost per item of a run, from those of its phases that can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from scoreprof_nb.analysis.cost_per_item import PathAtItems, cost_per_item
from scoreprof_nb.analysis.request_path import NO_COMPILE
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis

WHOLE = "request"
Load = tuple[str, float, float]  # the loop, the number in flight, the rate


def run_cost_per_item(analysis: RunAnalysis) -> pd.DataFrame:
    """Fixed ms and ms per item by component: the columns of cost_per_item.py.

    From the phases with one load and one number of items per request each; of several loads from the one
    with the most phases, then the one with the fewest requests in flight.
    """
    by_load: dict[Load, list[PathAtItems]] = {}
    for phase in analysis.phases:
        at_items = _path_at_items(phase)
        if at_items is not None:
            by_load.setdefault(_load(phase), []).append(at_items)
    return cost_per_item(_longest(by_load))


def request_cost_per_item(analysis: RunAnalysis) -> pd.DataFrame:
    """The same of the whole request: one row (WHOLE), of the line through the mean latencies of the phases;
    empty if it is not known."""
    by_load: dict[Load, list[PathAtItems]] = {}
    for phase in analysis.phases:
        at_items = _path_at_items(phase)
        path = phase.path.groups.get(NO_COMPILE, phase.path)
        if at_items is not None and path.sums is not None:
            total = path.sums.sums(dict.fromkeys(path.sums.names, WHOLE)).iloc[0]
            whole = {WHOLE: (float(total["mean_ms"]), float(total["low"]), float(total["high"]))}
            by_load.setdefault(_load(phase), []).append(replace(at_items, path=whole))
    return cost_per_item(_longest(by_load))


def _load(phase: PhaseAnalysis) -> Load:
    load = phase.load
    return load.loop, load.concurrency or 0, load.offered_per_s or 0


def _longest(by_load: Mapping[Load, Sequence[PathAtItems]]) -> Sequence[PathAtItems]:
    best = min(by_load, key=lambda key: (-len(by_load[key]), key), default=None)
    return by_load[best] if best is not None else []


def _path_at_items(phase: PhaseAnalysis) -> PathAtItems | None:
    """The own ms of a phase, without requests hit by a compile; None without a joint path, or if the
    requests differ in their number of items."""
    items = phase.requests.table["items"].unique()
    if phase.path.method != "joint" or len(items) != 1:
        return None
    path = phase.path.groups.get(NO_COMPILE, phase.path)
    requests, rate_hz = int(path.table["requests"].iloc[0]), phase.ticks.blocks[0].recording.rate_hz
    return PathAtItems(phase.name, int(items[0]), path.as_mapping(), 1e3 / (rate_hz * requests))
