"""Wrong parameters, crashes and signals: one clear line, the right exit code, no process left."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.paths import ROOT
from tests.support.server_runs import Finished, arguments, assert_refused, left_behind, run_in

pytestmark = [pytest.mark.server, pytest.mark.slow]
SHORT = {"phases": "single", "phase_s": 2, "warmup_s": 20}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model_path": "/no/such/model"}, ["model_path='/no/such/model'", "no such folder"]),
        ({"label_token_ids": "[99999]"}, ["label_token_ids=[99999]", "vocabulary"]),
        ({"rate_hz": 0}, ["rate_hz=0", "from 1"]),
        ({"phase_s": 0}, ["phase_s=0:", "from 2"]),
        ({"phases": "single,medium"}, ["phases='single,medium'", "'medium'", "mixed"]),
        ({"phase_z": 10}, ["phase_z=10", "did you mean phase_s?"]),
        ({"concurrency": "many"}, ["concurrency='many'", "whole number"]),
        ({"server_python": "/no/python"}, ["server_python='/no/python'"]),
        ({"server_url": "http://127.0.0.1:9"}, ["server_url='http://127.0.0.1:9'", "listens"]),
        ({"rules_file": "/no/rules.toml"}, ["rules_file='/no/rules.toml'"]),
    ],
)
def test_wrong_parameter(
    run: Callable[..., Finished],
    server_python: str,
    may_trace: None,
    parameters: dict[str, object],
    words: list[str],
) -> None:
    """Broken: a server is launched for nothing, or the user does not learn what to change."""
    finished = run(**{**SHORT, **parameters})
    assert_refused(finished, *words)
    assert "launching the server" not in finished.output


def test_broken_line_of_a_requests_file(
    run: Callable[..., Finished], tmp_path: Path, server_python: str, may_trace: None
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"query": "q", "items": ["a"]}\n{"query": "q", "items": [\n')
    assert_refused(run(requests_file=file, phases="file"), str(file), "line 2", "not JSON")


def test_port_in_use(run: Callable[..., Finished], server_python: str, may_trace: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_refused(run(port=port, **SHORT), f"port={port}", "in use")


def test_flag_that_the_server_refuses(
    run: Callable[..., Finished], server_python: str, may_trace: None
) -> None:
    """Broken: the server's message is hidden in a log."""
    assert_refused(run(server_flags="--frobnicate 3", **SHORT), "unrecognized arguments: --frobnicate 3")


def test_run_folder_that_cannot_be_written(tmp_path: Path, server_python: str, may_trace: None) -> None:
    (tmp_path / "file").write_text("not a folder")
    finished = run_in(tmp_path, **{**SHORT, "run_dir": tmp_path / "file" / "run"})
    assert_refused(finished, "run_dir=", "cannot be written")


def test_server_that_dies_at_start(
    run: Callable[..., Finished], tmp_path: Path, server_python: str, may_trace: None
) -> None:
    """Broken: the kit waits for its timeout, or hides why the server died."""
    model = tmp_path / "model"
    make = ROOT / "scoreprof_nb" / "demo" / "tiny_model.py"
    subprocess.run([server_python, str(make), str(model)], check=True, timeout=120)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    started = time.monotonic()
    finished = run(model_path=model, startup_s=300, **SHORT)
    assert finished.code == 1, finished.output[-2000:]
    assert "NoSuchModel" in finished.output, "the end of the server's log is shown"
    assert time.monotonic() - started < 200, "it waited for the timeout"
    assert json.loads((finished.folder / "manifest.json").read_text())["status"] == "failed"


def started(folder: Path, mark: str, **parameters: object) -> "tuple[subprocess.Popen[str], list[str]]":
    """Start the runner and wait until it prints ``mark``. Returns the process and the lines so far."""
    process = subprocess.Popen(
        arguments(folder, **parameters),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if mark in line:
            return process, seen
    raise AssertionError(f"it ended before {mark!r}:\n{''.join(seen)[-3000:]}")


def descendants(process: "subprocess.Popen[str]", mark: str) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if mark in " ".join(child.cmdline()) or mark in child.name()]


def test_scheduler_killed_within_a_phase(tmp_path: Path, server_python: str, may_trace: None) -> None:
    """Broken: the kit hangs, loses the finished phases, or does not report the crash."""
    parameters = {"phases": "single,small", "phase_s": 4, "warmup_s": 20}
    process, seen = started(tmp_path, "phase small (2 of 2)", **parameters)
    (scheduler,) = descendants(process, "sglang::scheduler")
    scheduler.kill()
    rest, _ = process.communicate(timeout=120)
    output = "".join(seen) + rest
    assert process.returncode == 1, output[-3000:]
    assert "a process of the server ended" in output or "the server was killed" in output
    assert output.strip().splitlines()[-1].startswith("report: ")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["status"], manifest["phases_done"]) == ("partial", ["single"])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "partial"
    assert summary["phases"]["single"]["requests"]["ok"] > 0
    assert not left_behind(tmp_path)

    resumed = run_in(tmp_path, **parameters)
    assert resumed.code == 0, resumed.output[-3000:]
    assert "phase single (" not in resumed.output, "a finished phase is not captured again"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], list(summary["phases"])) == ("complete", ["single", "small"])


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_within_a_phase(
    tmp_path: Path, server_python: str, may_trace: None, signum: int, code: int
) -> None:
    """Broken: a preempted Job loses its finished phases, or its processes keep the chip."""
    process, seen = started(tmp_path, "block 1 of ", phases="single", phase_s=40, warmup_s=20)
    os.kill(process.pid, signum)
    rest, _ = process.communicate(timeout=60)
    output = "".join(seen) + rest
    assert process.returncode == code, output[-3000:]
    assert (tmp_path / "out.ipynb").exists(), "the notebook is saved as far as it got"
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert not left_behind(tmp_path)
