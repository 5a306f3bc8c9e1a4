"""The findings that a report shows: one per component over all phases, the largest cost of the host first.

``findings.py`` has the same numbers one per phase and component, as summary.json lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.items import run_cost_per_item
from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.components.component import Component
from scoreprof_nb.components.headline import HeadlineGroup, headline_group
from scoreprof_nb.engines.sglang_jax_known import KNOWN_FIXES, KnownFix
from scoreprof_nb.report.findings import Finding
from scoreprof_nb.report.what_if_marks import mark

KINDS = ("host", "compile", "device")  # in the order of the report; the client's own time is no finding


@dataclass(frozen=True)
class Evidence:
    """Where a component's time is spent: in the phase in which it costs most, or else in any.

    ``place``: ``function (file:line)``, to open in an editor; ``innermost``: the function in which the time
    passes; ``share``: how much of the component's time that is, 0 to 1; ``stack``: innermost frame first.
    """

    phase: str
    thread: str
    place: str
    innermost: str
    share: float
    stack: str


@dataclass(frozen=True)
class ComponentFinding:
    """A component that costs something in at least one phase.

    ``costs``: by phase, in the run's order, those that are above 0 by more than their interval;
    ``evidence``: None without a stack; ``fixes``: what others did about it; ``per_item``: what an item adds,
    mean, low and high in ms, None where it is not known to be more than 0; ``doubts``: what a what-if
    experiment says against its numbers.
    """

    component: Component
    group: HeadlineGroup
    costs: Mapping[str, Finding]
    evidence: Evidence | None
    fixes: Sequence[KnownFix]
    per_item: tuple[float, float, float] | None = None
    doubts: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        return f"finding-{self.component.name}"

    @property
    def largest(self) -> Finding:
        """In the phase in which it costs most."""
        return max(self.costs.values(), key=lambda finding: finding.ms_per_request)


def component_findings(analysis: RunAnalysis, findings: Sequence[Finding]) -> list[ComponentFinding]:
    """Host components first, then compiling, then the device; within each the largest cost first.

    ``findings`` lacks what is under 1 % of a request or within its interval of 0. Left out as well is the
    load generator's own time.
    """
    evidence = analysis.table("evidence")
    slopes = _slopes(analysis)
    order = [phase.name for phase in analysis.phases]
    by_component: dict[str, dict[str, Finding]] = {}
    for finding in sorted(findings, key=lambda finding: order.index(finding.phase)):
        by_component.setdefault(finding.component, {})[finding.phase] = finding
    result = []
    for name, costs in by_component.items():
        component = analysis.catalog[name]
        group = headline_group(component)
        largest = max(costs.values(), key=lambda finding: finding.ms_per_request)
        if group.kind in KINDS:
            found = _evidence(evidence, name, largest.phase)
            fixes = KNOWN_FIXES.get(name, ())
            marks = {phase.name: mark(phase.what_if, name) for phase in analysis.phases}
            doubts = tuple(f"{phase}: {text}" for phase, text in marks.items() if text)
            result.append(ComponentFinding(component, group, costs, found, fixes, slopes.get(name), doubts))
    return sorted(result, key=lambda f: (KINDS.index(f.group.kind), -f.largest.ms_per_request))


def _slopes(analysis: RunAnalysis) -> dict[str, tuple[float, float, float]]:
    """What an item adds to each component, in ms, where its interval stays above 0."""
    rows = run_cost_per_item(analysis)
    columns = ("component", "per_item_ms", "per_item_low", "per_item_high")
    values = zip(*(rows[name] for name in columns), strict=True)
    return {str(name): (mean, low, high) for name, mean, low, high in values if low > 0}


def _evidence(table: pd.DataFrame, component: str, phase: str) -> Evidence | None:
    rows = table[table["component"] == component]
    if rows.empty:
        return None
    of_phase = rows[rows["phase"] == phase]
    rows = rows if of_phase.empty else of_phase  # a decode step may be seen only where it waits
    row = rows.iloc[0]
    line = "" if pd.isna(row["line"]) else f":{int(row['line'])}"
    return Evidence(
        phase=str(row["phase"]),
        thread=f"{row['process']} / {row['thread']}",
        place=f"{row['function']} ({row['file']}{line})",
        innermost=str(row["innermost"]),
        share=float(row["share"]),
        stack=str(row["stack"]),
    )
