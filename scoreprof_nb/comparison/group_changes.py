"""The change of each headline group of the request path, over the pairs of a comparison."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, concat_tables
from scoreprof_nb.comparison.attribution import change_interval, comparable_paths
from scoreprof_nb.comparison.metrics import PhasePairs
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.components.headline import GROUPS, headline_group

GROUP_COLUMNS = ("phase", "group", "kind", "control_ms", "test_ms", "change_ms", "low", "high", "pairs")
HOST, TOTAL = "host, all groups", "mean latency, with py-spy"
_NOTHING = (0.0, np.nan, np.nan)
Sums = Mapping[str, tuple[float, float, float]]  # by group: mean, low, high


def group_changes(phases: Mapping[str, PhasePairs], catalog: Catalog) -> pd.DataFrame:
    """ms per request by phase and headline group: GROUP_COLUMNS, groups in the order of GROUPS, then the
    sum of the host's groups and that of all.

    The interval is of the sum, never a sum of intervals: Student's over the differences of the pairs; with
    one pair it follows from the intervals of the two runs. A phase without a path on both sides has no
    rows.
    """
    return concat_tables([_of_phase(name, *sides, catalog) for name, sides in phases.items()], GROUP_COLUMNS)


def _of_phase(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis], catalog: Catalog
) -> pd.DataFrame:
    _, pairs = comparable_paths(control, test)
    sums = [[_sums(path, catalog) for path in pair] for pair in pairs]
    present = {name for pair in sums for side in pair for name in side}
    rows = []
    for name in (*GROUPS, HOST, TOTAL):
        if name not in present:
            continue
        left, right = (np.array([pair[side].get(name, _NOTHING) for pair in sums]) for side in (0, 1))
        low, high, _ = change_interval(left, right)
        means = float(left[:, 0].mean()), float(right[:, 0].mean())
        kind = GROUPS[name].kind if name in GROUPS else ""
        rows.append((phase, name, kind, *means, means[1] - means[0], low, high, len(pairs)))
    return pd.DataFrame(rows, columns=list(GROUP_COLUMNS))


def _sums(path: RequestPath, catalog: Catalog) -> Sums:
    """Own and queued time by group. The bounds are NaN where a path has no sums of its own."""
    components = path.component_ms()
    of_groups = {name: headline_group(catalog[name]) for name in components}
    totals: dict[str, float] = {}
    for name, ms in components.items():
        group = of_groups[name]
        for key in (group.name, TOTAL, *([HOST] if group.kind == "host" else [])):
            totals[key] = totals.get(key, 0.0) + ms
    bounds: dict[str, tuple[float, float]] = {}
    if path.sums is not None:
        for group_of in (
            {name: group.name for name, group in of_groups.items()},
            {name: HOST for name, group in of_groups.items() if group.kind == "host"},
            dict.fromkeys(of_groups, TOTAL),
        ):
            for row in path.sums.sums(group_of).to_dict("records"):
                bounds[str(row["group"])] = float(row["low"]), float(row["high"])
    return {name: (ms, *bounds.get(name, _NOTHING[1:])) for name, ms in totals.items()}
