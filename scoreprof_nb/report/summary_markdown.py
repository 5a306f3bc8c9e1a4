"""summary.md: a run's results as text that reads well in a log."""

from collections.abc import Mapping, Sequence

import pandas as pd

from scoreprof_nb.analysis.quality import TEXT_CHARACTERS
from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.report.answer import answer, trust
from scoreprof_nb.report.finding_cards import finding_text
from scoreprof_nb.report.findings import MARGINAL, busiest_thread, path_column
from scoreprof_nb.report.format import escape_markdown, number, one_line, percent, with_interval
from scoreprof_nb.report.group_table import group_table
from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import see

MARKDOWN_FINDINGS = 10


def summary_markdown(report: Report, where: str) -> str:
    """summary.md, of bounded length: the report's words and numbers. ``where``: the path of the report."""
    analysis = report.analysis
    manifest = analysis.run.manifest
    lines = [f"# {escape_markdown(manifest.label)}: {analysis.status()}", ""]
    if manifest.failure:
        lines += [_short(manifest.failure.splitlines()[0]), ""]
    lines += [escape_markdown(answer(report)), "", escape_markdown(trust(report)), ""]
    lines += _group_lines(analysis)
    lines += ["Latency in ms, without py-spy (n: requests; 95 % interval; n/a: too few requests):", ""]
    lines += markdown_table(_latency_rows(analysis))
    lines += ["", "Request path by component, mean ms per request with py-spy (95 % interval):", ""]
    lines += markdown_table(_path_rows(analysis))
    lines += _path_notes(analysis)
    lines += ["", "Findings, the host's first:", ""]
    lines += _finding_lines(report)
    lines += ["", *_check_lines(analysis), "", f"Report: {escape_markdown(where)}", ""]
    return "\n".join(lines)


def _group_lines(analysis: RunAnalysis) -> list[str]:
    """The report's first table; nothing without a request path."""
    table = group_table(analysis)
    if table is None:
        return []
    rows = table.rows.rename(columns=lambda name: str(name).replace("\n", ", "))
    texts = [{str(name): str(value) for name, value in row.items()} for row in rows.to_dict("records")]
    return [f"{table.title}:", "", *markdown_table(texts), ""]


def _finding_lines(report: Report) -> list[str]:
    findings = report.component_findings
    lines = [
        f"{rank}. {escape_markdown(finding_text(finding))}"
        for rank, finding in enumerate(findings[:MARKDOWN_FINDINGS], start=1)
    ]
    if len(findings) > MARKDOWN_FINDINGS:
        lines.append(f"   and {len(findings) - MARKDOWN_FINDINGS} more in the report")
    return lines or ["None is larger than its interval."]


def _check_lines(analysis: RunAnalysis) -> list[str]:
    failed = [
        f"- {escape_markdown(check.phase)}: {escape_markdown(check.name)}: {_short(check.text)}"
        for phase in analysis.phases
        for check in phase.quality.checks
        if check.passed is False
    ]
    return ["FAILED checks:", *failed] if failed else ["Checks: all passed."]


def _latency_rows(analysis: RunAnalysis) -> Sequence[Mapping[str, str]]:
    rows = []
    for phase in analysis.phases:
        plain = phase.latency.table.set_index("which").loc["all"].to_dict()
        rows.append(
            {
                "phase": phase.name,
                "n": str(plain["requests"]),
                **{
                    name: with_interval(plain[f"{name}_ms"], plain[f"{name}_low"], plain[f"{name}_high"])
                    for name in ("mean", "p50")
                },
                **{name: number(plain[f"{name}_ms"]) for name in ("p90", "p95", "p99")},
                "items/s": number(phase.latency.throughput[1] if phase.latency.throughput else None),
                "failed": str(phase.requests.failed),
                "prompt tokens": number(phase.prefix_cache.prompt_tokens_per_request, 0),
                "cached": percent(phase.prefix_cache.cached_share),
            }
        )
    return rows


def _path_rows(analysis: RunAnalysis) -> Sequence[Mapping[str, str]]:
    """A column per phase with a request path: n, then the components, the largest first."""
    phases = {path_column(phase): phase for phase in analysis.phases if not phase.path.table.empty}
    tables = {name: phase.path.table.set_index("component") for name, phase in phases.items()}
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
            row[name] = "none"
            if component in table.index:
                mean, low, high = table.loc[component, ["mean_ms", "low", "high"]]
                shown = with_interval(float(mean), float(low), float(high))
                row[name] = shown + see([phases[name]], str(component))
        rows.append(row)
    return rows


def _path_notes(analysis: RunAnalysis) -> list[str]:
    """A Markdown list: the phases whose path is marginal, and why a phase has no path."""
    notes = []
    for phase in analysis.phases:
        if phase.path.method == "marginal":
            reason = _short(phase.path.reason or "")
            notes.append(f"- {escape_markdown(phase.name)}: {MARGINAL}; reason: {reason}")
        elif phase.path.method is None:
            reason = _short(phase.path.reason or "not known")
            busiest = escape_markdown(busiest_thread(phase))
            notes.append(f"- {escape_markdown(phase.name)}: no request path: {reason}. {busiest}".rstrip())
    return ["", *notes] if notes else []


def _short(text: str) -> str:
    """One line of Markdown, of a text cut to TEXT_CHARACTERS."""
    return escape_markdown(one_line(text, TEXT_CHARACTERS))
