"""The files of a comparison: comparison.json, comparison.md, history.csv and the differential flame
graphs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scoreprof_nb.comparison.claims import NO_CHANGE
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.history import History
from scoreprof_nb.flamegraph.differential import Side, diff_flame_graph
from scoreprof_nb.parameters.compare import CONTROL, SIDES, TEST
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.comparison_caveats import caveats
from scoreprof_nb.report.comparison_groups import group_change_table
from scoreprof_nb.report.comparison_leads import title
from scoreprof_nb.report.comparison_schema import SCHEMA_VERSION
from scoreprof_nb.report.comparison_tables import (
    COMPONENTS,
    components_table,
    functions_table,
    metrics_table,
    scores_table,
    stacks_table,
)
from scoreprof_nb.report.comparison_verdict import conditions_markdown, phases_markdown, sentence
from scoreprof_nb.report.format import escape_markdown, number
from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.report.quiet import quiet_text
from scoreprof_nb.run_folder.files import (
    COMPARISON,
    COMPARISON_MARKDOWN,
    DIFF_FLAME_GRAPHS,
    HISTORY,
    REPORT,
    REPORT_HTML,
)
from scoreprof_nb.run_folder.folder import write_json, write_text

_MEANING = {
    REPORT_HTML: "this report for a browser",
    REPORT: "this report",
    COMPARISON_MARKDOWN: "the verdict as text, for a comment on a pull request",
    COMPARISON: "every number, for tools",
    DIFF_FLAME_GRAPHS["test"]: "differential flame graph with the widths of test: shows new stacks",
    DIFF_FLAME_GRAPHS["control"]: "differential flame graph with the widths of control: shows lost stacks",
}
_METRIC_COLUMNS = ("phase", "metric", *SIDES, "change", "verdict")
_COMPONENT_COLUMNS = ("phase", "component", "control ms", "test ms", "change ms", "verdict")


def write_files(report: ComparisonReport) -> None:
    """Write comparison.json, comparison.md and the two differential flame graphs."""
    report.folder.mkdir(parents=True, exist_ok=True)
    write_json(report.folder / COMPARISON, as_json(report))
    write_text(report.folder / COMPARISON_MARKDOWN, as_markdown(report))
    sides: tuple[Side, ...] = ("control", "test")
    for side in sides:
        write_text(report.folder / DIFF_FLAME_GRAPHS[side], flame_graph(report, side))


def write_history(history: History | None, folder: str) -> None:
    """Write history.csv, if there is a history."""
    if history is not None:
        write_text(Path(folder) / HISTORY, history.table().to_csv(index=False))


def as_json(report: ComparisonReport) -> dict[str, Any]:
    """comparison.json, as ``comparison_schema.ComparisonSummary`` documents it. Unknown numbers are null."""
    comparison = report.comparison
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict,
        "sentence": sentence(report),
        "blocked": comparison.blocked,
        "not_worse": comparison.not_worse,
        "settled": comparison.settled,
        "missing": report.missing,
        "stopped": {side: list(comparison.stopped[side]) for side in SIDES},
        "unlike": not comparison.incomparable.empty,
        "pairs": comparison.pairs,
        "delta": report.parameters.delta,
        "level": comparison.level,
        "machine": dict(comparison.machine),
        CONTROL: _side(report, CONTROL),
        TEST: _side(report, TEST),
        "left_out": list(comparison.excluded),
        "mind": caveats(comparison, report.missing),
        "differences": _records(comparison.comparability),
        "phases": _records(comparison.phase_verdicts),
        "guards": _records(comparison.guards),
        "metrics": _records(comparison.metrics),
        "components": _records(comparison.components),
        "groups": _records(comparison.groups),
        "scores": _records(comparison.correctness.scores),
        "counts": _records(comparison.correctness.counts),
        "batching": _records(comparison.batching),
        "functions": _records(functions_table(comparison)),
        "stacks": _records(stacks_table(comparison)),
        "runs": _records(comparison.launches.runs),
        "launches": _records(comparison.launches.values),
        "stability": _records(comparison.launches.stability),
        "loud": _records(comparison.launches.loud),
        "observer": _records(comparison.launches.observer),
        "plan": _records(comparison.launches.plan),
    }


def _side(report: ComparisonReport, side: str) -> dict[str, Any]:
    runs = report.comparison.sides[side]
    return {
        "label": runs[0].run.manifest.label,
        "runs": [run.run.manifest.run_id for run in runs],
        "folders": [str(report.published(Path(run.run.folder))) for run in runs],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON values: NaN and infinities are null, tuples are lists."""
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return records


