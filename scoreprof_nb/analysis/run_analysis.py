"""All tables of a run, computed from its folder alone."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType

import pandas as pd

from scoreprof_nb.analysis import batching, breakdown, memory
from scoreprof_nb.analysis.capacity import Capacity, capacity
from scoreprof_nb.analysis.capture_checks import capture_checks
from scoreprof_nb.analysis.conditions import condition_checks
from scoreprof_nb.analysis.counts import RequestCounts, counts_check, request_counts, sequences_check
from scoreprof_nb.analysis.device_phase import DeviceAnalysis, analyse_device, device_traces
from scoreprof_nb.analysis.evidence import EVIDENCE_COLUMNS, evidence
from scoreprof_nb.analysis.gil import PAIR_COLUMNS, blocked_pairs
from scoreprof_nb.analysis.latency import (
    LATENCY_COLUMNS,
    Throughput,
    latency_rows,
    minimum_detectable_effect,
    throughput,
)
from scoreprof_nb.analysis.load import load_checks, load_of
from scoreprof_nb.analysis.observer import ObserverEffect, observer_effect
from scoreprof_nb.analysis.open_loop import OpenLoopStep, open_loop_step, with_queueing
from scoreprof_nb.analysis.prefix_cache import PrefixCache, prefix_cache
from scoreprof_nb.analysis.quality import FAILED_SHARE, CaptureQuality, Check, capture_quality, laws, limits
from scoreprof_nb.analysis.request_path import COLUMNS as PATH_COLUMNS
from scoreprof_nb.analysis.request_path import RequestPath, request_path
from scoreprof_nb.analysis.requests import MeasuredRequests, measured_requests
from scoreprof_nb.analysis.scores import Scores, dtype_of, scores, tolerance_of
from scoreprof_nb.analysis.state_checks import state_checks
from scoreprof_nb.analysis.thread_states import STATE_COLUMNS, BlockStates, phase_states, state_table
from scoreprof_nb.analysis.ticks import PhaseTicks, joint, phase_ticks
from scoreprof_nb.analysis.what_if import PhaseNumbers, WhatIfAnalysis, analyse_what_if, what_if_checks
from scoreprof_nb.analysis.what_if_stacks import busy_ms
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.device.trace import TraceTables, Unreadable
from scoreprof_nb.run_folder.records import Load
from scoreprof_nb.run_folder.store import Phase, Run


@dataclass(frozen=True)
class LatencyAnalysis:
    """``table``: columns LATENCY_COLUMNS; ``throughput``: requests and items per second."""

    table: pd.DataFrame
    throughput: Throughput | None
    observer_effect: ObserverEffect
    minimum_detectable_effect: float | None


@dataclass(frozen=True)
class ThreadAnalysis:
    """What the threads do: tables with the columns of breakdown.py.

    ``shares``: of each thread's ticks; ``cpu``: CPU time per request; ``states``: whether a thread at work
    ran (thread_states.py); ``blocked``: by which thread it was kept from running (gil.py); ``served``: the
    number of requests in the blocks that the tables are from.
    """

    shares: pd.DataFrame
    utilisation: pd.DataFrame
    cpu: pd.DataFrame
    hot_functions: pd.DataFrame
    states: pd.DataFrame
    blocked: pd.DataFrame
    evidence: pd.DataFrame
    served: float


@dataclass(frozen=True)
class BatchAnalysis:
    """``sizes``: columns of batching.COLUMNS; ``summary``: the phase's row of the batching table."""

    sizes: pd.DataFrame
    summary: Mapping[str, object]


@dataclass(frozen=True)
class QualityAnalysis:
    """``capture``: None if nothing was recorded."""

    capture: CaptureQuality | None
    scores: Scores
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class PhaseAnalysis:
    """The results of one phase, and the data that they were computed from."""

    phase: Phase
    load: Load
    ticks: PhaseTicks
    requests: MeasuredRequests
    counts: RequestCounts
    latency: LatencyAnalysis
    path: RequestPath
    capacity: Capacity
    threads: ThreadAnalysis
    memory: pd.DataFrame  # columns memory.COLUMNS
    memory_samples: pd.DataFrame  # columns memory.SAMPLE_COLUMNS
    batching: BatchAnalysis
    quality: QualityAnalysis
    device: DeviceAnalysis
    prefix_cache: PrefixCache
    open_loop: OpenLoopStep | None  # None: a closed loop
    what_if: WhatIfAnalysis | None = None  # None: no what-if blocks were measured

    @property
    def name(self) -> str:
        return self.phase.name


