"""Tables about the request path: own and queued time, which requests, which thread limits, cost per item."""

import pandas as pd

from scoreprof_nb.analysis.items import run_cost_per_item
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.report import format
from scoreprof_nb.report.findings import SMALLEST_SHARE
from scoreprof_nb.report.format import with_interval
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import see

ALL_REQUESTS = "all"
_QUEUED = " (queued)"


def queue_table(report: Report) -> pd.DataFrame:
    """Own and queued ms per component of the phases with more than one request in flight.

    Columns: phase, component, own ms, queued ms, at most. Empty if nothing is queued.
    """
    rows = []
    for phase in report.analysis.phases:
        if phase.path.queued.empty:
            continue
        own, queued = (table.set_index("component") for table in (phase.path.table, phase.path.queued))
        total = own["mean_ms"].add(queued["mean_ms"], fill_value=0.0)
        for component in total.sort_values(ascending=False, kind="stable").index:
            known = own if component in own.index else queued
            rows.append(
                {
                    "phase": phase.name,
                    "component": component + see([phase], component),
                    "own ms": _cell(own, component),
                    "queued ms": _cell(queued, component),
                    "at most": format.speedup(float(known.loc[component, "max_speedup"])),
                }
            )
    return pd.DataFrame(rows)


def group_table(report: Report) -> pd.DataFrame:
    """What some requests wait for: all, those without a compile, the slowest tenth; own and queued together.

    One row per phase and component that is at least 1 % of a request in one of the groups, one column per
    group. Empty if no phase has groups.
    """
    rows = []
    for phase in report.analysis.phases:
        groups = {ALL_REQUESTS: phase.path, **phase.path.groups} if phase.path.groups else {}
        together = {
            name: pd.concat([path.table, path.queued.assign(component=path.queued["component"] + _QUEUED)])
            for name, path in groups.items()
        }
        tables = {name: table.set_index("component") for name, table in together.items()}
        shares = pd.DataFrame({name: table["share"] for name, table in tables.items()}).max(axis=1)
        for component in shares[shares >= SMALLEST_SHARE].sort_values(ascending=False).index:
            cells = {f"{name} ms": _cell(table, component) for name, table in tables.items()}
            hint = see([phase], component.removesuffix(_QUEUED))
            rows.append({"phase": phase.name, "component": component + hint, **cells})
        if groups:
            counts = {f"{name} ms": f"n = {path.table['requests'].iloc[0]}" for name, path in groups.items()}
            rows.append({"phase": phase.name, "component": "(requests)", **counts})
    return pd.DataFrame(rows).fillna("")


def group_rows(report: Report) -> pd.DataFrame:
    """What ``plots.plot_path_groups`` draws: phase, group, component, mean_ms (own and queued), requests.
    Only of phases in which a group differs from all requests; empty if there is none."""
    rows = []
    for phase in report.analysis.phases:
        n = len(phase.requests.profiled())
        groups = {name: path for name, path in phase.path.groups.items() if _requests(path) < n}
        for name, path in {ALL_REQUESTS: phase.path, **groups}.items() if groups else ():
            rows += [
                {"phase": phase.name, "group": name, "component": component, "mean_ms": ms}
                | {"requests": _requests(path)}
                for component, ms in path.component_ms().items()
            ]
    return pd.DataFrame(rows, columns=["phase", "group", "component", "mean_ms", "requests"])


def _requests(path: RequestPath) -> int:
    return int(path.table["requests"].iloc[0])


def capacity_table(report: Report) -> pd.DataFrame:
    """How busy each thread of the request path is, and the throughput that it allows. Columns: phase,
    thread, busy %, busy ms per request, requests/s at most, limits."""
    return pd.DataFrame([row for phase in report.analysis.phases for row in _capacity_rows(phase)])


def _capacity_rows(phase: PhaseAnalysis) -> list[dict[str, object]]:
    return [
        {
            "phase": phase.name,
            "thread": f"{row['process']} / {row['thread']}",
            "busy %": 100 * row["busy_share"],
            "busy ms per request": row["busy_ms"],
            "requests/s at most": row["most_per_s"],
            "limits": "limits throughput" if row["limits"] else "",
        }
        for row in phase.capacity.table.to_dict("records")
    ]


def cost_per_item_table(report: Report) -> pd.DataFrame:
    """Fixed ms and ms per item of each component, with 95 % intervals; empty if they are not known."""
    return pd.DataFrame(
        [
            {
                "component": row["component"] + see(report.analysis.phases, row["component"]),
                "fixed ms": with_interval(row["fixed_ms"], row["fixed_low"], row["fixed_high"]),
                "ms per item": with_interval(
                    row["per_item_ms"], row["per_item_low"], row["per_item_high"], digits=3
                ),
            }
            for row in run_cost_per_item(report.analysis).to_dict("records")
        ]
    )


def _cell(table: pd.DataFrame, component: str) -> str:
    if component not in table.index:
        return "none"
    row = table.loc[component].to_dict()
    return with_interval(row["mean_ms"], row["low"], row["high"])
