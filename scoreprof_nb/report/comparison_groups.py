"""The first table of a comparison: the change of the request path by group, as the profile's first table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.group_changes import HOST, TOTAL
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.components.headline import GROUPS, headline_group
from scoreprof_nb.report.blocks import Table
from scoreprof_nb.report.format import change, number, percent_change
from scoreprof_nb.report.what_if_marks import see

_TITLE = "Change in ms per request (95 % interval), then control → test"
WITHOUT = "mean latency, without py-spy and compiles"


def group_change_table(comparison: Comparison) -> Table | None:
    """One row per group and one column per phase with a request path; then the host's sum, and the mean
    latency with and without py-spy. None if no phase has a path on both sides."""
    groups = comparison.groups
    if groups.empty:
        return None
    phases = list(dict.fromkeys(groups["phase"]))
    members: dict[str, list[str]] = {}
    for component in comparison.catalog.components:
        members.setdefault(headline_group(component).name, []).append(component.name)
    cells = {
        (row["phase"], row["group"]): _cell(row)
        + see(comparison.of_phase(row["phase"]), *members.get(row["group"], ()))
        for row in groups.to_dict("records")
    }
    present = set(groups["group"])
    names = [name for name in (*GROUPS, HOST, TOTAL) if name in present]
    pairs = groups.groupby("phase")["pairs"].first()
    heads = {phase: f"{phase}\nn = {pairs[phase]} pairs" for phase in phases}
    rows = [
        {"group": name, **{heads[phase]: cells.get((phase, name), "none") for phase in phases}}
        for name in names
    ]
    rows.append({"group": WITHOUT, **{heads[phase]: _headline(comparison, phase) for phase in phases}})
    totals = 1 + sum(name in present for name in (HOST, TOTAL))
    return Table(pd.DataFrame(rows), _TITLE, totals=totals, folded=False)


def _cell(row: Mapping[Any, Any]) -> str:
    sizes = f"{number(row['control_ms'])} → {number(row['test_ms'])}"
    return f"{change(row['change_ms'], row['low'], row['high'])} {sizes}"


def _headline(comparison: Comparison, phase: str) -> str:
    """The change of the phase's mean; of a phase with several kinds of requests, the verdict has one each."""
    metrics = comparison.metrics
    rows = metrics[(metrics["phase"] == phase) & (metrics["role"] == HEADLINE)].to_dict("records")
    if len(rows) != 1:
        return "see each kind"
    row = rows[0]
    size = change(row["test"] - row["control"], None, None)
    return f"{size} {number(row['control'])} → {number(row['test'])}, {percent_change(row['ratio'])}"