@dataclass(frozen=True)
class _Table:
    """A table of a run: where a phase has its part, and the columns of a run without a finished phase."""

    part: Callable[[PhaseAnalysis], pd.DataFrame]
    columns: Sequence[str]


_TABLES = MappingProxyType(
    {
        "latency": _Table(lambda phase: phase.latency.table, LATENCY_COLUMNS),
        "threads": _Table(lambda phase: phase.threads.shares, breakdown.THREAD_COLUMNS),
        "cpu": _Table(lambda phase: phase.threads.cpu, breakdown.CPU_COLUMNS),
        "evidence": _Table(lambda phase: phase.threads.evidence, EVIDENCE_COLUMNS),
        "hot": _Table(lambda phase: phase.threads.hot_functions, breakdown.HOT_COLUMNS),
        "utilisation": _Table(lambda phase: phase.threads.utilisation, breakdown.UTILISATION_COLUMNS),
        "states": _Table(lambda phase: phase.threads.states, STATE_COLUMNS),
        "blocked": _Table(lambda phase: phase.threads.blocked, PAIR_COLUMNS),
        "memory": _Table(lambda phase: phase.memory, memory.COLUMNS),
        "memory_samples": _Table(lambda phase: phase.memory_samples, memory.SAMPLE_COLUMNS),
        "batches": _Table(lambda phase: phase.batching.sizes, batching.COLUMNS),
    }
)


