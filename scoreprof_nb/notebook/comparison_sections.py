"""The sections of a comparison's report, in order. Each gives None where there is nothing to show."""

from collections.abc import Callable

from scoreprof_nb import plots
from scoreprof_nb.comparison.history import History
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.notebook.display import Part, Section, show
from scoreprof_nb.notebook.head import contents_of, page_assets
from scoreprof_nb.report import comparison_leads as leads
from scoreprof_nb.report import comparison_tables as tables
from scoreprof_nb.report import launch_tables, method_notes
from scoreprof_nb.report.blocks import Html, Table
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.comparison_files import files_table
from scoreprof_nb.report.comparison_glossary import COMPARISON_GLOSSARY
from scoreprof_nb.report.comparison_groups import group_change_table
from scoreprof_nb.report.comparison_verdict import (
    NO_COMPARISON,
    conditions_markdown,
    phases_markdown,
    sentence,
)
from scoreprof_nb.report.format import escape_html, escape_markdown
from scoreprof_nb.report.method_notes import note
from scoreprof_nb.report.overview import glossary
from scoreprof_nb.report.quiet import quiet_text

HISTORY_RUNS = 60
FLAME_GRAPHS = (
    "Differential flame graphs: open [diff_test.svg](diff_test.svg), which has the widths of test and shows "
    "new stacks, and [diff_control.svg](diff_control.svg), which has the widths of control and shows "
    "vanished ones."
)


def show_head(report: ComparisonReport | None, past: History | None) -> None:
    """The title, the answer, whether to trust it, the first table, what was compared, and the contents."""
    show(page_assets())
    if report is None:
        show(Html("<h1>Runs over time</h1>" if past else "<h1>No comparison</h1>"))
        show("" if past else NO_COMPARISON)
        return
    comparison = report.comparison
    show(Html(f"<h1>{escape_html(leads.title(report))}</h1>"))
    show(Html(f'<div class="sp-answer" id="answer"><p>{escape_html(sentence(report))}</p></div>'))
    quiet, correct = escape_markdown(quiet_text(comparison)), leads.correctness_lead(comparison)
    show(f"**Can it be trusted?** {quiet} [More](#launches)")
    show(f"**Is it still correct?** {correct} [More](#correctness)")
    show(group_change_table(comparison))
    show(Html('<h2 id="measured">What was compared</h2>'))
    lines = [f"- {escape_markdown(leads.sides_text(report))}", *phases_markdown(comparison)]
    show("\n".join([*lines, *conditions_markdown(report)]))
    show(glossary(COMPARISON_GLOSSARY))
    show(contents_of(make(report) for make in SECTIONS))


def verdicts(report: ComparisonReport) -> Section:
    """The verdict on each phase and metric."""
    comparison = report.comparison
    parts: list[Part] = [
        lambda: plots.plot_verdicts(comparison.metrics, report.mark),
        Table(tables.metrics_table(comparison), "Mean over the launches, and its change (95 % interval)"),
        Table(tables.evidence_table(comparison), "What the verdicts rest on", folded=True),
        note(method_notes.VERDICTS),
    ]
    return Section("verdict", "Is test faster?", leads.verdict_lead(report), parts)


def correctness(report: ComparisonReport) -> Section:
    """Guards, scores, failures, compiles and splits."""
    comparison = report.comparison
    parts: list[Part] = [
        Table(tables.guards_table(comparison), "Guards"),
        Table(tables.scores_table(comparison), "Scores", folded=not comparison.blocked),
        Table(tables.counts_table(comparison), "Requests (95 % interval of the share)", folded=True),
        Table(tables.batching_table(comparison), "Compiles and batches of a run", folded=True),
        note(method_notes.CORRECTNESS),
    ]
    return Section("correctness", "Is test still correct?", leads.correctness_lead(comparison), parts)


def cause(report: ComparisonReport) -> Section | None:
    """The request path of both sides."""
    comparison = report.comparison
    if comparison.components["change_ms"].isna().all():
        return None
    parts: list[Part] = [
        lambda: plots.plot_path_change(comparison.components, report.mark, comparison.catalog),
        Table(tables.components_table(comparison), "Components, the largest changes first (95 % interval)"),
        note(method_notes.CAUSE),
    ]
    return Section("cause", "Where the difference comes from", leads.cause_lead(comparison), parts)


def functions(report: ComparisonReport) -> Section | None:
    """Functions and stacks of working threads."""
    comparison = report.comparison
    changed, stacks = tables.functions_table(comparison), tables.stacks_table(comparison)
    changed = changed.rename(columns=lambda name: name.replace("_ms", " ms"))
    if changed.empty and stacks.empty:
        return None
    parts: list[Part] = [
        Table(rows, caption, folded=folded)
        for rows, caption, folded in (
            (changed, "Functions whose time changed most, ms per request", None),
            (stacks, "Stacks that vanished (only in control) or are new (only in test)", True),
        )
        if not rows.empty
    ]
    return Section(
        "functions", "Functions and stacks", leads.functions_lead(comparison), [*parts, FLAME_GRAPHS]
    )


def launches(report: ComparisonReport) -> Section:
    """Every launch in the order of time."""
    comparison = report.comparison
    parts: list[Part] = [
        lambda: plots.plot_launches(comparison.launches.values, report.mark),
        Table(launch_tables.stability_table(comparison), "What a mean hides"),
        Table(launch_tables.runs_table(comparison), "All launches", folded=True),
        note(method_notes.LAUNCHES),
    ]
    return Section("launches", "Was the machine quiet?", escape_markdown(quiet_text(comparison)), parts)


def noise(report: ComparisonReport) -> Section | None:
    """The noise between launches, and the pairs that a change takes."""
    rows = launch_tables.plan_table(report.comparison)
    if rows.empty:
        return None
    parts: list[Part] = [Table(rows, "Pairs that a change takes"), note(method_notes.PLAN)]
    return Section("noise", "What a smaller change would take", leads.noise_lead(report.comparison), parts)


def comparison_files(report: ComparisonReport) -> Section:
    """The files of the comparison."""
    lead = f"Everything that this report was made of, in {escape_markdown(str(report.folder))}."
    return Section("files", "Files", lead, [Table(files_table(report), "Files", folded=True)])


def over_time(past: History | None, catalog: Catalog) -> Section | None:
    """The latest runs of a folder."""
    if past is None:
        return None
    latest = past.latest(HISTORY_RUNS)
    parts: list[Part] = [
        lambda: plots.plot_history(latest.runs, latest.paths, catalog),
        Table(latest.table(), f"The latest {HISTORY_RUNS} runs", folded=True),
    ]
    return Section("history", "Over time", leads.history_lead(past), parts)


SECTIONS: tuple[Callable[[ComparisonReport], Section | None], ...] = (
    verdicts,
    cause,
    functions,
    launches,
    correctness,
    noise,
    comparison_files,
)
