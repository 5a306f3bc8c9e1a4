"""Runs papermill, stops it in an orderly way on signals, and leaves no process behind.

papermill runs under a guard (``guard``), a process that ends everything if the runner is killed.
"""

import ctypes
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Self

import psutil

from scoreprof_nb.runner.stops import handle_stops
from scoreprof_nb.stopped_processes import StopWatch

STOP_S = 7.0  # from the signal until the runner gives up; starting and ending processes takes time too
INTERRUPTED_S = 6.0  # of these, until papermill is killed: for the server's end, and to save the notebook
END_S = 3.0  # at most, for killed processes to be gone
STOPPED_S = 20.0  # papermill or its kernel, stopped by a signal for longer, would never end
WATCH_S = 1.0  # between two looks for stopped processes
POLL_S = 0.1
SCRATCH_PREFIX = "sp-"  # short: the path of a Unix socket has at most 107 characters
GUARD_SCRATCH = "SCOREPROF_SCRATCH"  # names to the guard the folder that it removes
PAPERMILL = "scoreprof_nb.runner.run_papermill"
GUARD = Path(__file__).with_name("guard.py")
_PR_SET_CHILD_SUBREAPER = 36
_QUIET = ("--no-progress-bar", "--log-level", "ERROR", "--stdout-file", "-")


class Supervisor:
    """Runs papermill in a separate process, from ``__enter__`` on.

    ``stopped_by``: the signal that stopped it, if any did. ``failure``: why the supervisor itself ended
    it, None if it did not. ``last_error``: the last line of papermill's traceback, "" without one. papermill
    and all that it starts keep their temporary files in one folder, which the guard removes at the end.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.stopped_by: int | None = None
        self.failure: str | None = None
        self._papermill = [sys.executable, "-m", PAPERMILL, *arguments, *_QUIET]
        self.last_error = ""
        self._stopped_s = 0.0
        self._resources = ExitStack()
        self._lifeline: int | None = None
        self._started: subprocess.Popen[str] | None = None
        self._passing_on = [
            threading.Thread(target=pass_on, daemon=True)
            for pass_on in (self._pass_on_output, self._pass_on_errors)
        ]

    def __enter__(self) -> Self:
        """Start papermill under its guard. The signal handlers stay until the runner exits."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # for orphans of the guard, should it be killed
        scratch = tempfile.mkdtemp(prefix=SCRATCH_PREFIX)
        self._resources.callback(shutil.rmtree, scratch, ignore_errors=True)  # if the guard was killed
        lifeline, self._lifeline = os.pipe()
        self._resources.callback(self._cut_lifeline)
        handle_stops(self._stop)
        try:
            self._started = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(lifeline), *self._papermill],
                env={**os.environ, "TMPDIR": scratch, GUARD_SCRATCH: scratch},
                pass_fds=(lifeline,),
                start_new_session=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        finally:
            os.close(lifeline)
        for thread in self._passing_on:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    @property
    def _guard(self) -> subprocess.Popen[str]:
        if self._started is None:
            raise RuntimeError("papermill was not started")
        return self._started

    def wait(self) -> int:
        """Returns papermill's exit code; all of its processes have ended by then."""
        watch = _Watchdog(self._guard.pid, self._end_hanging)
        while (code := self._guard.poll()) is None:
            if self._left_s(INTERRUPTED_S) <= 0:
                self._cut_lifeline()
            if self._left_s(STOP_S) <= 0:
                self._guard.kill()
            watch.look()
            time.sleep(POLL_S)
        _end_descendants(min(END_S, self._left_s(STOP_S)))
        for thread in self._passing_on:
            thread.join(min(END_S, self._left_s(STOP_S)))
        return code

    def finish(self, finalize: Callable[[], Path]) -> Path | None:
        """What ``finalize`` returns; None if a signal came and it did not end in time."""
        result: Future[Path] = Future()

        def run() -> None:
            try:
                result.set_result(finalize())
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        while not result.done() and self._left_s(STOP_S) > 0:
            time.sleep(POLL_S)
        return result.result() if result.done() else None

    def hold(self, seconds: float) -> None:
        """Wait, so that files can be copied out of the container; a signal ends the wait at once."""
        print(f"waiting {seconds:.0f} s so that files can be copied; send SIGTERM to end", flush=True)
        deadline = time.monotonic() + seconds
        while self.stopped_by is None and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _end_hanging(self, process: psutil.Process, name: str) -> None:
        """End a run that would wait for a stopped process for ever."""
        if self.failure is None:
            self.failure = f"{name} (pid {process.pid}) was stopped by a signal for {STOPPED_S:.0f} s"
            print(f"{self.failure}: ending the run; finished phases are safe", flush=True)
            self._cut_lifeline()
        else:  # the guard itself is stopped, and did not notice
            self._guard.kill()

    def _cut_lifeline(self) -> None:
        """Have the guard kill papermill and all other processes."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _left_s(self, limit_s: float) -> float:
        """The rest of a time limit that starts with the signal; infinite without a signal."""
        if self.stopped_by is None:
            return math.inf
        return max(0.0, self._stopped_s + limit_s - time.monotonic())

    def _pass_on_output(self) -> None:
        """papermill's stdout, through a pipe that is always read: papermill fails where it cannot print."""
        assert self._guard.stdout is not None
        for line in self._guard.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()

    def _pass_on_errors(self) -> None:
        """papermill's stderr, without the kernel's remark about TCP, and without a traceback: the runner
        prints the error as one line at the end."""
        assert self._guard.stderr is not None
        for line in self._guard.stderr:
            if line.startswith("Traceback (most recent call last)"):
                break
            if "Kernel is running over TCP without encryption" not in line:
                sys.stderr.write(line)
        lines = self._guard.stderr.read().strip().splitlines()
        self.last_error = lines[-1] if lines else ""

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        """Interrupt the kernel, once: its cell ends the server, and papermill saves the notebook."""
        if self.stopped_by is not None:
            return
        self._stopped_s = time.monotonic()
        self.stopped_by = signum
        print(f"stopping ({signal.Signals(signum).name}): finished phases are safe", flush=True)
        if self._started is None:  # __enter__ has not come that far: wait() kills it when its time is up
            return
        with suppress(psutil.NoSuchProcess):
            _interrupt(psutil.Process(self._started.pid).children(recursive=True))


