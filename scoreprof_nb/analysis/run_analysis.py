"""All tables of a run, computed from its folder alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis import batching, breakdown
from scoreprof_nb.analysis.latency import (
    LATENCY_COLUMNS,
    ObserverEffect,
    Scores,
    latency_rows,
    minimum_detectable_effect,
    observer_effect,
    scores,
    throughput,
)
from scoreprof_nb.analysis.quality import FAILED_SHARE, Check, Quality, laws, limits, quality
from scoreprof_nb.analysis.request_path import COLUMNS as PATH_COLUMNS
from scoreprof_nb.analysis.request_path import RequestPath, request_path
from scoreprof_nb.analysis.requests import MeasuredRequests, measured_requests
from scoreprof_nb.analysis.ticks import PhaseTicks, phase_ticks
from scoreprof_nb.components.classify import classify, deciding_rules, unclassified_stacks
from scoreprof_nb.components.rules import Rule, RuleSet, rule_text
from scoreprof_nb.run_folder.store import Phase, Run


@dataclass(frozen=True)
class PhaseAnalysis:
    """Everything that is said of one phase; the tables have the columns of the functions that make them."""

    phase: Phase
    ticks: PhaseTicks
    requests: MeasuredRequests
    failed: int
    latency: pd.DataFrame
    throughput: tuple[float, float] | None
    path: RequestPath
    threads: pd.DataFrame
    cpu: pd.DataFrame
    hot: pd.DataFrame
    utilisation: pd.DataFrame
    batches: pd.DataFrame
    batching: dict[str, object]
    quality: Quality | None
    observer: ObserverEffect
    minimum_detectable_effect: float | None
    scores: Scores
    checks: tuple[Check, ...]
    served: float

    @property
    def name(self) -> str:
        return self.phase.name


COLUMNS = {  # of the tables of a run in which no phase was finished
    "latency": LATENCY_COLUMNS,
    "threads": breakdown.THREAD_COLUMNS,
    "cpu": breakdown.CPU_COLUMNS,
    "hot": breakdown.HOT_COLUMNS,
    "utilisation": breakdown.UTILISATION_COLUMNS,
    "batches": batching.COLUMNS,
}


def concat_tables(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of all parts; an empty table with these columns when there are none."""
    filled = [part for part in parts if not part.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))


@dataclass(frozen=True)
class RunAnalysis:
    """The analysis of every finished phase, in order."""

    run: Run
    phases: tuple[PhaseAnalysis, ...]

    def table(self, name: str) -> pd.DataFrame:
        """One of the phases' tables, all phases below each other."""
        parts: list[pd.DataFrame] = [getattr(phase, name) for phase in self.phases]
        return concat_tables(parts, COLUMNS[name])

    def paths(self) -> pd.DataFrame:
        """The request paths of all phases; column ``method`` says how each was found: joint or marginal."""
        parts = [phase.path.table.assign(method=phase.path.method) for phase in self.phases]
        return concat_tables(parts, (*PATH_COLUMNS, "method"))

    def status(self) -> str:
        """complete, partial or failed: as captured, and partial when too many requests failed."""
        captured = self.run.manifest.status
        if captured == "capturing":
            captured = "partial" if self.phases else "failed"
        if captured == "complete" and any(
            phase.failed > FAILED_SHARE * max(len(phase.requests.table), 1) for phase in self.phases
        ):
            return "partial"
        return captured


def analyse(run: Run, rules: RuleSet, seed: int, say: Callable[[str], None]) -> RunAnalysis:
    """Analyse every finished phase of a run; ``say`` is told of each."""
    concurrency = int(run.manifest.parameters.get("concurrency", 1))
    phases = []
    for name, phase in run.phases.items():
        say(f"analysing phase {name}")
        phases.append(_analyse_phase(run, phase, rules, concurrency, seed))
    return RunAnalysis(run, tuple(phases))