def concat_tables(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of all parts; an empty table with these columns if there are none."""
    filled = [part for part in parts if not part.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))


@dataclass(frozen=True)
class RunAnalysis:
    """The analysis of every finished phase, in order. ``catalog``: the components of the rules."""

    run: Run
    phases: tuple[PhaseAnalysis, ...]
    catalog: Catalog

    def table(self, name: str) -> pd.DataFrame:
        """One of the phases' tables, all phases concatenated. Raises KeyError for an unknown name.

        Names: latency, threads, cpu, evidence, hot, utilisation, states, blocked, memory,
        memory_samples, batches.
        """
        table = _TABLES[name]
        return concat_tables([table.part(phase) for phase in self.phases], table.columns)

    def paths(self) -> pd.DataFrame:
        """The request paths of all phases; column ``method``: joint or marginal."""
        parts = [phase.path.table.assign(method=phase.path.method) for phase in self.phases]
        return concat_tables(parts, (*PATH_COLUMNS, "method"))

    def status(self) -> str:
        """complete, partial or failed: as captured, and partial if too many requests failed or a phase was
        cut off."""
        captured = self.run.manifest.status
        if captured == "capturing":
            captured = "partial" if self.phases else "failed"
        if captured == "complete" and any(
            phase.requests.failed_share > FAILED_SHARE or phase.phase.record.cut_off for phase in self.phases
        ):
            return "partial"
        return captured


def analyse(run: Run, rules: RuleSet) -> RunAnalysis:
    """Analyse every finished phase of a run."""
    with ThreadPoolExecutor(1) as reader:  # it waits for another process, which reads the device's traces
        traces = reader.submit(device_traces, run.phases)
        hosts = [_analyse_host(run, phase, rules) for phase in run.phases.values()]
    phases = tuple(_with_device(host, traces.result().get(host.name)) for host in hosts)
    return RunAnalysis(run, phases, rules.catalog)


def _with_device(host: PhaseAnalysis, trace: TraceTables | Unreadable | None) -> PhaseAnalysis:
    return replace(host, device=analyse_device(host.phase, trace, host.requests, host.path))


def _analyse_host(run: Run, phase: Phase, rules: RuleSet) -> PhaseAnalysis:
    """All but the device, whose trace is being read meanwhile."""
    load = load_of(phase.record, run.manifest.parameters)
    ticks = phase_ticks(phase, rules)
    on_path = joint(ticks)
    requests = _with_stacks(measured_requests(phase, run.log, load), on_path)
    thread_cpu = breakdown.thread_cpu(ticks, rules)
    step = open_loop_step(requests, phase.record.blocks, load)
    latency = _latency(phase, requests, step)
    states = phase_states(ticks)
    threads = _threads(ticks, states, requests, rules)
    thread_capacity = capacity(ticks, threads.served)
    path = request_path(on_path, requests, load, run.log, thread_capacity)
    capture = capture_quality(ticks, thread_cpu)
    cache = prefix_cache(phase, run.log, requests)
    table = latency.table
    profiled_ms = float(table.loc[table["which"] == "with py-spy", "mean_ms"].iloc[0])
    counts = request_counts(phase, requests, run.log)
    numbers = PhaseNumbers(busy_ms(ticks, threads.served), path.component_ms(), profiled_ms)
    what_if = analyse_what_if(phase, load, run.log, rules, numbers)
    checks = (
        *laws(ticks, threads.shares, threads.cpu, thread_cpu, threads.served, path, profiled_ms),
        *limits(phase.name, capture, requests.failed_share, ticks.failures),
        counts_check(counts),
        sequences_check(counts, load.concurrency),
        *condition_checks(
            phase.name,
            phase.record.warmup,
            requests,
            latency.observer_effect,
            None if capture is None else capture.rate_hz,
        ),
        *state_checks(ticks, states, threads.states),
        *capture_checks(phase),
        *load_checks(phase.name, str(run.manifest.parameters.get("prefix_cache", "")), cache, step),
        *what_if_checks(phase.name, what_if),
    )
    tolerance = tolerance_of(dtype_of(run.provenance))
    return PhaseAnalysis(
        phase=phase,
        load=load,
        ticks=ticks,
        requests=requests,
        counts=counts,
        latency=latency,
        path=path,
        capacity=thread_capacity,
        threads=threads,
        memory=memory.memory(phase, requests, rules),
        memory_samples=memory.memory_samples(phase, rules),
        batching=BatchAnalysis(
            sizes=batching.prefill_batches(phase, run.log),
            summary=batching.batching_row(phase, run.log, requests),
        ),
        quality=QualityAnalysis(capture, scores(phase.requests, tolerance), checks),
        device=DeviceAnalysis(None, None, "the device trace is not read yet"),
        prefix_cache=cache,
        open_loop=step,
        what_if=what_if,
    )


def _latency(phase: Phase, requests: MeasuredRequests, step: OpenLoopStep | None) -> LatencyAnalysis:
    rows = latency_rows(phase.name, requests)
    return LatencyAnalysis(
        table=pd.DataFrame(rows if step is None else with_queueing(rows, step)),
        throughput=throughput(phase, requests),
        observer_effect=observer_effect(requests),
        minimum_detectable_effect=minimum_detectable_effect(requests),
    )


def _threads(
    ticks: PhaseTicks, states: tuple[BlockStates, ...], requests: MeasuredRequests, rules: RuleSet
) -> ThreadAnalysis:
    served = breakdown.requests_served(ticks, requests)
    kernel = breakdown.kernel_cpu(ticks, rules)
    at_work = state_table(ticks, states, requests)
    return ThreadAnalysis(
        shares=breakdown.thread_breakdown(ticks, kernel),
        utilisation=breakdown.utilisation(ticks),
        cpu=breakdown.cpu_per_request(ticks, kernel, requests),
        hot_functions=breakdown.hot_functions(ticks, served),
        states=at_work,
        blocked=blocked_pairs(states, at_work, ticks.catalog),
        evidence=evidence(ticks, served),
        served=served,
    )


def _with_stacks(requests: MeasuredRequests, ticks: PhaseTicks) -> MeasuredRequests:
    """Requests of a block whose recording cannot be read, or is left out of the request path, do not count
    as profiled: the path sums to the mean latency of those that do."""
    readable = requests.table["block"].isin([block.block.number for block in ticks.blocks])
    return MeasuredRequests(requests.table.assign(profiled=requests.table["profiled"] & readable))
