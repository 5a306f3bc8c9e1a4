"""py-spy, started and stopped so that its recording is complete and its limits are known.

It writes its file only when it ends by SIGINT, says nothing in the file about lost ticks, and can
wedge; so it is watched: its own words are kept, each error has its time and process, the wall clock
is ours, and a py-spy that does not end is killed and its target set going again.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO

import psutil

from scoreprof_nb.parameters.profile import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.store import Recording

START_S = 30.0
STOP_S = 20.0
KILL_S = 0.5

MODE_FLAGS = {"nonblocking": ["--nonblocking"], "blocking": [], "native": ["--native"]}

_STARTED = "Sampling process"
_BEHIND = re.compile(r"([\d.]+)(ms|s) behind in sampling")
_COUNTS = re.compile(r"Samples: (\d+) Errors: (\d+)")
_LOST = re.compile(
    r"^\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z WARN +py_spy\S*\] "
    r"Failed to get stack trace from (\d+)(?:: .* for thread (\d+))?"
)


class PySpyFailed(RuntimeError):
    """py-spy did not start to sample."""


def executable() -> str:
    """The py-spy of this environment, else the one on PATH; raises ParameterError when there is none."""
    beside = Path(sysconfig.get_path("scripts")) / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise ParameterError("py_spy_mode", "on", "py-spy is not installed: pip install py-spy, or use 'off'")
    return found


def check_may_trace(mode: str = "nonblocking") -> None:
    """Raise ParameterError with py-spy's own reason when this user may not trace a process.

    It asks for one stack of a child of ours, as the server will be one, and without
    ``--subprocesses``, which hides the cause.
    """
    target = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(30)"], stdout=subprocess.PIPE
    )
    try:
        assert target.stdout is not None
        target.stdout.readline()
        answer = subprocess.run(
            [executable(), "dump", "--pid", str(target.pid)], capture_output=True, text=True, timeout=START_S
        )
    finally:
        target.kill()
        target.wait()
        assert target.stdout is not None
        target.stdout.close()
    if answer.returncode != 0:
        said = (
            " ".join(answer.stderr.partition("Stack backtrace")[0].split())
            or f"exit code {answer.returncode}"
        )
        raise ParameterError(
            "py_spy_mode",
            mode,
            f"no permission to trace ({said[:300]}); needed: capability SYS_PTRACE, or the same user "
            f"and kernel.yama.ptrace_scope=0 (here: {ptrace_scope()}). 'off' measures without stacks",
        )


def ptrace_scope() -> str:
    """Yama's setting, or ``absent``."""
    try:
        return Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        return "absent"


class PySpy:
    """One recording in progress."""

    def __init__(
        self,
        pid: int,
        output: Path,
        rate_hz: int,
        mode: str,
        redact: Redactor,
        thread_ids: Mapping[int, Mapping[int, int]],
    ) -> None:
        """``thread_ids``: of each process, as ``thread_ids`` gives them. Raises PySpyFailed."""
        self._output = output
        self._rate_hz = rate_hz
        self._redact = redact
        self._thread_ids = thread_ids
        try:
            self._target = psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise PySpyFailed(f"the server's process {pid} is gone") from error
        self._said: list[str] = []
        self._sampling = threading.Event()
        self._process = subprocess.Popen(
            [
                executable(),
                "record",
                *("--pid", str(pid), "--output", str(output), "--format", "speedscope"),
                *("--rate", str(rate_hz), "--subprocesses", "--threads", "--idle", "--full-filenames"),
                *MODE_FLAGS[mode],
            ],
            # One line per error; a notebook's kernel would ask for colours, which hide it from us.
            env={**os.environ, "RUST_LOG": "warn", "RUST_LOG_STYLE": "never"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        self._started_s = self._wait_sampling()

    def stop(self) -> Recording:
        """End the recording; what went wrong is in ``failure`` of the result, never raised."""
        stopped_s = time.time()
        failure = None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                failure = f"py-spy did not end within {STOP_S:.0f} s of SIGINT and was killed"
                self.kill()
        self._reader.join(timeout=2)
        said = "\n".join(self._said)
        if failure is None and (self._process.returncode != 0 or not self._output.exists()):
            words = " ".join(said.partition("Stack backtrace")[0].split())[-300:]
            failure = f"py-spy ended with {self._process.returncode} and no recording: {words}"
        counts = _COUNTS.search(said)
        recorded = failure is None
        if recorded:
            self._redact_file()
        return Recording(
            file=self._output.name if recorded else None,
            started_s=self._started_s,
            stopped_s=stopped_s,
            rate_hz=self._rate_hz,
            samples=int(counts[1]) if counts else None,
            errors=int(counts[2]) if counts else None,
            behind_s=_most_behind(said),
            lost=tuple(self._lost()),
            failure=failure,
        )

    def kill(self) -> None:
        """End py-spy, in order if it does so at once; a target it left stopped goes on."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(psutil.NoSuchProcess):
            for process in [self._target, *self._target.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._said.append(line.rstrip())
                if _STARTED in line:
                    self._sampling.set()
        self._sampling.set()

    def _lost(self) -> Iterator[tuple[float, int, int]]:
        for match in filter(None, map(_LOST.match, self._said)):
            at_s = datetime.fromisoformat(match[1][:26] + "+00:00").timestamp()
            pid = int(match[2])
            yield at_s, pid, self._thread_ids.get(pid, {}).get(int(match[3] or 0), 0)

    def _wait_sampling(self) -> float:
        self._sampling.wait(START_S)  # or until its output ends, a moment before the process does
        if any(_STARTED in line for line in self._said) and self._process.poll() is None:
            return time.time()
        self.kill()
        said = " ".join(" ".join(self._said).split())
        raise PySpyFailed(f"py-spy did not start to sample: {said[-400:] or 'it said nothing'}")

    def _redact_file(self) -> None:
        text = self._output.read_text(encoding="utf-8")
        clean = self._redact(text)
        if clean != text:
            self._output.write_text(clean, encoding="utf-8")


def _most_behind(said: str) -> float:
    return max(
        (float(match[1]) / (1000 if match[2] == "ms" else 1) for match in _BEHIND.finditer(said)), default=0.0
    )


def thread_ids(pid: int) -> dict[int, int]:
    """The OS thread id of each Python thread of a process by its pthread id; empty if not known.

    py-spy names threads by the OS id in its recordings, but by the pthread id in its errors.
    """
    try:
        answer = subprocess.run(
            [executable(), "dump", "--nonblocking", "--json", "--pid", str(pid)],
            capture_output=True,
            text=True,
            timeout=START_S,
        )
        threads = json.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}
    return {thread["thread_id"]: thread["os_thread_id"] for thread in threads if thread.get("os_thread_id")}
