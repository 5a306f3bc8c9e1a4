"""A made-up run folder of any length: as many files, rows, samples and stacks as a real one of that length.

Each phase has a stored device trace of a real server, of fewer requests than a run's.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.files import DEVICE_TRACE
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import (
    Block,
    DeviceTrace,
    Manifest,
    PhaseRecord,
    Recording,
    ServerProcess,
    Warmup,
)
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA, write_phase, write_schedstat
from scoreprof_nb.stacks.speedscope import write_speedscope
from tests.support.device_traces import MAIN
from tests.support.written_run import BLOCK_S, START_S, recorded_block, request

PHASES = ("single", "small", "large", "mixed")
LATENCY_S = 0.016  # of one request after another, as the demo's single items
READING_S = 0.004
PIDS = (10, 11)
TRACE_S = 1795559905.577  # when the stored device trace begins
TRACED = 14  # its requests, one after the other
TRACED_LATENCY_S = 0.02


def write_long_run(path: Path, phase_s: float) -> Path:
    """Four phases of ``phase_s`` (a multiple of 20 s), in blocks of 10 s, every second one with py-spy."""
    folder = RunFolder(path)
    for number, name in enumerate(PHASES):
        start_s = START_S + number * (phase_s + BLOCK_S)
        blocks = tuple(_block(start_s, block) for block in range(round(phase_s / BLOCK_S)))
        record = PhaseRecord(
            name,
            start_s - 5,
            start_s + phase_s + 1,
            Warmup(5, 4.0, None, True, "5 requests"),
            blocks,
            tuple(ServerProcess(pid, 1, "python -m sgl_jax.launch_server") for pid in PIDS),
            device_trace=_device_trace(start_s + phase_s),
        )
        with folder.staged_phase(name) as staging:
            profiled = [block for block in blocks if block.recording is not None]
            for block in profiled:
                write_speedscope(recorded_block(block.start_s), staging / block.recording.file, name=name)
            write_schedstat(staging, [_schedstat(block) for block in profiled])
            shutil.copyfile(MAIN, staging / DEVICE_TRACE)
            traced = _requests(name, start_s + phase_s, TRACED * TRACED_LATENCY_S, TRACED_LATENCY_S)
            requests = _requests(name, start_s, phase_s, LATENCY_S)
            write_phase(staging, record, requests, _threads(len(blocks)), (), traced)
    folder.write_provenance({"jax": "0.8.0", "packages": {"flax": None}})
    folder.write_manifest(
        Manifest(
            run_id=path.name,
            label="long",
            parameters={**Parameters().as_dict(), "phase_s": phase_s},
            phases=PHASES,
            started_s=START_S - 10,
            finished_s=START_S + len(PHASES) * (phase_s + BLOCK_S),
            status="complete",
        )
    )
    return path


def _block(start_s: float, number: int) -> Block:
    first_s = start_s + number * BLOCK_S
    last_s = first_s + BLOCK_S
    recording = Recording(f"recording-{number}.speedscope.json", first_s, last_s, 100, errors=0)
    return Block(number, first_s, last_s, recording if number % 2 else None)


def _device_trace(start_s: float) -> DeviceTrace:
    return DeviceTrace(
        start_s,
        start_s + TRACED * TRACED_LATENCY_S,
        requests=TRACED,
        mean_ms=1000 * TRACED_LATENCY_S,
        file=DEVICE_TRACE,
        size=MAIN.stat().st_size,
        clock_ahead_s=TRACE_S - start_s,
    )


def _requests(kind: str, start_s: float, for_s: float, latency_s: float) -> list[dict[str, object]]:
    latency_ns = round(latency_s * 1e9)
    sent_ns = [round(start_s * 1e9) + number * latency_ns for number in range(int(for_s / latency_s))]
    return [
        request(number, kind=kind, sent_ns=at_ns, intended_ns=at_ns, done_ns=at_ns + latency_ns - 10**6)
        for number, at_ns in enumerate(sent_ns)
    ]


def _threads(blocks: int) -> list[dict[str, object]]:
    return [
        {
            "block": block,
            "pid": pid,
            "tid": pid,
            "name": "python",
            "cpu_before_s": 4.0 * block,
            "cpu_after_s": 4.0 * (block + 1),
            "runnable_before_s": None,
            "runnable_after_s": None,
        }
        for block in range(blocks)
        for pid in PIDS
    ]


def _schedstat(block: Block) -> pa.Table:
    """The kernel's counters of each thread, every 4 ms: a third on a CPU, a tenth waiting for one."""
    readings = round(BLOCK_S / READING_S)
    elapsed_ns = np.tile(np.arange(readings) * round(READING_S * 1e9), len(PIDS))
    pids = np.repeat(PIDS, readings)
    columns = {
        "block": np.full(len(pids), block.number),
        "time_ns": round(block.start_s * 1e9) + elapsed_ns,
        "pid": pids,
        "tid": pids,
        "on_cpu_ns": elapsed_ns // 3,
        "runnable_ns": elapsed_ns // 10,
    }
    return pa.table({name: columns[name] for name in SCHEDSTAT_SCHEMA.names}, schema=SCHEDSTAT_SCHEMA)
