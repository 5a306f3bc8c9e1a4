"""A small run folder on disk, as the capture leaves it: the records of one phase, and whole runs."""

from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import Block, Manifest, PhaseRecord, Recording, ServerProcess, Warmup
from scoreprof_nb.run_folder.store import write_phase

START_S = 1_700_000_000.0


def record(name="single"):
    recording = Recording(
        "recording-1.speedscope.json",
        START_S + 1,
        START_S + 2,
        100,
        samples=200,
        errors=1,
        behind_s=0.5,
        lost=((START_S + 1.5, 11, 0),),
    )
    failed = Recording(None, START_S + 2, START_S + 2, 100, failure="py-spy ended with 1")
    blocks = (
        Block(0, START_S, START_S + 1),
        Block(1, START_S + 1, START_S + 2, recording),
        Block(2, START_S + 2, START_S + 3, failed),
    )
    processes = (ServerProcess(10, 1, "python launcher.py"), ServerProcess(11, 10, "python -m server"))
    return PhaseRecord(
        name,
        START_S - 1,
        START_S + 3,
        Warmup(5, 1.0, None, False, "5 requests"),
        blocks,
        processes,
        ("a note",),
    )


def request(number, **changes):
    sent_ns = int(START_S * 1e9) + number * 10**8
    return {
        "request": number,
        "warmup": False,
        "kind": "single",
        "items": 1,
        "payload": number % 2,
        "worker": 0,
        "intended_ns": sent_ns,
        "sent_ns": sent_ns,
        "done_ns": sent_ns + 10**7,
        "client_cpu_ns": 1000,
        "status": 200,
        "error": None,
        "scores": [[0.25, 0.75]],
        **changes,
    }


REQUESTS = [request(0, warmup=True), request(1), request(2, status=0, error="timeout", scores=None)]
THREADS = [
    {
        "block": 1,
        "pid": 11,
        "tid": 12,
        "name": "python",
        "cpu_before_s": None,
        "cpu_after_s": 1.5,
        "runnable_before_s": None,
        "runnable_after_s": 0.25,
    }
]


def make_run(path, *done, run_id="first", requested=("single", "small")):
    folder = RunFolder(path)
    for name in done:
        with folder.staged_phase(name) as staging:
            (staging / "recording-1.speedscope.json").write_text("{}")
            write_phase(staging, record(name), REQUESTS, THREADS)
    folder.log_path.parent.mkdir(parents=True, exist_ok=True)
    folder.log_path.write_text("1000000000.000000 ready\n")
    folder.write_provenance({"kit": "1"})
    folder.write_manifest(
        Manifest(
            run_id=run_id, label="run", parameters={}, phases=requested, started_s=1e9, status="capturing"
        )
    )
    return folder
