"""The runner: papermill with the same arguments, an orderly stop on signals, and exit codes.

    python -m scoreprof_nb NOTEBOOK OUT [-p NAME VALUE ...] [any other option of papermill]

Exit codes: 0 done; 42 a parameter has to be changed; 143 stopped by SIGTERM, 130 by Ctrl-C (finished
phases are safe, the next start with the same run_dir goes on); 3 a comparison that fail_on does not
let pass; 1 anything else.
A stop takes less than 8 s: what has not ended by then, such as a copy to a slow bucket, is left.
The last line of the output says where the report is.
"""

import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from scoreprof_nb.runner.executed_notebook import GATE_ERROR, ExecutedNotebook, read_executed_notebook
from scoreprof_nb.runner.finalize import (
    print_summary,
    publish_results,
    publish_stopped,
    write_termination_message,
)

WRONG_PARAMETER = 42
GATE = 3
PAPERMILL_USAGE = 2
STOP_S = 7.0  # from the signal until all is left as it is; processes that begin and end take their time too
INTERRUPTED_S = 6.0  # of these, until papermill is killed: for the end of the server, and the notebook
ENDED_S = 3.0  # for killed processes to be gone
POLL_S = 0.1
_PR_SET_CHILD_SUBREAPER = 36
_QUIET = ["--no-progress-bar", "--log-level", "ERROR", "--stdout-file", "-"]


class Runner:
    """Runs papermill in a process of its own, and ends everything it leaves behind."""

    def __init__(self, arguments: list[str]) -> None:
        self.stopped_by: int | None = None
        self._stopped_s = 0.0
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans become our children: none is lost
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        self._papermill = subprocess.Popen(
            [sys.executable, "-m", "papermill", *arguments, *_QUIET],
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._errors = threading.Thread(target=self._pass_on_errors, daemon=True)
        self._errors.start()

    def wait(self) -> int:
        """papermill's exit code; all of its processes are gone then."""
        while (code := self._papermill.poll()) is None:
            _reap_orphans(self._papermill.pid)
            if self._left_s(INTERRUPTED_S) <= 0:
                self._papermill.kill()
            time.sleep(POLL_S)
        _end_descendants(min(ENDED_S, self._left_s(STOP_S)))
        self._errors.join(min(ENDED_S, self._left_s(STOP_S)))
        return code

    def finish(self, ending: Callable[[], Path]) -> Path | None:
        """What ``ending`` gives; None when a signal came and it did not end in time."""
        ended: Future[Path] = Future()

        def run() -> None:
            try:
                ended.set_result(ending())
            except BaseException as error:
                ended.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        while not ended.done() and self._left_s(STOP_S) > 0:
            time.sleep(POLL_S)
        return ended.result() if ended.done() else None

    def hold(self, seconds: float) -> None:
        """Wait, so that files can be fetched from the container; a signal ends it at once."""
        print(f"holding for {seconds:.0f} s, so that files can be fetched; SIGTERM ends it", flush=True)
        deadline = time.monotonic() + seconds
        while self.stopped_by is None and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _left_s(self, limit_s: float) -> float:
        """Of a time that begins with the signal; endless without one."""
        if self.stopped_by is None:
            return math.inf
        return max(0.0, self._stopped_s + limit_s - time.monotonic())

    def _pass_on_errors(self) -> None:
        """papermill's stderr, without the kernel's remark that it talks over local TCP, and without the
        traceback of a failed cell: the error is said in one line at the end."""
        assert self._papermill.stderr is not None
        for line in self._papermill.stderr:
            if line.startswith("Traceback (most recent call last)"):
                break
            if "Kernel is running over TCP without encryption" not in line:
                sys.stderr.write(line)
        self._papermill.stderr.read()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        """Interrupt the kernel, once: its cell ends the server, papermill saves the notebook."""
        if self.stopped_by is not None:
            return
        self._stopped_s = time.monotonic()
        self.stopped_by = signum
        print(f"stopping ({signal.Signals(signum).name}): finished phases are safe", flush=True)
        kernels = _kernels(self._papermill.pid)
        for kernel in kernels:
            with suppress(psutil.Error):
                kernel.send_signal(signal.SIGINT)
        if not kernels:
            self._papermill.terminate()


def _kernels(papermill: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [
            child for child in psutil.Process(papermill).children() if "ipykernel_launcher" in child.cmdline()
        ]
    return []


def _reap_orphans(papermill: int) -> None:
    """Take the exit status of ended processes that fell to us, but never papermill's."""
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == papermill:
                return
            os.waitpid(ended.si_pid, 0)


def _end_descendants(limit_s: float) -> None:
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=limit_s)


def main(arguments: list[str]) -> int:
    """Run the notebook; gives the exit code."""
    if any(argument in ("-h", "--help", "--version", "--help-notebook") for argument in arguments):
        if "-h" in arguments or "--help" in arguments:
            print(__doc__, flush=True)
        return subprocess.run([sys.executable, "-m", "papermill", *arguments]).returncode
    output = _output_of(arguments)
    if output is None:
        print(__doc__, file=sys.stderr)
        return WRONG_PARAMETER
    started = time.time()
    output.parent.mkdir(parents=True, exist_ok=True)
    runner = Runner(arguments)
    code = runner.wait()
    signum = runner.stopped_by
    executed = None
    if output.exists() and output.stat().st_mtime >= started:
        try:
            executed = read_executed_notebook(output)
        except (OSError, ValueError) as error:  # papermill was killed while it wrote
            print(f"scoreprof-nb: {output} cannot be read: {error}", file=sys.stderr, flush=True)
    result = _exit_code(code, signum, executed)
    if executed is not None and signum is not None:
        executed = replace(executed, error=f"stopped by {signal.Signals(signum).name}")
    # What is known by now is said before anything that may take its time, and again when all is done.
    write_termination_message(result, executed, None)
    report = None
    if executed is not None:
        keep = partial(publish_results if signum is None else publish_stopped, executed)
        report = runner.finish(keep)
        if report is None and runner.stopped_by is not None:
            result = 128 + runner.stopped_by
            print("scoreprof-nb: stopped before all was copied", file=sys.stderr, flush=True)
    write_termination_message(result, executed, report)
    if executed is not None:
        print_summary(executed)
    if executed is not None and executed.error is not None and signum is None:
        print(f"scoreprof-nb: {executed.error}", file=sys.stderr, flush=True)
    if report is not None:
        print(f"report: {report}", flush=True)
    if executed is not None and runner.stopped_by is None and executed.hold_s:
        runner.hold(executed.hold_s)
    return result


def _output_of(arguments: list[str]) -> Path | None:
    """The second of the two leading paths, None when they are not there."""
    if len(arguments) < 2 or any(path.startswith("-") for path in arguments[:2]):
        return None
    return Path(arguments[1]).absolute()


def _exit_code(code: int, signum: int | None, executed: ExecutedNotebook | None) -> int:
    if signum is not None:
        return 128 + signum
    if code == 0:
        return 0
    if code == PAPERMILL_USAGE or (executed is not None and executed.error_name == "ParameterError"):
        return WRONG_PARAMETER
    if executed is not None and executed.error_name == GATE_ERROR:
        return GATE
    return 1


def run_and_exit() -> NoReturn:
    """Run the notebook named on the command line, and end without the interpreter's tidying up, which takes
    a second that a stop does not have."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
