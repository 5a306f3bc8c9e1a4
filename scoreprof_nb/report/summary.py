"""summary.json and summary.md: what tools and logs read of a run."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.quality import TEXT_CHARACTERS
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.report.findings import (
    MARGINAL,
    Finding,
    busiest_thread,
    latency_with_interval,
    path_column,
    with_interval,
)
from scoreprof_nb.run_folder.store import SCHEMA_VERSION

MARKDOWN_FINDINGS = 10


def summary(analysis: RunAnalysis, found: list[Finding]) -> dict[str, Any]:
    """The contract with everything outside (schema_version 1); unknown numbers are null."""
    manifest = analysis.run.manifest
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": manifest.run_id,
        "label": manifest.label,
        "status": analysis.status(),
        "failure": manifest.failure,
        "started_at": _time(manifest.started_s),
        "finished_at": _time(manifest.finished_s),
        "provenance": dict(analysis.run.provenance),
        "phases": {phase.name: _phase(phase) for phase in analysis.phases},
        "findings": [
            {
                "phase": finding.phase,
                "component": finding.component,
                "ms_per_request": finding.ms_per_request,
                "ci95": _interval(finding.low, finding.high),
                "max_speedup": finding.max_speedup,
                "text": finding.text,
            }
            for finding in found
        ],
    }


def _phase(phase: PhaseAnalysis) -> dict[str, Any]:
    table = phase.requests.table
    rows = phase.latency.table.set_index("which")
    plain, profiled = rows.loc["all"], rows.loc["with py-spy"]
    quality = phase.quality.capture
    return {
        "requests": {
            "sent": len(table),
            "ok": int(table["ok"].sum()),
            "failed": phase.requests.failed,
            "failed_by_kind": {str(kind): int(n) for kind, n in table["error"].value_counts().items()},
            "compile_hit": phase.batching.summary["compile_hit"],
            "split": phase.batching.summary["split"],
            "items_per_request": _number(table["items"].mean()),
        },
        "latency_ms": {name: _number(plain[f"{name}_ms"]) for name in ("mean", "p50", "p90", "p95", "p99")},
        "profiled_latency_ms": {name: _number(profiled[f"{name}_ms"]) for name in ("mean", "p50")},
        "throughput": dict(
            zip(("requests_per_s", "items_per_s"), phase.latency.throughput or (None, None), strict=True)
        ),
        "request_path_ms": _components(phase.path.table, "mean_ms"),
        "request_path_method": phase.path.method,
        "cpu_ms_per_request": _components(phase.threads.cpu, "cpu_ms"),
        "threads": _threads(phase.threads.shares),
        "quality": {
            "rate_hz": quality.rate_hz if quality else None,
            "effective_rate_hz": quality.effective_rate_hz if quality else None,
            "ticks": quality.ticks if quality else 0,
            "lost_share": quality.lost_share if quality else None,
            "behind_s": quality.behind_s if quality else None,
            "unclassified_share": quality.unclassified_share if quality else None,
            "tick_mismatch": quality.mismatch if quality else None,
            "threads_ended": quality.ended if quality else None,
        },
        "observer_effect": {
            "p50_ratio": phase.latency.observer_effect.p50_ratio,
            "ci95": _interval(phase.latency.observer_effect.low, phase.latency.observer_effect.high),
        },
        "scores": {"consistent": phase.quality.scores.consistent, "digest": phase.quality.scores.digest},
        "checks": [
            {"name": check.name, "passed": check.passed, "text": check.text} for check in phase.quality.checks
        ],
    }


def _components(table: pd.DataFrame, column: str) -> dict[str, Any]:
    return {
        str(row["component"]): {
            "mean": float(row[column]),
            "ci95": _interval(row["low"], row["high"]),
        }
        for _, row in table.iterrows()
    }


def _threads(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "process": process,
            "thread": thread,
            "ticks": int(rows["ticks"].iloc[0]),
            "cpu_s": float(rows["cpu_s"].iloc[0]),
            "share": dict(zip(rows["component"], map(float, rows["share"]), strict=True)),
        }
        for (process, thread), rows in table.groupby(["process", "thread"], sort=False)
    ]


def markdown(analysis: RunAnalysis, found: list[Finding], report: str) -> str:
    """summary.md: bounded in length, readable as plain text in a log."""
    manifest = analysis.run.manifest
    lines = [f"# {manifest.label}: {analysis.status()}", ""]
    if manifest.failure:
        lines += [_short(manifest.failure.splitlines()[0]), ""]
    lines += ["Latency in ms, without py-spy, n requests (95 % interval; n/a: too few requests for it):", ""]
    lines += markdown_table(_latency_rows(analysis))
    lines += ["", "Request path, mean ms per request (95 % interval):", ""]
    lines += markdown_table(_path_rows(analysis))
    lines += _path_notes(analysis)
    lines += ["", "Findings, largest first:", ""]
    lines += [f"{i}. {finding.text}" for i, finding in enumerate(found[:MARKDOWN_FINDINGS], start=1)]
    if len(found) > MARKDOWN_FINDINGS:
        lines.append(f"   and {len(found) - MARKDOWN_FINDINGS} more in summary.json")
    wrong = [
        f"- {check.phase}: {check.name}: {_short(check.text)}"
        for phase in analysis.phases
        for check in phase.quality.checks
        if check.passed is False
    ]
    lines += [
        "",
        "Checks: all passed." if not wrong else "Checks that FAILED:",
        *wrong,
        "",
        f"Report: {report}",
        "",
    ]
    return "\n".join(lines)


def _latency_rows(analysis: RunAnalysis) -> Sequence[Mapping[str, str]]:
    rows = []
    for phase in analysis.phases:
        plain = phase.latency.table.set_index("which").loc["all"].to_dict()
        rate = phase.latency.throughput[1] if phase.latency.throughput else None
        rows.append(
            {
                "phase": phase.name,
                "n": str(plain["requests"]),
                **{name: latency_with_interval(plain, name) for name in ("mean", "p50")},
                **{name: _shown(_number(plain[f"{name}_ms"])) for name in ("p90", "p95", "p99")},
                "items/s": _shown(rate),
                "failed": str(phase.requests.failed),
            }
        )
    return rows


def _path_rows(analysis: RunAnalysis) -> Sequence[Mapping[str, str]]:
    """A column per phase that has a path: n, then the components, those that take most first."""
    tables = {
        path_column(phase): phase.path.table.set_index("component")
        for phase in analysis.phases
        if not phase.path.table.empty
    }
    if not tables:
        return []
    total = pd.concat([table["mean_ms"] for table in tables.values()]).groupby(level=0).sum()
    rows = [
        {"component": "(profiled requests)"}
        | {name: f"n = {int(table['requests'].iloc[0])}" for name, table in tables.items()}
    ]
    for component in total.sort_values(ascending=False, kind="stable").index:
        row = {"component": str(component)}
        for name, table in tables.items():
            row[name] = "-"
            if component in table.index:
                mean, low, high = table.loc[component, ["mean_ms", "low", "high"]]
                row[name] = with_interval(float(mean), float(low), float(high))
        rows.append(row)
    return rows


def _path_notes(analysis: RunAnalysis) -> list[str]:
    """What a reader of the path's numbers must know: the marginal method, and why a phase has none."""
    notes = []
    for phase in analysis.phases:
        if phase.path.method == "marginal":
            notes.append(f"- {phase.name}: {MARGINAL}; used because {_short(phase.path.reason or '')}")
        elif phase.path.method is None:
            reason = _short(phase.path.reason or "not known")
            notes.append(f"- {phase.name}: no request path: {reason}. {busiest_thread(phase)}".rstrip())
    return ["", *notes] if notes else []


def _short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else f"{line[: TEXT_CHARACTERS - 1]}…"


def markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of an aligned table; the first row's keys are its columns."""
    if not rows:
        return ["(not known)"]
    columns = list(rows[0])
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in columns}
    aligned = [
        "| " + " | ".join(cells[column].ljust(widths[column]) for column in columns) + " |"
        for cells in [{column: column for column in columns}, *rows]
    ]
    return [aligned[0], "|" + "|".join("-" * (widths[column] + 2) for column in columns) + "|", *aligned[1:]]


def _shown(value: float | None, unknown: str = "n/a") -> str:
    return unknown if value is None or math.isnan(value) else f"{value:.1f}"


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _interval(low: float | None, high: float | None) -> list[float] | None:
    """None where it is not known."""
    known = [value for value in map(_number, (low, high)) if value is not None]
    return known if len(known) == 2 else None


def _time(epoch_s: float | None) -> str | None:
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds")
