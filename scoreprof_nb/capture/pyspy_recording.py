"""A recording by py-spy, supervised so that it is complete and its limits are known.

py-spy writes its file only after SIGINT, omits lost ticks from the file, and can hang. Therefore its output
is kept, the time and process of each error are read from it, start and stop use the kit's wall clock, and
a py-spy that hangs is killed and its target resumed.
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Self

import psutil

from scoreprof_nb.capture.recorder import RecorderFailed
from scoreprof_nb.capture.run_clock import from_system_s, now_s
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.records import Recording

START_S = 30.0
STOP_S = 20.0
KILL_S = 0.5

_STARTED = "Sampling process"
_BEHIND = re.compile(r"([\d.]+)(ms|s) behind in sampling")
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_COUNTS = re.compile(r"Samples: (\d+) Errors: (\d+)")
_LOST = re.compile(
    r"^\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z WARN +py_spy\S*\] "
    r"Failed to get stack trace from (\d+)(?:: .* for thread (\d+))?"
)


class PySpyRecording:
    """One recording in progress, created by ``start``."""

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        target: psutil.Process,
        output: Path,
        rate_hz: int,
        redact: Redactor,
        thread_ids: Mapping[int, Mapping[int, int]],
    ) -> None:
        self._process = process
        self._target = target
        self._output = output
        self._rate_hz = rate_hz
        self._redact = redact
        self._thread_ids = thread_ids
        self._lines: list[str] = []
        self._lost: list[tuple[float, int, int]] = []
        self._sampling = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._started_s = 0.0

    @classmethod
    def start(
        cls,
        program: str,
        pid: int,
        output: Path,
        rate_hz: int,
        mode_flags: Sequence[str],
        redact: Redactor,
        thread_ids: Mapping[int, Mapping[int, int]],
    ) -> Self:
        """Start the py-spy ``program`` and wait until it samples. Raises RecorderFailed.

        ``thread_ids``: OS thread ids by pthread id, by pid.
        """
        try:
            target = psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise RecorderFailed(f"the server's process {pid} has ended") from error
        process = subprocess.Popen(
            [
                program,
                "record",
                *("--pid", str(pid), "--output", str(output), "--format", "speedscope"),
                *("--rate", str(rate_hz), "--subprocesses", "--threads", "--idle", "--full-filenames"),
                *mode_flags,
            ],
            # One line per error. A notebook's kernel would request colours, which the patterns do not match.
            env={**os.environ, "RUST_LOG": "warn", "RUST_LOG_STYLE": "never"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        recording = cls(process, target, output, rate_hz, redact, thread_ids)
        try:
            recording._reader.start()
            recording._wait_sampling()
        except BaseException:
            recording.kill()
            raise
        return recording

    def stop(self) -> Recording:
        """End the recording. A failure is in the result's ``failure``, never raised."""
        stopped_s = now_s()
        failure = None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                failure = f"py-spy did not exit within {STOP_S:.0f} s of SIGINT and was killed"
                self.kill()
        self._reader.join(timeout=2)
        output = "\n".join(self._lines)
        if failure is None and (self._process.returncode != 0 or not self._output.exists()):
            reason = one_line(output)[-300:]
            failure = f"py-spy exited with code {self._process.returncode} and wrote no recording: {reason}"
        counts = _COUNTS.search(output)
        recorded = failure is None
        if recorded:
            redact_recording(self._output, self._redact)
        return Recording(
            file=self._output.name if recorded else None,
            started_s=self._started_s,
            stopped_s=stopped_s,
            rate_hz=self._rate_hz,
            samples=int(counts[1]) if counts else None,
            errors=int(counts[2]) if counts else None,
            behind_s=_largest_delay_s(output),
            lost=tuple(self._lost),
            failure=failure,
        )

    def kill(self) -> None:
        """Stop py-spy, by SIGINT if it reacts at once; resume a target that it left stopped."""
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
                self._lines.append(line.rstrip())
                self._lost.extend(self._lost_tick(line))
                if _STARTED in line:
                    self._sampling.set()
        self._sampling.set()

    def _lost_tick(self, line: str) -> Iterator[tuple[float, int, int]]:
        """Epoch seconds, pid, and OS thread id (0 if unknown) of the error in a line just written."""
        match = _LOST.match(line)
        if match:
            at_s = datetime.fromisoformat(match[1][:26] + "+00:00").timestamp()
            pid = int(match[2])
            yield from_system_s(at_s), pid, self._thread_ids.get(pid, {}).get(int(match[3] or 0), 0)

    def _wait_sampling(self) -> None:
        self._sampling.wait(START_S)  # or until its output ends, a moment before the process does
        if any(_STARTED in line for line in self._lines) and self._process.poll() is None:
            self._started_s = now_s()
            return
        self.kill()
        reason = " ".join(" ".join(self._lines).split())[-400:] or "it printed nothing"
        raise RecorderFailed(f"py-spy did not start to sample: {reason}")


def redact_recording(path: Path, redact: Redactor) -> None:
    """Redact the texts in a JSON file: names of frames, threads and processes.

    Samples, which are most of a recording, are numbers: they are not searched.
    """
    text = path.read_text(encoding="utf-8")
    clean = _JSON_TEXT.sub(lambda match: redact(match[0]), text)
    if clean != text:
        path.write_text(clean, encoding="utf-8")


def one_line(output: str) -> str:
    """py-spy's message, without the backtrace that may follow it."""
    return " ".join(output.partition("Stack backtrace")[0].split())


def _largest_delay_s(output: str) -> float:
    """The largest delay that py-spy reported, in seconds."""
    return max(
        (float(match[1]) / (1000 if match[2] == "ms" else 1) for match in _BEHIND.finditer(output)),
        default=0.0,
    )