def as_markdown(report: ComparisonReport) -> str:
    """comparison.md, for a comment on a pull request; its length is bounded."""
    comparison = report.comparison
    components = components_table(comparison)
    if not components.empty:
        components = components[components["verdict"] != NO_CHANGE].head(COMPONENTS)
    return "\n".join(
        [
            f"# {escape_markdown(title(report))}",
            "",
            escape_markdown(sentence(report)),
            "",
            escape_markdown(quiet_text(comparison)),
            "",
            *_group_lines(comparison),
            *phases_markdown(comparison),
            *conditions_markdown(report),
            "",
            *markdown_table(_texts(metrics_table(comparison), _METRIC_COLUMNS)),
            "",
            _correctness_line(report),
            "",
            "Request path, the components that changed most (ms per request, 95 % interval):",
            "",
            *markdown_table(_texts(components, _COMPONENT_COLUMNS)),
            "",
            f"Report: {escape_markdown(report.published(report.folder / 'report.html'))}",
            "",
        ]
    )


def _group_lines(comparison: Comparison) -> list[str]:
    """The report's first table; nothing without a request path."""
    table = group_change_table(comparison)
    if table is None:
        return []
    rows = table.rows.rename(columns=lambda name: str(name).replace("\n", ", "))
    return [f"{table.title}:", "", *markdown_table(_texts(rows, list(rows.columns))), ""]


def _correctness_line(report: ComparisonReport) -> str:
    comparison = report.comparison
    blocking = ", ".join(dict.fromkeys(comparison.guards.loc[comparison.guards["blocks"], "guard"]))
    scores = f"Scores: {', '.join(dict.fromkeys(scores_table(comparison)['scores']))}."
    return f"{scores} BLOCKED by: {blocking}." if blocking else scores


def _texts(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, str]]:
    return [
        {name: number(row[name]) if isinstance(row[name], float) else str(row[name]) for name in columns}
        for row in table.to_dict("records")
    ]


def flame_graph(report: ComparisonReport, widths: Side) -> str:
    """SVG: the stacks of both sides, all phases together, in ms per request."""
    comparison, names = report.comparison, report.names
    phases = max(comparison.stacks["phase"].nunique(), 1)
    columns = (comparison.stacks[name] for name in ("stack", "control_ms", "test_ms"))
    return diff_flame_graph(
        ((stack, control / phases, test / phases) for stack, control, test in zip(*columns, strict=True)),
        widths=widths,
        title=f"{report.mark}{names[TEST]} against {names[CONTROL]}",
        subtitle=f"mean ms per request of working threads, phases {', '.join(comparison.phases)}; "
        f"widths: {widths}",
    )


def files_table(report: ComparisonReport) -> pd.DataFrame:
    """The files of the comparison. Columns: file, what."""
    rows = [(str(report.published(report.folder / name)), meaning) for name, meaning in _MEANING.items()]
    rows += [
        (
            str(report.published(Path(run.run.folder))),
            f"run {run.run.manifest.run_id}: summary.md, recordings, server.log",
        )
        for run in (*report.comparison.control, *report.comparison.test)
    ]
    return pd.DataFrame(rows, columns=["file", "what"])
