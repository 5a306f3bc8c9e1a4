"""The capture of one phase: warm-up, blocks, and its folder, which appears only when it is complete."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from scoreprof_nb.capture.blocks import BlockMeasurement, BlockRecording, block_order
from scoreprof_nb.capture.device_trace import DeviceTraceCapture
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.memory import MemoryRecorder
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.server import Server
from scoreprof_nb.capture.thread_states import CpuRecorder
from scoreprof_nb.capture.warmup import PhaseWarmup
from scoreprof_nb.capture.workload import workload_fingerprint
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.files import recording_name
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Block, DeviceTrace, PhaseRecord
from scoreprof_nb.run_folder.store import write_phase, write_schedstat

WARM_REQUESTS = 9  # the last ones of a warm-up, of which at least five triggered no compile


def capture_phase(
    server: Server,
    plan: Plan,
    parameters: Parameters,
    folder: RunFolder,
    name: str,
    log_progress: LogProgress,
) -> None:
    """Capture one phase into the run folder. Raises ServerFailed when the server dies meanwhile."""
    bodies = plan.bodies[name]
    started_s = time.time()
    with folder.staged_phase(name) as staging:
        warming = PhaseWarmup(server, bodies, parameters, log_progress)
        warming.compile_batch_sizes()
        with LoadGenerator(
            server.url, bodies, parameters.concurrency, parameters.request_s, parameters.api_key()
        ) as load:
            warmup = warming.until_warm(load)
            log_progress(f"  warm-up: {warmup.requests} requests, {warmup.wall_s:.0f} s; {warmup.ended}")
            load.warming = False
            processes = server.processes()
            recorder = plan.recorder
            if recorder is not None:
                recorder.observe([process.pid for process in processes])
            order = block_order(parameters.phase_s, _request_s(load.rows))
            measurement = BlockMeasurement(server, load, processes, parameters, len(order), log_progress)
            blocks: list[Block] = []
            threads: list[dict[str, Any]] = []
            pids = [process.pid for process in processes]
            with MemoryRecorder(pids) as memory, CpuRecorder(pids, staging) as cpu:
                for number, profiled in enumerate(order):
                    recording = None
                    with ExitStack() as stack:
                        if profiled and recorder is not None:
                            output = staging / recording_name(number, recorder.suffix)
                            recording = BlockRecording(recorder, server, output, plan.redact)
                            stack.enter_context(cpu.reading(number))
                        block, rows = measurement.measure(number, recording)
                    blocks.append(block)
                    threads.extend(rows)
        server.check_alive()
        device_trace, traced_rows = _device_trace(server, plan, parameters, name, staging, log_progress)
        notes = [f"{kind}; the first one: {message}" for kind, message in load.failures.items()]
        measured = [row for row in load.rows if not row["warmup"]]
        answered = sum(row["error"] is None for row in measured)
        record = PhaseRecord(
            name=name,
            started_s=started_s,
            finished_s=time.time(),
            warmup=warmup,
            blocks=tuple(blocks),
            processes=processes,
            notes=tuple(map(plan.redact, notes)),
            workload=workload_fingerprint(bodies),
            cpu_quota=cpu.quota,
            device_trace=device_trace,
            answered=answered,
        )
        write_schedstat(staging, cpu.tables)
        write_phase(staging, record, _in_order(load), threads, memory.rows, traced_rows)
    failed = len(measured) - answered
    log_progress(f"  phase {name} done: {len(measured)} requests, {failed} failed; written")


def _request_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """How long a request of a warmed-up phase takes: the median of the last ones. 0 without any."""
    durations = [(row["done_ns"] - row["sent_ns"]) / 1e9 for row in rows[-WARM_REQUESTS:]]
    return median(durations) if durations else 0.0


def _device_trace(
    server: Server,
    plan: Plan,
    parameters: Parameters,
    phase: str,
    folder: Path,
    log_progress: LogProgress,
) -> tuple[DeviceTrace | None, list[dict[str, Any]]]:
    """The trace of some more requests of the phase, and their rows; nothing if it is switched off."""
    if not parameters.device_trace_s:
        return None, []
    api_key = parameters.api_key()
    load = LoadGenerator(
        server.url, plan.bodies[phase], parameters.concurrency, parameters.request_s, api_key
    )
    load.warming = False
    trace = DeviceTraceCapture(
        server, load, parameters.device_trace_s, plan.provenance, plan.redact, log_progress, api_key
    )
    return trace.capture(folder), _in_order(load)


def _in_order(load: LoadGenerator) -> list[dict[str, Any]]:
    return sorted(load.rows, key=lambda row: row["request"])
