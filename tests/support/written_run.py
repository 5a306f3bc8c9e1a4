"""A synthetic run folder: ten requests of 100 ms in each block of 10 s; blocks 1 and 2 are profiled."""

import gzip
import json
from dataclasses import replace

import numpy as np

from scoreprof_nb.analysis.clock import CLOCK_FILE, FIRST_LINE, SLOT_S, SLOTS
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report import (
    answer,
    component_tables,
    device_tables,
    finding_cards,
    flame_views,
    overview,
    profile_files,
    profile_tables,
    profile_verdict,
    quality_tables,
)
from scoreprof_nb.report.profile import make_report
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
from scoreprof_nb.run_folder.store import write_phase, write_schedstat
from scoreprof_nb.stacks.speedscope import write_speedscope
from tests.support.schemas import assert_matches_schema
from tests.support.synthetic import place, stack_table

START_S = 1_700_000_000.0
BLOCK_S = 10.0
PER_BLOCK = 10
LATENCY_MS = 100.0
FAILURE = "py-spy did not start to sample: Permission Denied"


def request(number, **changes):
    """Ten requests per block of 10 s, each 100 ms long, in blocks 0 to 3."""
    sent_ns = round((START_S + (number + 0.5) * BLOCK_S / PER_BLOCK) * 1e9)
    return {
        "request": number,
        "warmup": False,
        "kind": "small",
        "items": 4,
        "payload": number % 2,
        "worker": 0,
        "intended_ns": sent_ns,
        "sent_ns": sent_ns,
        "done_ns": sent_ns + round(LATENCY_MS * 1e6),
        "client_cpu_ns": 10**6,
        "status": 200,
        "error": None,
        "scores": [[0.25, 0.75]] * 4,
        **changes,
    }


def failed(number, kind="timeout"):
    return request(number, status=0, error=kind, scores=None)


GOOD = [request(number) for number in range(4 * PER_BLOCK)]
CPU_S = {(10, 10): 0.5, (11, 11): 0.2, (11, 12): 0.1}  # of a block, by pid and tid; 12 has no Python
THREADS = [
    {
        "block": block,
        "pid": pid,
        "tid": tid,
        "name": "python",
        "cpu_before_s": cpu_s * 2 * block,
        "cpu_after_s": cpu_s * (2 * block + 1),
        "runnable_before_s": None,
        "runnable_after_s": None,
    }
    for block in range(4)
    for (pid, tid), cpu_s in CPU_S.items()
]


TICKS = 1000  # of a block
HTTP_STACKS = [
    "main@/launch_server.py > _tokenize_one_request@/tokenizer_manager.py",
    "main@/launch_server.py > select@/selectors.py",
]
SCHEDULER_STACKS = [
    "run_scheduler_process@/scheduler.py > event_loop_overlap@/scheduler.py > recv_requests@/scheduler.py",
    "run_scheduler_process@/scheduler.py > event_loop_overlap@/scheduler.py > calc_priority@/schedule_policy.py",
]


NEW_STACK = (
    "run_scheduler_process@/scheduler.py > event_loop_overlap@/scheduler.py > brand_new@/sgl_jax/new.py"
)


def recorded_block(clock_from_s=None):
    """The stacks of a recording: 20 ms of each request tokenising, 50 ms in the scheduler's batch, and one
    tick in a function that no rule knows. ``clock_from_s``: with the launcher's clock, which began then."""
    at_ms = (np.arange(TICKS) + 0.5) * BLOCK_S * 1e3 / TICKS % (BLOCK_S * 1e3 / PER_BLOCK)
    since_ms = at_ms - 0.5 * BLOCK_S * 1e3 / PER_BLOCK  # a request is sent in the middle of its second
    tokenizes, batches = (since_ms >= 0) & (since_ms < 20), (since_ms >= 20) & (since_ms < 70)
    scheduler = [SCHEDULER_STACKS[one] for one in batches.astype(int)]
    threads = [
        place("http", "main", [HTTP_STACKS[not one] for one in tokenizes], pid=10, tid=10),
        place("scheduler", "main", [NEW_STACK, *scheduler[1:]], pid=11, tid=11),
    ]
    if clock_from_s is not None:
        at_s = clock_from_s + (np.arange(TICKS) + 0.5) * BLOCK_S / TICKS
        lines = FIRST_LINE + (at_s / SLOT_S).astype(np.int64) % SLOTS
        clock = [f"clock@{CLOCK_FILE}:{line}" for line in lines]
        threads.append(place("clock", "main", clock, pid=9, tid=9))
    return stack_table(*threads)


