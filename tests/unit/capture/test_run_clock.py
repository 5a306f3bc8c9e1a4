"""The clock of a capture: what happens to a run when the machine's clock is set by an hour meanwhile."""

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import scoreprof_nb
from scoreprof_nb.capture import launcher, run_clock
from scoreprof_nb.capture.memory import MemoryRecorder
from scoreprof_nb.capture.pyspy_recording import PySpyRecording
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import StepWatch, anchor, now_ns, now_s
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.redact import Redactor
from tests.support.standin import wait_until

HOUR_S = 3600.0
STEPS = pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])


@pytest.fixture(autouse=True)
def run():
    """A run that has begun; the next test has its own."""
    anchor()
    yield
    anchor()


@pytest.fixture
def set_clock(monkeypatch):
    """Sets the machine's clock by some seconds, as all of Python sees it."""
    system_ns, before_s = time.time_ns, 0.0

    def set_by(seconds):
        nonlocal before_s
        before_s += seconds
        monkeypatch.setattr(time, "time_ns", lambda: system_ns() + round(before_s * 1e9))
        monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)

    yield set_by
    monkeypatch.undo()


@STEPS
def test_time_goes_on_as_if_the_clock_were_not_set(set_clock, step_s):
    """Broken: a block seems to take an hour, or to end before it began."""
    before_s = now_s()
    set_clock(step_s)
    assert 0 <= now_s() - before_s < 10
    assert abs(run_clock.system_ahead_s() - step_s) < 1


@STEPS
def test_rows_of_all_recorders_stay_on_one_clock(set_clock, step_s, tmp_path):
    """Broken: after a step, log lines or memory are an hour away from the requests that they belong to."""
    start_ns = now_ns()
    log = ServerLog(tmp_path / "log", Redactor())
    set_clock(step_s)
    log.note("after the step")
    log.close()
    seconds, micros = re.match(r"(\d+)\.(\d{6}) ", (tmp_path / "log").read_text()).groups()
    requests = RequestLog()
    requests._answered_s = now_s()
    with MemoryRecorder([1]) as memory:
        wait_until(lambda: memory.rows, "a sample of the memory")
    times_s = [int(seconds) + int(micros) / 1e6, requests._answered_s, memory.rows[0]["time_ns"] / 1e9]
    assert all(-0.1 < at_s - start_ns / 1e9 < 10 for at_s in times_s), times_s


@STEPS
def test_error_lines_of_py_spy_are_put_on_the_runs_clock(set_clock, step_s):
    """Broken: lost ticks, which py-spy stamps by the machine's clock, belong to no block after a step."""
    recording = PySpyRecording(SimpleNamespace(stdout=None), None, Path("x"), 100, Redactor(), {5: {7: 70}})
    set_clock(step_s)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time())) + ".500000000Z"
    line = f"[{stamp} WARN  py_spy] Failed to get stack trace from 5: no stack for thread 7"
    ((at_s, pid, tid),) = recording._lost_tick(line)
    assert (pid, tid) == (5, 70)
    assert abs(at_s - now_s()) < 2


@STEPS
def test_step_is_noticed_once_with_its_size(set_clock, step_s):
    """Broken: a run during which the clock was set says nothing about it, or says it again and again."""
    watch = StepWatch()
    watch.look()
    assert watch.steps == []
    set_clock(step_s)
    watch.look()
    watch.look()
    ((at_s, by_s),) = watch.steps
    assert abs(at_s - now_s()) < 5
    assert abs(by_s - step_s) < 1
    set_clock(-step_s)
    watch.look()
    assert [round(by_s / step_s) for _, by_s in watch.steps] == [1, -1]


@STEPS
def test_launchers_clock_does_not_wait_for_an_hour(set_clock, step_s, monkeypatch):
    """Broken: set back by an hour, the clock of the recordings stands still for an hour."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)

    class Child:
        def poll(self):
            return None

    clock = launcher.Clock(Child(), run_clock.epoch_ns())
    clock.on = True
    cycles = []
    clock._clock = lambda wait: cycles.append(clock._cycle_start_s)
    clock.run_cycle()
    set_clock(step_s)
    clock.run_cycle()
    assert abs(cycles[1] - cycles[0]) <= launcher.SLOTS * launcher.SLOT_S
    assert cycles[1] <= now_s() <= cycles[1] + launcher.SLOTS * launcher.SLOT_S
    clock._wait(round((now_s() - cycles[1]) / launcher.SLOT_S))
    assert all(seconds <= 2 * launcher.SLOT_S for seconds in slept)


def test_launcher_is_given_the_runs_clock_and_keeps_it_from_the_server():
    """Broken: a clock that was set between the kit's start and the server's shifts all ticks."""
    program = f"import os; print({launcher.EPOCH_VARIABLE!r} in os.environ)"
    answer = subprocess.run(
        [sys.executable, launcher.__file__, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={launcher.EPOCH_VARIABLE: "12"},
    )
    assert answer.stdout == "False\n", answer.stderr


def test_run_that_is_resumed_does_not_use_times_twice():
    """Broken: with a clock set back between two captures, the log lines of both fall into the same phase."""
    last_s = time.time() + 100
    assert 99 < anchor(not_before_s=last_s) <= 100
    assert now_s() >= last_s
    assert anchor(not_before_s=last_s - 1000) == 0
    assert abs(now_s() - time.time()) < 1


def test_no_other_module_of_the_capture_asks_the_machines_clock():
    """Broken: a new time stamp follows the machine's clock, while all others do not."""
    asks = re.compile(r"\btime\.time(_ns)?\(|\bdatetime\.now\(|perf_counter")
    allowed = {
        "run_clock.py": 3,
        "launcher.py": 1,  # its anchor, when it is not given one
        "pairs.py": 1,  # when a pair was stopped, in a text
        "open_loop_client.py": 1,  # the monotonic clock
    }
    folder = Path(scoreprof_nb.__file__).parent / "capture"
    counts = {path.name: len(asks.findall(path.read_text())) for path in folder.rglob("*.py")}
    assert {name: count for name, count in counts.items() if count} == allowed
