"""The capture of one phase: warm-up, blocks, and its folder, which appears only when it is complete."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from scoreprof_nb.capture.blocks import BlockMeasurement, BlockRecording, block_order
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.memory import MemoryRecorder
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.server import Server
from scoreprof_nb.capture.warmup import PhaseWarmup
from scoreprof_nb.capture.workload import workload_fingerprint
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.files import recording_name
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Block, PhaseRecord
from scoreprof_nb.run_folder.store import write_phase

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
            with MemoryRecorder([process.pid for process in processes]) as memory:
                for number, profiled in enumerate(order):
                    recording = None
                    if profiled and recorder is not None:
                        output = staging / recording_name(number, recorder.suffix)
                        recording = BlockRecording(recorder, server, output, plan.redact)
                    block, rows = measurement.measure(number, recording)
                    blocks.append(block)
                    threads.extend(rows)
        server.check_alive()
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
            answered=answered,
        )
        write_phase(staging, record, sorted(load.rows, key=lambda row: row["request"]), threads, memory.rows)
    failed = len(measured) - answered
    log_progress(f"  phase {name} done: {len(measured)} requests, {failed} failed; written")


def _request_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """How long a request of a warmed-up phase takes: the median of the last ones. 0 without any."""
    durations = [(row["done_ns"] - row["sent_ns"]) / 1e9 for row in rows[-WARM_REQUESTS:]]
    return median(durations) if durations else 0.0
