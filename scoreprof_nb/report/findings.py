"""The findings of a run: the components that cost most, each as a sentence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.components.component import Component
from scoreprof_nb.report import format
from scoreprof_nb.report.format import milliseconds, percent, with_interval
from scoreprof_nb.report.what_if_marks import mark

SMALLEST_SHARE = 0.01
SMALLEST_MS = 0.05  # a lower bound that would be shown as 0.0 is no finding
MARGINAL = "marginal method: it cannot show which thread's work overlaps another's"


@dataclass(frozen=True)
class Finding:
    """A component that costs at least SMALLEST_SHARE of a request, and more than its interval leaves to
    chance. Times are in milliseconds per request.

    ``max_speedup``: latency / (latency - component), the most that removing the component could give; None
    without a request path. ``low``, ``high``: 95 % interval, NaN when it is not known.
    """

    phase: str
    component: str
    ms_per_request: float
    low: float
    high: float
    max_speedup: float | None
    text: str
    advice: str  # what the component is, and what usually reduces it


def findings(analysis: RunAnalysis) -> list[Finding]:
    """All findings of a run, the largest first."""
    of_all_phases = [finding for phase in analysis.phases for finding in _of_phase(phase)]
    return sorted(of_all_phases, key=lambda finding: -finding.ms_per_request)


def _of_phase(phase: PhaseAnalysis) -> list[Finding]:
    if not phase.path.table.empty:
        return [
            _path_finding(phase, row, phase.ticks.catalog[row["component"]])
            for _, row in phase.path.table.iterrows()
            if _worth(row)
        ]
    cpu = phase.threads.cpu
    return [
        _cpu_finding(phase.name, row, phase.ticks.catalog[row["component"]])
        for _, row in cpu.iterrows()
        if _worth_cpu(row, cpu)
    ]


def _worth(row: "pd.Series[float]") -> bool:
    return float(row["share"]) >= SMALLEST_SHARE and _is_above_zero(row)


def _worth_cpu(row: "pd.Series[float]", cpu: pd.DataFrame) -> bool:
    return float(row["cpu_ms"]) >= SMALLEST_SHARE * float(cpu["cpu_ms"].sum()) and _is_above_zero(row)


def _is_above_zero(row: "pd.Series[float]") -> bool:
    """Whether the cost is more than chance: its interval stays above 0, or is not known."""
    return not float(row["low"]) < SMALLEST_MS


def _path_finding(phase: PhaseAnalysis, row: "pd.Series[float]", component: Component) -> Finding:
    mean = float(row["mean_ms"])
    speedup = float(row["max_speedup"])
    bounded = f"without it, the request could be at most {format.speedup(speedup)} as fast"
    marked = ", by the marginal method" if phase.path.method == "marginal" else ""
    behind, low, high = phase.path.queued_mapping().get(component.name, (0.0, 0.0, 0.0))
    queued = f", and {with_interval(behind, low, high, ' ms')} queued behind it" if behind else ""
    text = (
        f"{phase.name}: {_title(component)} takes {milliseconds(mean)} of {milliseconds(row['latency_ms'])} "
        f"({percent(row['share'], 0)}; 95 % interval {format.interval(row['low'], row['high'])}) "
        f"of the average profiled request{marked}{queued}; "
        f"{bounded if math.isfinite(speedup) else 'it is the whole request'}{_advice(component)}"
        f"{_doubt(phase, component)}"
    )
    return Finding(
        phase.name,
        component.name,
        mean,
        float(row["low"]),
        float(row["high"]),
        speedup if math.isfinite(speedup) else None,
        text,
        _explanation(component),
    )


def _cpu_finding(phase: str, row: "pd.Series[float]", component: Component) -> Finding:
    mean = float(row["cpu_ms"])
    low, high = float(row["low"]), float(row["high"])
    interval = format.interval(low, high) if math.isfinite(low) else "not known"
    text = (
        f"{phase}: {_title(component)} costs {milliseconds(mean)} of CPU time per request "
        f"(95 % interval {interval}){_advice(component)}"
    )
    return Finding(phase, component.name, mean, low, high, None, text, _explanation(component))


def _title(component: Component) -> str:
    return f"{component.name} ({component.meaning})" if component.meaning else component.name


def _advice(component: Component) -> str:
    return f"; {component.advice}" if component.advice else ""


def _doubt(phase: PhaseAnalysis, component: Component) -> str:
    """What an experiment says against the number."""
    doubt = mark(phase.what_if, component.name)
    return f"; {doubt}" if doubt else ""


def _explanation(component: Component) -> str:
    return "; ".join(filter(None, (component.meaning, component.advice)))


def latency_with_interval(row: Mapping[Any, Any], name: str, unit: str = "") -> str:
    """The mean or a percentile of a row of the latency table."""
    return with_interval(row[f"{name}_ms"], row[f"{name}_low"], row[f"{name}_high"], unit)


def path_column(phase: PhaseAnalysis) -> str:
    """The name of a phase's column in a table of request paths."""
    return f"{phase.name} (marginal)" if phase.path.method == "marginal" else phase.name


def limiting_thread(phase: PhaseAnalysis) -> str | None:
    """The thread of the request path that works longest per request: process / thread; None if not known."""
    limiting = phase.capacity.table[phase.capacity.table["limits"].astype(bool)]
    return None if limiting.empty else f"{limiting['process'].iloc[0]} / {limiting['thread'].iloc[0]}"


def busiest_thread(phase: PhaseAnalysis) -> str:
    """A sentence about the busiest thread, which bounds throughput if there is no request path.
    Empty without a recording."""
    if phase.threads.utilisation.empty:
        return ""
    busiest = phase.threads.utilisation.sort_values("busy_share").iloc[-1]
    if busiest["busy_share"] == 0:
        return "No sample shows a working thread."
    threads = phase.threads.shares
    of_thread = (threads["process"] == busiest["process"]) & (threads["thread"] == busiest["thread"])
    works = threads["component"].map(lambda name: phase.ticks.catalog[name].work)
    largest = threads[of_thread & works].nlargest(3, "share")
    doing = ", ".join(f"{row['component']} {percent(row['share'], 0)}" for _, row in largest.iterrows())
    return (
        f"Busiest thread: {busiest['process']} / {busiest['thread']}, working "
        f"{format.share(busiest['busy_share'], busiest['low'], busiest['high'], 0)} of the time ({doing})."
    )
