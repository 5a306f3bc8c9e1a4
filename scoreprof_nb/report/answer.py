"""The answer in one sentence, and how far it can be trusted in another."""

from collections.abc import Sequence

from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.components.catalog import IPC_AND_WAKEUP, UNCLASSIFIED
from scoreprof_nb.report.component_findings import ComponentFinding
from scoreprof_nb.report.findings import busiest_thread
from scoreprof_nb.report.format import interval, milliseconds, percent, percent_change, share, speedup
from scoreprof_nb.report.group_table import group_sums, items_text, kind_sums
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import mark

# What no change of the server's Python code removes.
_NOTHING_TO_TRY = frozenset({IPC_AND_WAKEUP, UNCLASSIFIED})


def answer(report: Report) -> str:
    """Plain text: what limits the largest requests, by how much, how sure that is, and what to try first."""
    phase = answered_phase(report)
    if phase is None:
        return _without_path(report)
    groups = group_sums(phase)
    first = groups.nlargest(1, "mean_ms").iloc[0]
    latency = phase.path.table["latency_ms"].iloc[0]
    text = (
        f"A {phase.name} request ({items_text(phase)}) is limited by {_named(str(first['group']))}: "
        f"{milliseconds(first['mean_ms'])} (95 % interval {interval(first['low'], first['high'])}) of its "
        f"{milliseconds(latency)}, that is "
        f"{share(first['share'], first['share_low'], first['share_high'], 0)}."
    )
    return f"{text} {_try_first(report, phase)}".rstrip()


def answered_phase(report: Report) -> PhaseAnalysis | None:
    """The phase of the largest requests of one size that has a request path; None if none has one."""
    phases = [phase for phase in report.analysis.phases if not phase.path.table.empty]
    one_size = [phase for phase in phases if phase.requests.table["items"].nunique() == 1]
    return max(
        one_size or phases, key=lambda phase: float(phase.path.table["latency_ms"].iloc[0]), default=None
    )


def first_to_try(report: Report, phase: PhaseAnalysis) -> ComponentFinding | None:
    """The host's largest cost in a phase that a change of the server's code can remove; None without one."""
    candidates = [
        finding
        for finding in report.component_findings
        if finding.group.kind == "host"
        and finding.component.name not in _NOTHING_TO_TRY
        and phase.name in finding.costs
    ]
    return max(candidates, key=lambda finding: finding.costs[phase.name].ms_per_request, default=None)


def _try_first(report: Report, phase: PhaseAnalysis) -> str:
    finding = first_to_try(report, phase)
    if finding is None:
        return "No part of the host's work is larger than its interval."
    cost = finding.costs[phase.name]
    host_ms = kind_sums(phase).set_index("group")["mean_ms"].to_dict()["host"]
    host = f"Of the host's {milliseconds(host_ms)}, "
    place = f", in {finding.evidence.place}" if finding.evidence else ""
    at_most = "" if cost.max_speedup is None else f"; without it at most {speedup(cost.max_speedup)} as fast"
    doubt = mark(phase.what_if, finding.component.name)
    return (
        f"{host}try first {finding.component.name} ({finding.component.meaning}): "
        f"{milliseconds(cost.ms_per_request)} ({interval(cost.low, cost.high)}){place}{at_most}"
        f"{f'; {doubt}' if doubt else ''}."
    )


def trust(report: Report) -> str:
    """Plain text: which checks passed, what py-spy costs, and how much was lost."""
    phases = report.analysis.phases
    checks = [check for phase in phases for check in phase.quality.checks]
    failed = [check for check in checks if check.passed is False]
    ran = sum(check.passed is not None for check in checks)
    parts = []
    if not failed:
        parts.append(f"All {ran} checks of sums, samples and counts passed")
    else:
        parts.append(f"{len(failed)} of {ran} checks failed: {_by_name(failed)}")
    not_run = len(checks) - ran
    if not_run:
        parts[-1] += f" ({not_run} could not be run)"
    parts += _observer(phases)
    lost = [phase.quality.capture.lost_share for phase in phases if phase.quality.capture is not None]
    if lost:
        parts.append(f"at most {percent(max(lost))} of a process's samples were lost")
    consistent = {phase.quality.scores.consistent for phase in phases}
    if consistent == {True}:
        parts.append("equal requests got equal scores")
    elif False in consistent:
        parts.append("equal requests got DIFFERENT scores")
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def _by_name(failed: Sequence[Check]) -> str:
    """The checks with the phases in which they failed; their texts are in the section about quality."""
    phases: dict[str, list[str]] = {}
    for check in failed:
        phases.setdefault(check.name, []).append(check.phase)
    return "; ".join(f"{name} (not in {', '.join(where)})" for name, where in phases.items())


def _observer(phases: Sequence[PhaseAnalysis]) -> list[str]:
    """How much longer the mean request takes with py-spy attached, where it is known."""
    effects = [(phase.name, phase.latency.observer_effect) for phase in phases]
    known = [(name, effect) for name, effect in effects if effect.mean_ratio is not None]
    if not known:
        return []
    texts = [
        f"{name} {percent_change(effect.mean_ratio)} "
        f"({percent_change(effect.mean_low)} to {percent_change(effect.mean_high)})"
        for name, effect in known
    ]
    unclear = all((effect.mean_low or 0) <= 1 <= (effect.mean_high or 0) for _, effect in known)
    end = ", which is within chance" if unclear else ""
    return [f"attaching py-spy changes the mean latency by {', '.join(texts)}{end}"]


def _named(group: str) -> str:
    return {"device": "the device", "scheduler": "the scheduler", "tokenizer": "the tokenizer"}.get(
        group, group
    )


def _without_path(report: Report) -> str:
    phases = report.analysis.phases
    if not phases:
        return "No phase was finished: nothing is known."
    phase = phases[-1]
    reason = f"What a request waits for is not known: {phase.path.reason}."
    return f"{reason} {phase.name}: {busiest_thread(phase)}" if busiest_thread(phase) else reason
