"""A server that is already running is found by its port, profiled, and left running.

It has a known cost in tokenising, so that the path's truth is known although the kit did not launch it.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from scoreprof_nb import demo
from scoreprof_nb.analysis.clock import SLOT_S
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, analyse
from scoreprof_nb.analysis.ticks import block_ticks
from scoreprof_nb.capture.pyspy import PySpy
from scoreprof_nb.capture.server import free_port
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import classify
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.files import timeline_name
from scoreprof_nb.run_folder.records import Block
from scoreprof_nb.run_folder.store import load_run
from scoreprof_nb.stacks.recording import read_recording
from tests.support.server_runs import run_in
from tests.truth.truth import TOKENIZE, InjectedRun, Injection, calls_of, injected

pytestmark = [pytest.mark.server, pytest.mark.slow]
START_S = 120
SERVER_THREADS = {"http / main", "scheduler / main", "scheduler / forward", "detokenizer / main"}
SETTLE_S = 5.0  # a health check is a request, and what it compiles is work
COST = Injection("tokenising", TOKENIZE, "spin", "tokenize")
OF_ITS_OWN_MS = 1.0  # what tokenising takes without the cost, at most
WIDE = 2.0  # half widths of a 95 % interval: hardly ever missed
CALLS = "calls"


@pytest.fixture
def running(server_python: str, may_trace: None, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The URL and pid of a real server that the kit did not start."""
    model, port = tmp_path / "model", free_port()
    subprocess.run([server_python, str(demo.TINY_MODEL), str(model)], check=True, timeout=START_S)
    command = [server_python, str(demo.SERVE_0_0_2), "--model-path", str(model), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--attention-backend", "native", *demo.flags("0.0.2")]
    environment = {"JAX_PLATFORMS": "cpu", **injected(COST.spec, tmp_path / CALLS)}
    with (tmp_path / "own.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + START_S
        while not _healthy(port):
            assert server.poll() is None, (tmp_path / "own.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        for process in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
            process.kill()
        server.wait()


def _healthy(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def test_attached_server(running: tuple[str, int], tmp_path: Path) -> None:
    """Broken: a server in use is killed, or the report states what cannot be known about it."""
    url, pid = running
    finished = run_in(
        tmp_path,
        server_url=url,
        server_log=str(tmp_path / "own.log"),
        phases="single",
        concurrency="1,4",
        phase_s=6,
        warmup_s=30,
    )
    assert finished.code == 0, finished.output[-3000:]
    assert psutil.Process(pid).is_running(), "the kit must not stop it"
    assert requests.get(f"{url}/health", timeout=5).status_code == 200
    phases = json.loads((finished.folder / "summary.json").read_text())["phases"]
    for name in ("single", "single@4"):
        phase = phases[name]
        assert phase["requests"]["compile_hit"] is not None, "its log shows them"
        assert phase["request_path_method"] == "joint", (name, finished.output[-3000:])
        parts = (*phase["request_path_ms"].values(), *(phase["queued_ms"] or {}).values())
        assert sum(part["mean"] for part in parts) == pytest.approx(phase["profiled_latency_ms"]["mean"])
    phase = phases["single"]
    run = InjectedRun(analyse(load_run(finished.folder), load_rules()), calls_of(tmp_path / CALLS))
    assert run.spent_ms >= COST.least_ms, "not every call had it"
    share = tokenized_within_requests(run.phase)
    assert share >= 0.95, "the times of the ticks are wrong"
    found, (low, high) = (phase["request_path_ms"]["tokenize"][name] for name in ("mean", "ci95"))
    assert abs(found - run.spent_ms) <= WIDE * (high - low) / 2 + OF_ITS_OWN_MS, (found, run.spent_ms)
    assert phase["quality"]["unclassified_share"] < 0.02
    times = [thread["time"] for thread in phase["threads"] if thread["thread"] == "main"]
    assert all(times), "the kernel counts without the kit's clock too"
    assert (finished.folder / timeline_name("single")).exists()


def tokenized_within_requests(phase: PhaseAnalysis) -> float:
    """The share of the HTTP thread's ticks in tokenising at which a request was in flight, by the client's
    clock. A tick is known to the time between two readings."""
    requests = phase.requests.table
    sent, done = (np.sort(requests[name].to_numpy()) for name in ("sent_ns", "done_ns"))
    ticks = []
    for block in phase.ticks.blocks:
        http = block.thread("http", "main")
        assert http is not None
        ticks.append(block.tick_s[http.components == block.catalog.index["tokenize"]])
    at_ns = np.concatenate(ticks) * 1e9
    inside = np.searchsorted(sent, at_ns + SLOT_S * 1e9 / 2) > np.searchsorted(done, at_ns - SLOT_S * 1e9 / 2)
    return float(inside.mean())


def test_idle_server_is_idle(running: tuple[str, int], tmp_path: Path) -> None:
    """Broken: the scheduler's idle spin is counted as scheduling work."""
    _, pid = running
    pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    output = tmp_path / "idle.speedscope.json"
    time.sleep(SETTLE_S)
    recorder = PySpy("nonblocking", 100, Redactor())
    recorder.observe(pids)
    running_recording = recorder.start(pid, output)
    time.sleep(6)
    recording = running_recording.stop()
    assert recording.failure is None
    table = read_recording(output)
    block = Block(0, recording.started_s, recording.stopped_s, recording)
    threads = block_ticks(block, recording, table, classify(table, load_rules())).threads
    assert {str(thread.role) for thread in threads} >= SERVER_THREADS
    for thread in threads:
        names = [CATALOG.names[i] for i in thread.components]
        idle = sum(not CATALOG[name].work for name in names) / len(names)
        unknown = Counter(
            tuple(frame.name for frame in table.stack(int(stack_id))[-6:])
            for stack_id, name in zip(thread.stack_ids, names, strict=True)
            if name == "unclassified" and stack_id >= 0
        )
        assert idle >= 0.95, f"{thread.role}: {Counter(names).most_common(4)}, {unknown.most_common(4)}"
