"""Tables by component and by function, as the report shows them."""

import pandas as pd

from scoreprof_nb.components.headline import GROUPS, headline_group
from scoreprof_nb.report import format
from scoreprof_nb.report.blocks import Link, Table
from scoreprof_nb.report.format import percent, with_interval
from scoreprof_nb.report.group_table import phase_column
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import see
from scoreprof_nb.stacks.table import short_path

HOT_FUNCTIONS = 12  # per phase


def findings_overview(report: Report) -> Table:
    """One row per finding, with a link to it: ms per request of each phase, and the largest possible
    speedup."""
    phases = {phase.name: phase for phase in report.analysis.phases}
    rows = []
    for finding in report.component_findings:
        costs, slope = finding.costs, finding.per_item
        best = max((cost.max_speedup or 0.0) for cost in costs.values())
        rows.append(
            {
                "component": Link(finding.component.name, f"#{finding.anchor}"),
                "group": finding.group.name,
                **{
                    f"{name} ms": with_interval(costs[name].ms_per_request, costs[name].low, costs[name].high)
                    + see([phase], finding.component.name)
                    if name in costs
                    else ""
                    for name, phase in phases.items()
                },
                "ms per item": "" if slope is None else with_interval(*slope, digits=2),
                "without it,\nat most": format.speedup(best) if best else "",
            }
        )
    return Table(pd.DataFrame(rows), "Findings: ms per request (95 % interval)", folded=False)


def component_table(report: Report) -> Table:
    """All components of the request path: ms with interval, and share of the latency, one column per
    phase."""
    catalog = report.analysis.catalog
    phases = [phase for phase in report.analysis.phases if not phase.path.table.empty]
    by_phase = {phase.name: phase.path.table.set_index("component") for phase in phases}
    occurring = {name for table in by_phase.values() for name in table.index}
    names = sorted(
        occurring,
        key=lambda name: (list(GROUPS).index(headline_group(catalog[name]).name), catalog.index[name]),
    )
    rows = [
        {
            "component": name,
            "group": headline_group(catalog[name]).name,
            **{
                phase_column(phase): _cell(by_phase[phase.name], name) + see([phase], name)
                for phase in phases
            },
        }
        for name in names
    ]
    return Table(
        pd.DataFrame(rows), "All components: ms of the mean request (95 % interval) and share", folded=True
    )


def _cell(table: pd.DataFrame, name: str) -> str:
    if name not in table.index:
        return "none"
    mean, low, high, share = map(float, table.loc[name, ["mean_ms", "low", "high", "share"]])
    return f"{with_interval(mean, low, high)} {percent(share)}"


def hot_overview(report: Report) -> Table:
    """The functions with the most self time of each phase, in words that need no glossary."""
    hot = report.analysis.table("hot").groupby("phase", sort=False).head(HOT_FUNCTIONS)
    rows = pd.DataFrame(
        {
            "phase": hot["phase"],
            "function": hot["function"],
            "file": hot["file"].map(short_path),
            "component": hot["component"],
            "thread": hot["process"] + " / " + hot["thread"],
            "self\nms per request": hot["self_ms"],
            "with callees\nms per request": hot["cumulative_ms"],
        }
    )
    title = f"The {HOT_FUNCTIONS} functions of each phase with the most self time"
    return Table(rows, title, folded=True)