def _analyse_phase(run: Run, phase: Phase, rules: RuleSet, concurrency: int, seed: int) -> PhaseAnalysis:
    ticks = phase_ticks(phase, rules)
    requests = _with_stacks(measured_requests(phase, run.log, concurrency), ticks)
    accounted = breakdown.accounted(ticks, rules)
    failed = int((~requests.table["ok"]).sum())
    served = breakdown.requests_served(ticks, requests)
    kernel = breakdown.kernel_cpu(ticks, rules)
    threads = breakdown.thread_breakdown(ticks, kernel, seed)
    cpu = breakdown.cpu_per_request(ticks, kernel, requests, seed)
    path = request_path(ticks, requests, concurrency, seed)
    found = quality(ticks, accounted)
    latency = pd.DataFrame(latency_rows(phase.name, requests, seed))
    profiled_ms = float(latency.loc[latency["which"] == "with py-spy", "mean_ms"].iloc[0])
    failed_share = failed / max(len(requests.table), 1)
    return PhaseAnalysis(
        phase=phase,
        ticks=ticks,
        requests=requests,
        failed=failed,
        latency=latency,
        throughput=throughput(phase, requests),
        path=path,
        threads=threads,
        cpu=cpu,
        hot=breakdown.hot_functions(ticks, served),
        utilisation=breakdown.utilisation(ticks, seed),
        batches=batching.prefill_batches(phase, run.log),
        batching=batching.batching_row(phase, run.log, requests),
        quality=found,
        observer=observer_effect(requests, seed),
        minimum_detectable_effect=minimum_detectable_effect(requests),
        scores=scores(phase.requests),
        checks=(
            *laws(ticks, threads, cpu, accounted, served, path, profiled_ms),
            *limits(phase.name, found, failed_share, ticks.failures),
        ),
        served=served,
    )


def _with_stacks(requests: MeasuredRequests, ticks: PhaseTicks) -> MeasuredRequests:
    """Requests of a block whose recording cannot be read are not profiled ones: no stack is of them."""
    readable = requests.table["block"].isin([block.block.number for block in ticks.blocks])
    return MeasuredRequests(requests.table.assign(profiled=requests.table["profiled"] & readable))


def unclassified_table(analysis: RunAnalysis, rules: RuleSet, limit: int = 10) -> pd.DataFrame:
    """The most frequent unclassified stacks, each with a rule to be pasted into a rules file.

    Columns: phase, process, thread, samples, share (of the thread's samples in the phase), stack
    (innermost frame first, eight frames), rule (empty for a stack without frames).
    """
    keys = ["phase", "process", "thread"]
    rows, all_samples = [], Counter[tuple[str, str, str]]()
    for phase in analysis.phases:
        for block in phase.ticks.blocks:
            activities = classify(block.table, rules)
            for activity in activities:
                role = activity.role
                all_samples[phase.name, role.process, role.thread] += activity.samples.ticks
            for (role, stack_id), samples in unclassified_stacks(block.table, activities).items():
                frames = block.table.stack(stack_id)[-8:]
                text = " < ".join(f"{frame.name} ({frame.file}:{frame.line})" for frame in reversed(frames))
                rule = rule_text(rules, role.process, role.thread, frames[-1]) if frames else ""
                row = (phase.name, role.process, role.thread, text or "(no Python frame)", rule, samples)
                rows.append(row)
    table = pd.DataFrame(rows, columns=[*keys, "stack", "rule", "samples"])
    summed = table.groupby([*keys, "stack", "rule"])[["samples"]].sum().reset_index()
    top = summed.sort_values("samples", ascending=False, ignore_index=True).head(limit)
    of_thread = [all_samples[key] for key in top[keys].itertuples(index=False, name=None)]
    top["share"] = top["samples"] / of_thread
    return top[[*keys, "samples", "share", "stack", "rule"]]


def unmatched_rules(analysis: RunAnalysis, rules: RuleSet) -> list[str]:
    """The rules of the user's file that decided no stack of the run: file and number of each."""
    if not rules.own:
        return []
    used = set[Rule]()
    for phase in analysis.phases:
        for block in phase.ticks.blocks:
            used |= deciding_rules(block.table, rules)
    return [rule.where for rule in rules.own if rule not in used]
