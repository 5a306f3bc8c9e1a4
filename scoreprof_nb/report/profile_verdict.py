"""The verdict on a run in words: where the time goes, and the limits of the numbers."""

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, unmatched_rules
from scoreprof_nb.report.device_tables import device_sentence
from scoreprof_nb.report.findings import MARGINAL, busiest_thread, latency_with_interval, limiting_thread
from scoreprof_nb.report.format import code_block, escape_markdown, milliseconds, percent, with_interval
from scoreprof_nb.report.profile import Report

SHOWN_RULES = 5
LARGEST_COMPONENTS = 4


def verdict_markdown(report: Report) -> str:
    """Markdown: where the time goes, in a few lines."""
    analysis = report.analysis
    manifest = analysis.run.manifest
    name = escape_markdown(f"Run {manifest.run_id} ({manifest.label}): {analysis.status()}.")
    lines = [f"**{name}**"]
    if manifest.failure:
        lines.append(f"\n{code_block(manifest.failure)}\n")
    lines += [f"- **{escape_markdown(phase.name)}**: {_phase_verdict(phase)}" for phase in analysis.phases]
    failed = sum(check.passed is False for phase in analysis.phases for check in phase.quality.checks)
    if failed:
        lines.append(f"\n**{failed} checks failed.** See Capture quality before you use these numbers.")
    unmatched = unmatched_rules(analysis, report.rules)
    if unmatched:
        more = f" and {len(unmatched) - SHOWN_RULES} more" if len(unmatched) > SHOWN_RULES else ""
        rules = escape_markdown(", ".join(unmatched[:SHOWN_RULES]))
        lines.append(f"\nRules without a match in this run: {rules}{more}.")
    return "\n".join(lines)


def _phase_verdict(phase: PhaseAnalysis) -> str:
    plain = phase.latency.table.set_index("which").loc["all"].to_dict()
    p50, mean = (latency_with_interval(plain, name, " ms") for name in ("p50", "mean"))
    text = f"p50 {p50}, mean {mean} over {plain['requests']} requests without py-spy"
    if phase.requests.failed:
        text += f"; **{phase.requests.failed} requests failed**"
    return f"{text}. {_request_path(phase)}{_device(phase)}"


def _device(phase: PhaseAnalysis) -> str:
    """What the device trace shows; nothing if none was asked for."""
    if phase.device.work is None and phase.phase.record.device_trace is None:
        return ""
    return f" Device: {device_sentence(phase)}"


def _request_path(phase: PhaseAnalysis) -> str:
    """What the average profiled request waits for, or why that is not known."""
    path = phase.path.table
    if path.empty:
        return escape_markdown(f"No request path: {phase.path.reason}. {busiest_thread(phase)}".rstrip())
    largest = "; ".join(
        f"{row['component']} {with_interval(row['mean_ms'], row['low'], row['high'], ' ms')}"
        f", {percent(row['share'], 0)}"
        for row in path.head(LARGEST_COMPONENTS).to_dict("records")
    )
    hits = phase.batching.summary["compile_hit"]
    compiled = f" Requests hit by a compile: {hits}." if hits else ""
    method = f"; {MARGINAL}" if phase.path.method == "marginal" else ""
    latency = milliseconds(path["latency_ms"].iloc[0])
    queued = _queued(phase)
    return (
        f"The average profiled request ({latency}{method}) waits for: {escape_markdown(largest)}."
        f"{queued}{compiled}"
    )


def _queued(phase: PhaseAnalysis) -> str:
    """A sentence about the queue; empty with one request in flight."""
    queued = phase.path.queued
    if queued.empty:
        return ""
    first = queued.iloc[0]
    thread = limiting_thread(phase) or "not known"
    return (
        f" {milliseconds(queued['mean_ms'].sum())} of it is spent in queues, most behind "
        f"{escape_markdown(first['component'])} ({milliseconds(first['mean_ms'])}); the thread that limits "
        f"throughput: {escape_markdown(thread)}."
    )


def path_notes(report: Report) -> str:
    """A Markdown list: the method of each phase's request path, or why there is none."""
    lines = []
    for phase in report.analysis.phases:
        if phase.path.method is None:
            text = f"no request path: {phase.path.reason}"
        else:
            text = f"{phase.path.method} ({phase.path.reason})" if phase.path.reason else phase.path.method
            text += f"; a component without a row takes at most {milliseconds(phase.path.unseen_high_ms)}"
        lines.append(f"- {escape_markdown(f'{phase.name}: {text}')}")
    return "\n".join(lines)
