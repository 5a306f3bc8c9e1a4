"""What a reader must know besides the answer: the limits of the numbers, and what is missing."""

from scoreprof_nb.analysis.rule_matches import unmatched_rules
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.report.answer import trust
from scoreprof_nb.report.device_tables import device_summary
from scoreprof_nb.report.findings import MARGINAL, busiest_thread
from scoreprof_nb.report.format import code_block, escape_markdown, milliseconds
from scoreprof_nb.report.profile import Report

SHOWN_RULES = 5


def verdict_markdown(report: Report) -> str:
    """Markdown: how far the answer can be trusted, and what a reader must know besides it."""
    analysis = report.analysis
    parts = [f"**Can it be trusted?** {escape_markdown(trust(report))} [More](#quality)"]
    if analysis.run.manifest.failure:
        parts.append(f"The run ended early:\n\n{code_block(analysis.run.manifest.failure)}")
    parts.append(device_summary(report))
    notes = [note for phase in analysis.phases for note in _phase_notes(phase)]
    unmatched = unmatched_rules(analysis, report.rules)
    if unmatched:
        more = f" and {len(unmatched) - SHOWN_RULES} more" if len(unmatched) > SHOWN_RULES else ""
        notes.append(f"Rules without a match in this run: {', '.join(unmatched[:SHOWN_RULES])}{more}.")
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in notes))
    return "\n\n".join(filter(None, parts))


def _phase_notes(phase: PhaseAnalysis) -> list[str]:
    """Plain texts: failed requests, and why the request path is missing or less exact."""
    notes = []
    if phase.requests.failed:
        notes.append(f"{phase.name}: {phase.requests.failed:,} requests failed.")
    if phase.path.table.empty:
        notes.append(f"{phase.name}: No request path: {phase.path.reason}. {busiest_thread(phase)}".rstrip())
    elif phase.path.method == "marginal":
        notes.append(f"{phase.name}: {MARGINAL}, because {phase.path.reason}.")
    return notes


def path_notes(report: Report) -> str:
    """A Markdown list: the method of each phase's request path, or why there is none."""
    joint = [phase.name for phase in report.analysis.phases if phase.path.method == "joint"]
    lines = [f"joint method, all threads on one clock: {', '.join(joint)}"] if joint else []
    for phase in report.analysis.phases:
        if phase.path.method is None:
            lines.append(f"{phase.name}: no request path: {phase.path.reason}")
        elif phase.path.method != "joint":
            lines.append(f"{phase.name}: {phase.path.method} method, because {phase.path.reason}")
    unseen = [
        f"{phase.name} {milliseconds(phase.path.unseen_high_ms)}"
        for phase in report.analysis.phases
        if phase.path.unseen_high_ms is not None
    ]
    if unseen:
        lines.append(f"a component that no sample shows takes at most: {', '.join(unseen)}")
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)
