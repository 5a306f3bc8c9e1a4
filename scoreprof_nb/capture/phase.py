"""The capture of one phase: warm-up, blocks, and its folder, which appears only when it is complete."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from scoreprof_nb.capture.blocks import BlockMeasurement, BlockRecording, block_order
from scoreprof_nb.capture.client import ScoreClient, send_watched
from scoreprof_nb.capture.device_trace import DeviceTraceCapture
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.memory import MemoryRecorder
from scoreprof_nb.capture.open_loop import START_S, OpenLoop, poisson
from scoreprof_nb.capture.phase_writer import PhaseWriter
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import StepWatch, now_ns, now_s
from scoreprof_nb.capture.server import Server
from scoreprof_nb.capture.thread_states import CpuRecorder
from scoreprof_nb.capture.warmup import PhaseWarmup
from scoreprof_nb.capture.workload import Workload
from scoreprof_nb.parameters.load import PhasePlan
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.files import recording_name
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import DeviceTrace, Load, PhaseRecord, Warmup

WARM_REQUESTS = 9  # the last ones of a warm-up, of which at least five triggered no compile
WARMUP_IN_FLIGHT = 4  # before an open loop: batches of several requests are met too
LEAD_IN_SHARE, SHORTEST_LEAD_IN_S = 0.1, 1.0  # of an open loop: its queue is empty at first


@dataclass(frozen=True)
class _Running:
    """A load after its warm-up. ``rows``: of a load that warmed the server up before it."""

    load: RequestLog
    warmup: Warmup
    rows: tuple[dict[str, Any], ...] = ()


def capture_phase(
    server: Server,
    plan: Plan,
    parameters: Parameters,
    folder: RunFolder,
    name: str,
    log_progress: LogProgress,
    capacity_per_s: float | None = None,
) -> None:
    """Capture one phase into the run folder. Raises ServerFailed when the server dies meanwhile.

    ``capacity_per_s``: as measured for an open loop's rate, for the record.
    """
    phase = PhasePlan.parse(name)
    workload = plan.workloads.of(name)
    load_plan = _load_plan(phase, workload, parameters)
    started_s = now_s()
    with folder.staged_phase(name) as staging:
        warming = PhaseWarmup(server, workload, parameters, log_progress)
        warming.compile_batch_sizes()
        start = _closed_loop if load_plan.loop == "closed" else _timed
        with start(server, workload, load_plan, parameters, warming, name) as running:
            load, warmup = running.load, running.warmup
            log_progress(f"  warm-up: {warmup.requests} requests, {warmup.wall_s:.0f} s; {warmup.ended}")
            processes = server.processes()
            recorder = plan.recorder
            pids = [process.pid for process in processes]
            python_threads = recorder.observe(pids) if recorder is not None else {}
            order = block_order(parameters.phase_s, _request_s([*running.rows, *load.rows]))
            clock = StepWatch()
            measurement = BlockMeasurement(
                server, load, processes, parameters, len(order), log_progress, clock
            )
            begun = PhaseRecord(
                name=name,
                started_s=started_s,
                finished_s=now_s(),
                warmup=warmup,
                blocks=(),
                processes=processes,
                workload=workload.fingerprint(),
                kind=phase.kind,
                load=replace(load_plan, capacity_per_s=capacity_per_s),
                planned_blocks=len(order),
            )
            writer = PhaseWriter(staging, begun, load, running.rows)
            with MemoryRecorder(pids) as memory, CpuRecorder(pids, staging, python_threads) as cpu:
                for number, profiled in enumerate(order):
                    recording = None
                    with ExitStack() as stack:
                        if profiled and recorder is not None:
                            output = staging / recording_name(number, recorder.suffix)
                            recording = BlockRecording(recorder, server, output, plan.redact)
                            stack.enter_context(cpu.reading(number))
                        block, rows = measurement.measure(number, recording)
                    writer.add(block, rows, memory, cpu, clock)
        writer.end_of_load(memory)
        server.check_alive()
        repeats, failures = _repeats(server, workload, parameters, writer.sent)
        device_trace, traced_rows = _device_trace(
            server, plan, parameters, name, load_plan.concurrency or 1, staging, log_progress
        )
        notes = [
            f"{kind}; the first one: {message}" for kind, message in {**failures, **load.failures}.items()
        ]
        client_cpu_s = _client_cpu_s(load)
        record = replace(
            writer.record,
            finished_s=now_s(),
            notes=tuple(map(plan.redact, notes)),
            load=replace(load_plan, capacity_per_s=capacity_per_s, client_cpu_s=client_cpu_s),
            cpu_quota=cpu.quota,
            device_trace=device_trace,
            answered=writer.answered,
        )
        writer.finish(record, repeats, traced_rows, client_cpu_s)
    failed = writer.measured - writer.answered
    log_progress(f"  phase {name} done: {writer.measured} requests, {failed} failed; written")


def _load_plan(phase: PhasePlan, workload: Workload, parameters: Parameters) -> Load:
    timeout_s = parameters.request_s
    if phase.rate_per_s is not None:
        return Load("open", offered_per_s=phase.rate_per_s, timeout_s=timeout_s)
    if workload.send_at_s:
        inside = sum(at_s < parameters.phase_s for at_s in workload.send_at_s)
        return Load("replay", offered_per_s=inside / parameters.phase_s, timeout_s=timeout_s)
    return Load("closed", concurrency=phase.concurrency, timeout_s=timeout_s)


@contextmanager
def _closed_loop(
    server: Server, workload: Workload, plan: Load, parameters: Parameters, warming: PhaseWarmup, name: str
) -> Iterator[_Running]:
    assert plan.concurrency is not None
    with LoadGenerator(
        server.url, workload, plan.concurrency, parameters.request_s, parameters.api_key()
    ) as load:
        warmup = warming.until_warm(load)
        load.warming = False
        yield _Running(load, warmup)


@contextmanager
def _timed(
    server: Server, workload: Workload, plan: Load, parameters: Parameters, warming: PhaseWarmup, name: str
) -> Iterator[_Running]:
    """An open loop or a replay, after a warm-up in a closed loop."""
    with LoadGenerator(
        server.url, workload, WARMUP_IN_FLIGHT, parameters.request_s, parameters.api_key()
    ) as closed:
        warmup = warming.until_warm(closed)
    if plan.loop == "replay":
        times_s, lead_in_s = iter(workload.send_at_s), 0.0
    else:
        assert plan.offered_per_s is not None
        times_s = poisson(plan.offered_per_s, f"{parameters.seed}/{name}")
        lead_in_s = max(LEAD_IN_SHARE * parameters.phase_s, SHORTEST_LEAD_IN_S)
    with OpenLoop(
        server.url, workload, times_s, parameters.request_s, parameters.api_key(), len(closed.rows)
    ) as load:
        load.measured_from_ns = load.start_ns + round(lead_in_s * 1e9)
        time.sleep(START_S + lead_in_s)
        yield _Running(load, warmup, tuple(closed.rows))


def _client_cpu_s(load: RequestLog) -> float | None:
    return load.cpu_s if isinstance(load, OpenLoop) else None


def _repeats(
    server: Server, workload: Workload, parameters: Parameters, first: int
) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """Send the first requests once more: does the server agree with itself? Rows and failures."""
    log = RequestLog()
    with ScoreClient(server.url, parameters.request_s, parameters.api_key()) as client:
        for number in range(workload.repeated):
            server.check_alive()
            body = workload.request(number)
            log.sent(first + number)
            sent_ns = now_ns()
            response = send_watched(client, body, server.check_alive)
            log.answered(
                first + number,
                body,
                response,
                warmup=False,
                repeat=True,
                worker=0,
                intended_ns=sent_ns,
                sent_ns=sent_ns,
                done_ns=now_ns(),
                client_cpu_ns=0,
            )
    return log.rows, log.failures


def _request_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """How long a request of a warmed-up phase takes: the median of the last ones. 0 without any."""
    durations = [(row["done_ns"] - row["sent_ns"]) / 1e9 for row in rows[-WARM_REQUESTS:]]
    return median(durations) if durations else 0.0


def _device_trace(
    server: Server,
    plan: Plan,
    parameters: Parameters,
    phase: str,
    concurrency: int,
    folder: Path,
    log_progress: LogProgress,
) -> tuple[DeviceTrace | None, list[dict[str, Any]]]:
    """The trace of some more requests of the phase's kind, new to the prefix cache, and their rows.

    An open loop's are sent one at a time. Nothing if the trace is switched off.
    """
    if not parameters.device_trace_s:
        return None, []
    api_key = parameters.api_key()
    workload = plan.workloads.of(phase, "device trace")
    load = LoadGenerator(server.url, workload, concurrency, parameters.request_s, api_key)
    load.warming = False
    trace = DeviceTraceCapture(
        server, load, parameters.device_trace_s, plan.provenance, plan.redact, log_progress, api_key
    )
    return trace.capture(folder), _in_order(load.rows)


def _in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["request"])