class _Watchdog:
    """Looks for the guard, papermill and its kernel being stopped by a signal, about once a second."""

    def __init__(self, guard_pid: int, end: Callable[[psutil.Process, str], None]) -> None:
        self._guard_pid = guard_pid
        self._end = end
        self._stop_watch = StopWatch(STOPPED_S)
        self._next_s = 0.0

    def look(self) -> None:
        """Call ``end`` with a process that hangs and its name, at every look while it does."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + WATCH_S
        with suppress(psutil.NoSuchProcess):
            guard = psutil.Process(self._guard_pid)
            kernels = [process for process in guard.children(recursive=True) if _is_kernel(process)]
            names = {guard: "the guard", **dict.fromkeys(guard.children(), "papermill")}
            names |= dict.fromkeys(kernels, "the notebook's kernel")
            stopped = self._stop_watch.stopped_too_long(list(names))
            if stopped is not None:
                self._end(stopped, names[stopped])


def _interrupt(processes: Sequence[psutil.Process]) -> None:
    """SIGINT to the kernel. If it has not started yet, papermill has nothing to save: SIGTERM to all."""
    kernels = [process for process in processes if _is_kernel(process)]
    for process in kernels or processes:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGINT if kernels else signal.SIGTERM)


def _is_kernel(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "ipykernel_launcher" in process.cmdline()
    return False


def _end_descendants(limit_s: float) -> None:
    """Kill what the guard left, because it was killed or its time was up."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=limit_s)
