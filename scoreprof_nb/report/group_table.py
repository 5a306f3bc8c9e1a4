"""The report's first table: the request path by group, in ms and per cent, with intervals of the sums."""

from collections.abc import Callable, Sequence

import pandas as pd

from scoreprof_nb.analysis.component_sums import SUM_COLUMNS
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.components.headline import GROUPS, headline_group
from scoreprof_nb.report.blocks import Table
from scoreprof_nb.report.format import NOT_KNOWN, interval, number, percent
from scoreprof_nb.report.what_if_marks import see

_GROUP = "group"
_TITLE = "Mean milliseconds per request, with 95 % interval and share of the latency"


def group_sums(phase: PhaseAnalysis) -> pd.DataFrame:
    """The request path of a phase by headline group: columns of ``PathSums.sums``, in the order of GROUPS.
    Empty without a path."""
    return _sums(phase, lambda name: headline_group(phase.ticks.catalog[name]).name, tuple(GROUPS))


def kind_sums(phase: PhaseAnalysis) -> pd.DataFrame:
    """The same by kind: host, compile, device, client."""
    kinds = dict.fromkeys(group.kind for group in GROUPS.values())
    return _sums(phase, lambda name: headline_group(phase.ticks.catalog[name]).kind, tuple(kinds))


def _sums(phase: PhaseAnalysis, group_of: Callable[[str], str], order: Sequence[str]) -> pd.DataFrame:
    path = phase.path.sums
    if path is None:
        return pd.DataFrame(columns=list(SUM_COLUMNS))
    names = sorted(path.names, key=lambda name: order.index(group_of(name)))
    return path.sums({name: group_of(name) for name in names})


def group_table(analysis: RunAnalysis) -> Table | None:
    """One row per group, one column per phase with a request path; then the sum of the host's groups, and the
    mean latency with and without py-spy. None if no phase has a path."""
    phases = [phase for phase in analysis.phases if phase.path.sums is not None]
    if not phases:
        return None
    by_phase = {phase.name: group_sums(phase).set_index("group") for phase in phases}
    totals = {phase.name: kind_sums(phase).set_index("group") for phase in phases}
    groups = [name for name in GROUPS if any(name in table.index for table in by_phase.values())]
    rows = [
        {
            _GROUP: name,
            **{phase_column(p): _cell(by_phase[p.name], name) + see([p], *_members(p, name)) for p in phases},
        }
        for name in groups
    ]
    sums = [{_GROUP: "host, all groups", **{phase_column(p): _cell(totals[p.name], "host") for p in phases}}]
    sums.append({_GROUP: "mean latency, with py-spy", **_latencies(phases, "with py-spy")})
    sums.append({_GROUP: "mean latency, without py-spy", **_latencies(phases, "all")})
    return Table(pd.DataFrame([*rows, *sums]), _TITLE, totals=len(sums), folded=False)


def _members(phase: PhaseAnalysis, group: str) -> list[str]:
    """The components of the phase's path that a group sums up."""
    names = phase.path.component_ms()
    return [name for name in names if headline_group(phase.ticks.catalog[name]).name == group]


def phase_column(phase: PhaseAnalysis) -> str:
    """The head of a phase's column: its name, size and number of requests, and the method if it is
    marginal."""
    n = int(phase.path.table["requests"].iloc[0]) if not phase.path.table.empty else 0
    marginal = ", marginal" if phase.path.method == "marginal" else ""
    return f"{phase.name}\n{items_text(phase)}, n = {n:,}{marginal}"


def items_text(phase: PhaseAnalysis) -> str:
    """``32 items``, or ``1 to 32 items``; ``n/a`` without a request."""
    items = phase.requests.table["items"]
    if items.empty:
        return NOT_KNOWN
    low, high = int(items.min()), int(items.max())
    return f"{low} to {high} items" if low != high else f"{low} item{'' if low == 1 else 's'}"


def _cell(table: pd.DataFrame, name: str) -> str:
    if name not in table.index:
        return "none"
    row = table.loc[[name]].to_dict("records")[0]
    return f"{number(row['mean_ms'])} ({interval(row['low'], row['high'])}) {percent(row['share'], 0)}"


def _latencies(phases: Sequence[PhaseAnalysis], which: str) -> dict[str, str]:
    cells = {}
    for phase in phases:
        row = phase.latency.table.set_index("which").loc[which].to_dict()
        cells[phase_column(phase)] = (
            f"{number(row['mean_ms'])} ({interval(row['mean_low'], row['mean_high'])})"
        )
    return cells