DEVICE_REQUESTS = [
    request(
        number,
        sent_ns=round(START_S * 1e9) + number * 20_000_000,
        done_ns=round(START_S * 1e9) + number * 20_000_000 + 19_000_000,
    )
    for number in range(6)
]


def device_record(device):
    if device is None:
        return None
    record = DeviceTrace(START_S, START_S + 0.12, requests=6, mean_ms=19.0)
    if isinstance(device, str):
        return replace(record, failure=device)
    return replace(record, file=DEVICE_TRACE, size=len(device), write_s=0.5)


def write_run(
    path,
    *,
    recording="failed",
    requests=GOOD,
    log="",
    concurrency=1,
    status="complete",
    phases=1,
    threads=THREADS,
    started_s=START_S - 10,
    schedstat=(),
    cpu_quota=None,
    device=None,
):
    """A run folder: ``recording`` is failed (py-spy did), off, whole (recordings of made-up stacks), timed (the same
    with the launcher's clock) or damaged (whole, but for block 1's). ``device``: the device trace, bytes, of six requests of 19 ms every 20 ms; or why
    there is none. ``schedstat``: tables of the kernel's counters."""
    folder = RunFolder(path)
    names = ("small", "large")[:phases]
    blocks = []
    for number, profiled in enumerate((False, True, True, False)):
        start_s = START_S + number * BLOCK_S
        stop_s = start_s + BLOCK_S
        recorded = {
            "failed": Recording(None, start_s, start_s, 100, failure=FAILURE),
            "off": None,
        }.get(recording, Recording(f"recording-{number}.speedscope.json", start_s, stop_s, 100, errors=0))
        blocks.append(Block(number, start_s, stop_s, recorded if profiled else None))
    for name in names:
        record = PhaseRecord(
            name,
            START_S - 5,
            START_S + 41,
            Warmup(5, 4.0, None, True, "5 requests"),
            tuple(blocks),
            (ServerProcess(10, 1, "python -m sgl_jax.launch_server"),),
            cpu_quota=cpu_quota,
            device_trace=device_record(device),
        )
        with folder.staged_phase(name) as staging:
            for block in blocks:
                if block.recording is not None and block.recording.file is not None:
                    table = recorded_block(block.start_s if recording == "timed" else None)
                    write_speedscope(table, staging / block.recording.file, name=block.recording.file)
            if recording == "damaged":
                (staging / "recording-1.speedscope.json").write_text("{")
            write_schedstat(staging, schedstat)
            if isinstance(device, bytes):
                (staging / DEVICE_TRACE).write_bytes(gzip.compress(device))
            write_phase(staging, record, requests, threads, (), DEVICE_REQUESTS if device else ())
    folder.write_provenance({"jax": "0.8.0", "packages": {"flax": None}})
    if log:
        folder.log_path.write_text(log)
    folder.write_manifest(
        Manifest(
            run_id=path.name,
            label="main",
            parameters={**Parameters().as_dict(), "concurrency": concurrency},
            phases=names,
            started_s=started_s,
            finished_s=START_S + 50,
            status=status,
        )
    )


TABLES = (
    profile_tables.latency_table,
    profile_tables.latency_overview,
    profile_tables.cpu_table,
    profile_tables.threads_table,
    profile_tables.batching_table,
    profile_tables.memory_table,
    quality_tables.quality_table,
    quality_tables.checks_table,
    quality_tables.observer_table,
    profile_tables.timeline_table,
    profile_tables.provenance_table,
    profile_tables.parameters_table,
    profile_tables.unclassified,
    device_tables.device_table,
    device_tables.device_wait_table,
    device_tables.device_idle_table,
    device_tables.programs_table,
    device_tables.operations_table,
    device_tables.chips_table,
    device_tables.device_parts,
    profile_files.files_table,
    component_tables.findings_overview,
    component_tables.component_table,
    component_tables.hot_overview,
    finding_cards.finding_cards,
    flame_views.interactive_flame_graph,
    overview.overview_markdown,
    overview.phases_table,
    answer.answer,
    answer.trust,
)


def reported(path):
    """(report, summary.json). Every table and text of the notebook is made too; the summary is valid."""
    report = make_report(Parameters(run_dir=str(path)))
    profile_files.write_files(report)
    for make in (*TABLES, profile_verdict.verdict_markdown, profile_verdict.path_notes):
        make(report)
    summary = strict_json(path / "summary.json")
    assert_matches_schema(summary, "summary")
    return report, summary


def strict_json(path):
    """NaN and Infinity, which Python writes and reads but JSON does not know, are an error."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {path.name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def check_result(report, words):
    """(passed, text) of the check whose name holds the words."""
    (check,) = [
        check for phase in report.analysis.phases for check in phase.quality.checks if words in check.name
    ]
    return check.passed, check.text
