"""The guard: no process survives the runner or papermill, however it was started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from scoreprof_nb.runner.guard import descendants
from scoreprof_nb.runner.supervisor import GUARD
from tests.support.server_runs import left_behind

GONE_S = 20.0  # a guard needs a fraction of a second; the machine may be busy
ESCAPING = """
import subprocess, sys
program = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True); print('started')"
subprocess.run([sys.executable, "-c", program], start_new_session=True)
sys.stdout.flush()
"""


@pytest.fixture
def guarded(tmp_path):
    """Start a program under a guard; gives the guard's process, and the lifeline's write end."""
    started = []

    def start(program):
        read_end, write_end = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(read_end), sys.executable, "-c", program],
            pass_fds=(read_end,),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(read_end)
        started.append(process)
        return process, write_end

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + GONE_S
    while left_behind(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(folder) == []


@pytest.mark.parametrize(
    ("program", "code"), [("raise SystemExit(3)", 3), ("", 0), ("import os; os.abort()", 134)]
)
def test_exit_code_is_that_of_the_program(guarded, program, code):
    """Broken: the guard hides the exit code of its program."""
    process, lifeline = guarded(program)
    assert process.wait(GONE_S) == code
    os.close(lifeline)


def test_orphan_in_its_own_session_ends_with_the_program(guarded, tmp_path):
    """Broken: a process in its own session survives the program."""
    process, lifeline = guarded(ESCAPING)
    assert process.wait(GONE_S) == 0
    assert left_behind(tmp_path) == []
    os.close(lifeline)


def test_everything_ends_with_the_lifeline(guarded, tmp_path):
    """Broken: processes survive when the runner is gone."""
    process, lifeline = guarded(f"{ESCAPING}\nimport time\ntime.sleep(600)")
    assert process.stdout.readline() == "started\n"
    assert "sleep 600" in " ".join(left_behind(tmp_path))
    os.close(lifeline)
    assert process.wait(GONE_S) == 128 + signal.SIGKILL
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_guard_ignores_a_stop_and_its_program_does_not(guarded, signum):
    """Broken: a process manager that sends SIGTERM to every process prevents the notebook from being saved."""
    process, lifeline = guarded("import time; print('started', flush=True); time.sleep(600)")
    assert process.stdout.readline() == "started\n"
    process.send_signal(signum)
    time.sleep(0.2)
    assert process.poll() is None
    (program,) = psutil.Process(process.pid).children()
    program.send_signal(signum)
    assert process.wait(GONE_S) == 128 + signum
    os.close(lifeline)


def test_descendants_are_found_in_every_generation(guarded):
    """Broken: a process of a later generation is overlooked."""
    process, lifeline = guarded(
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "'import time; print(1, flush=True); time.sleep(600)'])"
    )
    assert process.stdout.readline() == "1\n"
    assert descendants(process.pid) == {
        child.pid for child in psutil.Process(process.pid).children(recursive=True)
    }
    assert len(descendants(process.pid)) == 2
    os.close(lifeline)
