"""The load of a run in its report: what was sent, latency over the rate, and over the number in flight."""

import math

import pandas as pd

from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.open_loop import OpenLoopStep, goodput_per_s, highest_rate, knee
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.report.findings import latency_with_interval
from scoreprof_nb.report.format import NOT_KNOWN, escape_markdown, with_interval
from scoreprof_nb.report.profile import Report

CURVE_COLUMNS = ("kind", "rate_per_s", "p50_ms", "p90_ms", "p99_ms", "knee_per_s", "capacity_per_s")


def sent_markdown(report: Report) -> str:
    """Markdown: what the prefix cache may know of what was sent."""
    mode = report.analysis.run.manifest.parameters.get("prefix_cache")
    words = {
        "cold": "Cold prompts: every query is new, so the prefix cache only helps within a request.",
        "warm": "Warm prompts: a few requests are sent in turn, so the prefix cache may know them.",
        "off": "The server ran without a prefix cache.",
    }
    first = words.get(str(mode), "Payloads repeat: the prefix cache may know them.")
    return f"{first} Prompt lengths and the cached share are in [the phases](#measured)."


def in_flight_table(report: Report) -> pd.DataFrame:
    """Closed loops by kind and number in flight. Columns: kind, in flight, n, mean and p50 and p99 with
    intervals, requests/s, items/s; empty unless a kind was sent with several numbers in flight."""
    phases = [phase for phase in report.analysis.phases if phase.load.loop == "closed"]
    kinds = [_kind(phase) for phase in phases]
    rows = []
    for phase in phases:
        if kinds.count(_kind(phase)) < 2:
            continue
        latency = phase.latency.table.set_index("which").loc["all"].to_dict()
        per_s = phase.latency.throughput
        rows.append(
            {
                "kind": _kind(phase),
                "in flight": phase.load.concurrency,
                "n": latency["requests"],
                **{f"{name} ms": latency_with_interval(latency, name) for name in ("mean", "p50", "p99")},
                "requests/s": per_s.requests_per_s if per_s else None,
                "items/s": per_s.items_per_s if per_s else None,
            }
        )
    return pd.DataFrame(rows)


def rate_table(report: Report) -> pd.DataFrame:
    """Open loops and replays, one row per phase; empty without one.

    Columns: phase, offered and achieved requests/s, n, timed out, mean, p50, p90, p99 with intervals, in
    flight, requests/s within ``slo_ms``, generator late p99 ms, and remarks: why there are no percentiles,
    and what the intervals resample.
    """
    slo_ms = report.parameters.slo_ms
    rows = []
    for phase, step in _steps(report):
        goodput = goodput_per_s(phase.requests, phase.phase.record.blocks, slo_ms) if slo_ms else None
        limit_s = phase.load.timeout_s
        names = ("mean", "p50", "p90", "p99")
        rows.append(
            {
                "phase": phase.name,
                "offered/s": step.offered_per_s,
                "answered/s": step.achieved_per_s,
                "n": step.requests,
                "timed out": step.timeouts,
                **{f"{name} ms": _shown(step.latency_ms.get(name), limit_s) for name in names},
                "in flight": step.in_flight,
                **({"within slo_ms/s": goodput} if slo_ms else {}),
                "send delay p99 ms": step.late_p99_ms,
                "remarks": "; ".join(_remarks(step)),
            }
        )
    return pd.DataFrame(rows)


def rate_curve(report: Report) -> pd.DataFrame:
    """For the figure: CURVE_COLUMNS; NaN where there is no percentile. ``knee_per_s`` is that of the kind."""
    rows = []
    for phase, step in _steps(report):
        if phase.load.loop != "open":
            continue
        values = {
            name: step.latency_ms[name].value if name in step.latency_ms else math.nan
            for name in ("mean", "p50", "p90", "p99")
        }
        rows.append(
            {
                "kind": _kind(phase),
                "rate_per_s": step.offered_per_s,
                **{f"{name}_ms": value for name, value in values.items()},
                "capacity_per_s": phase.load.capacity_per_s or math.nan,
            }
        )
    table = pd.DataFrame(rows, columns=[*(set(CURVE_COLUMNS) - {"knee_per_s"}), "mean_ms"])
    knees = {
        kind: knee(list(of_kind["rate_per_s"]), list(of_kind["mean_ms"])) or math.nan
        for kind, of_kind in table.groupby("kind")
    }
    return table.assign(knee_per_s=table["kind"].map(knees).astype(float))[list(CURVE_COLUMNS)]


def rate_markdown(report: Report) -> str:
    """A Markdown list: the knee of each kind in an open loop, and the highest rate that meets ``slo_ms``."""
    slo_ms = report.parameters.slo_ms
    lines = []
    for kind, curve in rate_curve(report).groupby("kind", sort=False):
        at = curve["knee_per_s"].iloc[0]
        text = f"{kind}: knee at {at:.3g} requests/s" if math.isfinite(at) else f"{kind}: no knee is known"
        if slo_ms:
            rate = highest_rate(list(curve["rate_per_s"]), list(curve["p99_ms"]), slo_ms)
            none = "no rate" if curve["p99_ms"].notna().any() else "not known, since no rate has a p99"
            found = f"{rate:.3g} requests/s" if rate else none
            text += f"; highest rate with p99 of at most {slo_ms:g} ms: {found}"
        lines.append(f"- {escape_markdown(text)}")
    return "\n".join(lines) or "No open loop was measured (parameter `rates`)."


def _steps(report: Report) -> list[tuple[PhaseAnalysis, OpenLoopStep]]:
    return [(phase, phase.open_loop) for phase in report.analysis.phases if phase.open_loop is not None]


def _kind(phase: PhaseAnalysis) -> str:
    return phase.phase.record.kind or phase.name


def _shown(estimate: Estimate | None, limit_s: float | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return NOT_KNOWN
    if math.isinf(estimate.value):
        return f"> {1000 * limit_s:.0f}" if limit_s else "> timeout"
    return with_interval(estimate.value, estimate.low, estimate.high)


def _remarks(step: OpenLoopStep) -> list[str]:
    if step.refused:
        return list(step.refused)
    short = (
        f"too short: {step.relaxations:.0f} relaxation times" if step.too_short and step.relaxations else ""
    )
    narrow = (
        f"at {step.utilisation:.0%} of the capacity: the intervals may be too narrow" if step.narrow else ""
    )
    return [text for text in (short, f"intervals over {step.units}", narrow) if text]
