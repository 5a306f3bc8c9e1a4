"""The runner's end, after a signal or without one: in time whatever hangs, and no process is left.

The real server is stopped in tests/integration; here each step that could take too long does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from scoreprof_nb.run_folder.files import RUN_MIME
from scoreprof_nb.runner import cli, executed_notebook
from scoreprof_nb.runner.finalize import TERMINATION_LOG
from scoreprof_nb.runner.supervisor import INTERRUPTED_S, STOP_S
from tests.support.server_runs import left_behind

type Runner = subprocess.Popen[str]

LATE_S = 60  # what hangs here does so for ten times as long; the 8 s are asserted in tests/integration
STARTED = "started"
# A runner whose limits are a fraction of the real ones, and whose bucket never takes a copy. It writes no
# HTML: nbconvert takes seconds to import.
SLOW_BUCKET = f"""
import runpy, time
from scoreprof_nb.runner import executed_notebook, finalize, supervisor

def copy_results(folder, results_dir):
    print("{STARTED} copying", flush=True)
    time.sleep(600)

finalize.copy_results = copy_results
executed_notebook.to_html = lambda path, title: ""
supervisor.STOP_S, supervisor.INTERRUPTED_S = {{stop_s}}, {{interrupted_s}}
supervisor.STOPPED_S, supervisor.WATCH_S = 0.5, 0.1
runpy.run_module("scoreprof_nb", run_name="__main__")
"""
HANGS = f"""
import time
print("{STARTED}", flush=True)
while True:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""
ESCAPES = f"""
import subprocess, sys, tempfile, time
tempfile.mkstemp(prefix="server-socket")
program = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
subprocess.run([sys.executable, "-c", program], start_new_session=True)
print("{STARTED}", flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    """Start the runner on a notebook that ends with the cell."""
    started: list[Runner] = []

    def start_runner(
        cell: str, *, stop_s: float = 4.0, interrupted_s: float = 2.0, bucket: str = "bucket"
    ) -> Runner:
        (tmp_path / "run").mkdir()
        (tmp_path / "tmp").mkdir()
        metadata = {"run_dir": str(tmp_path / "run"), "results_dir": bucket and str(tmp_path / bucket)}
        publish = f"from IPython.display import display\ndisplay({ {RUN_MIME: metadata}!r}, raw=True)"
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        cells = [new_code_cell(publish), new_code_cell(cell)]
        nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "in.ipynb")
        program = SLOW_BUCKET.format(stop_s=stop_s, interrupted_s=interrupted_s)
        process = subprocess.Popen(
            [sys.executable, "-c", program, "in.ipynb", "out.ipynb"],
            cwd=tmp_path,
            env={**os.environ, TERMINATION_LOG: str(tmp_path / "message"), "TMPDIR": str(tmp_path / "tmp")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start_runner
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for(line: str, process: Runner) -> None:
    assert process.stdout is not None
    assert any(printed.strip() == line for printed in process.stdout), f"it ended before {line!r}"


def stop_at(line: str, process: Runner, folder: Path) -> str:
    """Send SIGTERM when it prints the line, assert a proper end, and return the rest of the output."""
    wait_for(line, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LATE_S)
    assert process.returncode == 143, output
    assert json.loads((folder / "message").read_text())["exit_code"] == 143
    assert (folder / "run" / "report.ipynb").exists(), "the notebook is saved as far as it got"
    assert left_behind(folder) == []
    return output


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + LATE_S
    while left_behind(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(folder) == []


def test_stop_leaves_time_for_processes_to_start_and_end():
    """Broken: a stop takes longer than the 8 s that it has."""
    assert INTERRUPTED_S < STOP_S <= 7


def test_kernel_and_bucket_that_hang_are_abandoned_in_time(tmp_path, start):
    """Broken: the kubelet kills the container half-way, and its exit code is that of any failure."""
    output = stop_at(STARTED, start(HANGS), tmp_path)
    assert "stopped before all files were copied" in output
    assert json.loads((tmp_path / "message").read_text())["error"] == "stopped by SIGTERM"


def test_signal_while_the_results_are_copied_is_obeyed(tmp_path, start):
    """Broken: exit code 0 for a Pod whose report never reached the bucket."""
    output = stop_at(f"{STARTED} copying", start("1 + 1", stop_s=1.0), tmp_path)
    assert "stopped before all files were copied" in output


def test_closed_terminal_stops_the_run_in_an_orderly_way(tmp_path, start):
    """Broken: a lost SSH connection ends the run without a report, or one under nohup."""
    process = start(f"print({STARTED!r}, flush=True)\nimport time\ntime.sleep(600)", bucket="")
    wait_for(STARTED, process)
    process.stdout.close()  # whoever read it has ended with the terminal
    process.send_signal(signal.SIGHUP)
    assert process.wait(LATE_S) == 129
    assert json.loads((tmp_path / "message").read_text())["error"] == "stopped by SIGHUP"
    assert (tmp_path / "run" / "report.ipynb").exists()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_stop_while_the_runner_itself_starts(tmp_path, signum, code):
    """Broken: Ctrl-C in the first second shows a traceback of some import."""
    (tmp_path / "psutil.py").write_text(f"print({STARTED!r}, flush=True)\nimport time\ntime.sleep(600)")
    command = [sys.executable, "-m", "scoreprof_nb", "in.ipynb", "out.ipynb"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(STARTED, process)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=LATE_S)
    assert process.returncode == code
    assert errors == f"scoreprof-nb: stopped by {signal.Signals(signum).name} before the run began\n"


def test_output_that_nobody_reads_costs_nothing_else(tmp_path, start):
    """Broken: `make report | head` loses all cells after the first that prints, hours later."""
    go_on = tmp_path / "go-on"
    process = start(
        f"print({STARTED!r}, flush=True)\nimport pathlib, time\n"
        f"while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)\n"
        "print('one'), print('two', flush=True), 'its value'",
        bucket="",
    )
    wait_for(STARTED, process)
    process.stdout.close()
    go_on.touch()
    assert process.wait(LATE_S) == 0
    report = nbformat.read(tmp_path / "run" / "report.ipynb", as_version=4)
    assert "'its value'" in str(report.cells[-1].outputs)


def test_killed_runner_leaves_no_process_and_no_temporary_file(tmp_path, start):
    """Broken: papermill, the kernel, and a server in its own session keep running, or its sockets stay."""
    process = start(ESCAPES)
    wait_for(STARTED, process)
    assert len(left_behind(tmp_path)) >= 5, "runner, guard, papermill, kernel, sleep"
    assert list((tmp_path / "tmp").glob("sp-*/server-socket*"))
    process.kill()
    process.wait()
    wait_until_gone(tmp_path)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("name", ["ipykernel_launcher", "papermill", "guard.py"])
def test_stopped_process_does_not_hang_the_run(tmp_path, start, name):
    """Broken: after SIGSTOP the runner waits for ever, and a Job holds its TPU until the deadline."""
    process = start(f"print({STARTED!r}, flush=True)\nimport time\ntime.sleep(600)", bucket="")
    wait_for(STARTED, process)
    children = psutil.Process(process.pid).children(recursive=True)
    stopped = next(child for child in children if any(word.endswith(name) for word in child.cmdline()[:6]))
    stopped.suspend()
    output, _ = process.communicate(timeout=LATE_S)
    assert process.returncode == 1, output
    assert f"(pid {stopped.pid}) was stopped by a signal" in output
    assert not left_behind(tmp_path)


def test_killed_guard_leaves_no_process(tmp_path):
    """Broken: processes survive a killed guard, or the exit code is that of a good run."""
    (tmp_path / "papermill.py").write_text(ESCAPES)  # python -m prefers the current folder
    command = [sys.executable, "-m", "scoreprof_nb", "in.ipynb", "out.ipynb"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        wait_for(STARTED, process)
        (guard,) = psutil.Process(process.pid).children()
        guard.kill()
        assert process.wait(LATE_S) == 1
        wait_until_gone(tmp_path)


class EndedSupervisor:
    """In the place of the real one: papermill has ended, and left a notebook with this error, if any."""

    stopped_by = None
    failure = None
    last_error = "nbclient.exceptions.DeadKernelError: Kernel died"

    def __init__(self, folder: Path, error: str, code: int = 1) -> None:
        self._code = code
        outputs = [new_output("display_data", {RUN_MIME: {"run_dir": str(folder)}})]
        if error:
            outputs.append(new_output("error", ename=error, evalue="no request succeeded", traceback=[]))
        cell = new_code_cell("", outputs=outputs)
        nbformat.write(new_notebook(cells=[cell]), folder / "out.ipynb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self) -> int:
        return self._code

    def finish(self, finalize: Callable[[], Path]) -> Path:
        return finalize()


@pytest.mark.parametrize(
    ("error", "remark"),
    [("EveryRequestFailed", "every request failed"), ("Other", "Other: no request succeeded")],
)
def test_last_line_says_what_failed(tmp_path, monkeypatch, capfd, error, remark):
    """Broken: exit code 0, as if the run were good, or a last line that reads so."""
    monkeypatch.setattr(cli, "Supervisor", lambda arguments: EndedSupervisor(tmp_path, error))
    monkeypatch.setattr(executed_notebook, "to_html", lambda path, title: "")
    assert cli.main(["in.ipynb", str(tmp_path / "out.ipynb")]) == 1
    output = capfd.readouterr()
    assert output.err == f"scoreprof-nb: {error}: no request succeeded\n"
    assert output.out == f"report: {tmp_path / 'report.ipynb'} ({remark})\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (128 + signal.SIGKILL, "papermill was killed by SIGKILL"),
        (-signal.SIGKILL, "its guard was killed by SIGKILL"),
        (1, "papermill failed: nbclient.exceptions.DeadKernelError: Kernel died"),
    ],
)
def test_last_line_says_that_papermill_or_its_kernel_ended(tmp_path, monkeypatch, capfd, code, reason):
    """Broken: a run that was killed reads as if it had ended well, because no cell of it failed."""
    monkeypatch.setattr(cli, "Supervisor", lambda arguments: EndedSupervisor(tmp_path, "", code))
    monkeypatch.setattr(executed_notebook, "to_html", lambda path, title: "")
    assert cli.main(["in.ipynb", str(tmp_path / "out.ipynb")]) == 1
    output = capfd.readouterr()
    assert output.err == f"scoreprof-nb: {reason}\n"
    assert output.out == f"report: {tmp_path / 'report.ipynb'} ({reason})\n"


def test_killed_papermill_without_a_notebook_is_said(tmp_path, monkeypatch, capfd):
    """Broken: a run that was killed early ends without a word."""
    supervisor = EndedSupervisor(tmp_path, "", 128 + signal.SIGKILL)
    (tmp_path / "out.ipynb").unlink()
    monkeypatch.setattr(cli, "Supervisor", lambda arguments: supervisor)
    assert cli.main(["in.ipynb", str(tmp_path / "out.ipynb")]) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("scoreprof-nb: papermill was killed by SIGKILL, and there is no report")


@pytest.mark.parametrize(("code", "error"), [(0, ""), (1, "Other: no request succeeded; ")])
def test_report_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capfd, code, error):
    """Broken: a full disk ends the run with a traceback, or with exit code 0."""

    def full_disk(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    name = error.partition(":")[0]
    monkeypatch.setattr(cli, "Supervisor", lambda arguments: EndedSupervisor(tmp_path, name, code))
    monkeypatch.setattr(executed_notebook, "write_text", full_disk)
    assert cli.main(["in.ipynb", str(tmp_path / "out.ipynb")]) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line == f"scoreprof-nb: {error}the report could not be written: [Errno 28] No space left on device"


def test_folder_of_the_notebook_that_cannot_be_made_is_one_line(tmp_path, capfd):
    """Broken: a full or read-only disk ends the runner with a traceback before it starts anything."""
    (tmp_path / "file").write_text("")
    assert cli.main(["in.ipynb", str(tmp_path / "file" / "out.ipynb")]) == 1
    error = capfd.readouterr().err
    assert error.startswith("scoreprof-nb: the run could not go on: ")
    assert str(tmp_path / "file") in error
    assert len(error.splitlines()) == 1
