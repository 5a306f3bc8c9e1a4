"""The launcher: it ends as its child does, takes the child with it, and shows the time in its stack."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from scoreprof_nb.analysis import clock
from scoreprof_nb.capture import launcher, pyspy
from scoreprof_nb.parameters.schema import ParameterError
from tests.support.standin import kill, lives, pid_in, wait_ended, wait_handlers, wait_until

LAUNCHER = Path(launcher.__file__)
WRITE_PID = "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()}\\n');"
CYCLE_S = launcher.SLOTS * launcher.SLOT_S


@contextmanager
def launched(program, *arguments):
    """The launcher running ``python -c program``; always ended and reaped."""
    process = subprocess.Popen([sys.executable, str(LAUNCHER), sys.executable, "-c", program, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(program):
    with launched(program) as process:
        return process.wait(10)


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_exit_code_is_the_childs(code):
    """Broken: a refused flag (exit code 2) cannot be distinguished from a crash."""
    assert ended(f"raise SystemExit({code})") == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGINT", "SIGUSR2"])
def test_ends_by_the_signal_of_the_child(name):
    """Broken: a user cannot see that the out-of-memory killer ended the server."""
    program = (
        "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
        f"signal.signal(signal.SIGINT, signal.SIG_DFL); os.kill(os.getpid(), signal.{name})"
    )
    assert ended(program) == -getattr(signal, name)


def test_child_gets_its_arguments_and_output(tmp_path):
    """Broken: the server does not get its arguments, or its output is lost."""
    program = "import sys; print(sys.argv[1:]); print('err', file=sys.stderr); print(sys.stdin.read())"
    answer = subprocess.run(
        [sys.executable, str(LAUNCHER), sys.executable, "-c", program, "--a b", "", "-p"],
        input="in",
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert answer.stdout == "['--a b', '', '-p']\nin\n"
    assert answer.stderr == "err\n"


def test_command_that_is_not_there_is_an_error():
    """Broken: a missing command looks like a server that started."""
    answer = subprocess.run(
        [sys.executable, str(LAUNCHER), "/no/such/program"], capture_output=True, timeout=10
    )
    assert answer.returncode == 1
    assert b"/no/such/program" in answer.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on(signum, tmp_path):
    """Broken: the server has no chance to shut down cleanly."""
    program = (
        "import signal, sys, time\n"
        f"signal.signal({int(signum)}, lambda *_: sys.exit(9))\n"
        f"{WRITE_PID}\n"
        "while True: time.sleep(0.05)"  # a long sleep may begin just after the signal has come
    )
    with launched(program, str(tmp_path / "pid")) as process:
        child = pid_in(tmp_path / "pid")
        wait_handlers(process.pid)
        process.send_signal(signum)
        assert process.wait(10) == 9
        assert not lives(child)


def test_child_is_killed_when_the_launcher_is(tmp_path):
    """Broken: the server survives a SIGKILL of its launcher."""
    with launched(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WRITE_PID} time.sleep(60)",
        str(tmp_path / "pid"),
    ) as process:
        child = pid_in(tmp_path / "pid")
        try:
            process.kill()
            process.wait()
            wait_ended(child)
        finally:
            kill(child)


def test_launcher_is_killed_when_its_parent_is(tmp_path):
    """Broken: the server survives a SIGKILL of the notebook's kernel."""
    program = f"{WRITE_PID} time.sleep(60)"
    code = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, {str(LAUNCHER)!r}, sys.executable, '-c', *sys.argv[1:]]);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, program, str(tmp_path / "pid")], stdout=subprocess.PIPE, text=True
    )
    with parent:
        of_launcher = int(parent.stdout.readline())
        child = pid_in(tmp_path / "pid")
        try:
            parent.kill()
            parent.wait()
            wait_ended(of_launcher)
            wait_ended(child)
        finally:
            kill(of_launcher)
            kill(child)


# ---- the clock


def test_reader_of_the_clock_agrees_with_it():
    """Broken: the analysis, which has its own copy of the clock's numbers, reads other times than the clock
    shows.
    """
    names = ("CLOCK_FILE", "SLOT_S", "SLOTS", "FIRST_LINE")
    assert [getattr(clock, name) for name in names] == [getattr(launcher, name) for name in names]


def may_trace():
    try:
        pyspy.check_may_trace()
    except ParameterError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def py_spy():
    reason = may_trace()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert reason is None
    return pyspy.executable()


def clock_line(py_spy, pid):
    """The line of the clock's frame in a real dump (None: no clock), and the times before and after."""
    before = time.time()
    answer = subprocess.run(
        [py_spy, "dump", "--pid", str(pid)], capture_output=True, text=True, timeout=20, check=True
    )
    frame = re.search(rf"\bclock \({re.escape(launcher.CLOCK_FILE)}:(\d+)\)", answer.stdout)
    return (int(frame[1]), before, time.time()) if frame else None


def test_clock_is_off_at_first(py_spy, tmp_path):
    """Broken: the clock wakes up 250 times a second in blocks without py-spy too."""
    with launched(f"{WRITE_PID} time.sleep(60)", str(tmp_path / "pid")) as process:
        pid_in(tmp_path / "pid")
        wait_handlers(process.pid)
        assert clock_line(py_spy, process.pid) is None


def test_clock_shows_the_time_to_py_spy_and_can_be_switched(py_spy, tmp_path):
    """Broken: py-spy does not see the line number from which the analysis computes every time."""
    with launched(f"{WRITE_PID} time.sleep(60)", str(tmp_path / "pid")) as process:
        child = pid_in(tmp_path / "pid")
        wait_handlers(process.pid)
        for _ in range(2):
            process.send_signal(signal.SIGUSR2)
            wait_until(lambda: clock_line(py_spy, process.pid), "the clock's frame")
            for _ in range(3):
                line, before_s, after_s = clock_line(py_spy, process.pid)
                shown_s = (line - launcher.FIRST_LINE) * launcher.SLOT_S
                late_s = (shown_s - before_s + 1) % CYCLE_S - 1
                assert -1 <= late_s <= after_s - before_s + 1
            process.send_signal(signal.SIGUSR1)
            wait_until(lambda: clock_line(py_spy, process.pid) is None, "no frame of the clock")
        assert lives(child)
        assert process.poll() is None


def test_lines_of_the_clock_are_its_slots():
    """Broken: ``wait(slot)`` of slot n is not on line FIRST_LINE + n."""
    lines = []

    class Child:
        def poll(self):
            return None

    clock = launcher.Clock(Child(), 0)
    clock.on = True
    clock._wait = lambda slot: lines.append((slot, sys._getframe(1).f_lineno))
    clock.run_cycle()
    assert lines == [(slot, launcher.FIRST_LINE + slot) for slot in range(launcher.SLOTS)]


def test_child_that_ends_while_the_clock_runs_is_noticed(tmp_path):
    """Broken: the launcher outlives its server while the clock runs."""
    with launched(f"{WRITE_PID} time.sleep(60)", str(tmp_path / "pid")) as process:
        child = pid_in(tmp_path / "pid")
        wait_handlers(process.pid)
        process.send_signal(signal.SIGUSR2)
        os.kill(child, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


def test_off_and_on_at_once_end_in_on(py_spy, tmp_path):
    """Broken: the second of two blocks without a pause between them has no times."""
    with launched(f"{WRITE_PID} time.sleep(60)", str(tmp_path / "pid")) as process:
        pid_in(tmp_path / "pid")
        wait_handlers(process.pid)
        process.send_signal(signal.SIGSTOP)  # both are pending when it goes on
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGUSR2)
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: clock_line(py_spy, process.pid), "the clock's frame")
