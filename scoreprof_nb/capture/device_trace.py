"""The device block of a phase: JAX's own trace of some requests, with py-spy off.

It comes after the measured blocks, so whatever goes wrong with it costs the trace and nothing else. Its
requests have rows of their own and are never part of the latencies.
"""

import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import requests

from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.run_clock import now_s, system_ahead_s
from scoreprof_nb.capture.server import Server, ServerFailed
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.files import DEVICE_TRACE
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import DeviceTrace

START_S = 30.0  # for the server's answers; writing a trace took 0.3 s per MB on two cores
STOP_S = 90.0
INTERRUPTED_S = 2.0
POLL_S = 0.05
ENOUGH_REQUESTS = 40  # a trace of more requests takes longer to write than it tells
MOST_BYTES = 256 << 20  # of a trace, before it is packed
MESSAGE_CHARACTERS = 300


class _TraceFailed(RuntimeError):
    """There is no trace; the message says why."""


@dataclass(frozen=True)
class DeviceTraceCapture:
    """Traces one phase. ``packages``: the versions in the server's interpreter."""

    server: Server
    load: LoadGenerator  # not started yet
    seconds: float
    packages: Mapping[str, Any]
    redact: Redactor
    log_progress: LogProgress
    api_key: str = ""

    def capture(self, folder: Path) -> DeviceTrace:
        """Trace requests until ``seconds`` have passed, or enough requests are answered.

        The trace goes into the folder, packed with gzip. Never raises for what the server does: the record
        says why there is no trace.
        """
        record = DeviceTrace(started_s=now_s(), stopped_s=now_s())
        try:
            with _output_folder(self.server) as output:
                self._start(output)
                try:
                    record = self._send(record)
                except BaseException:  # an interrupt: a server that goes on running must not go on tracing
                    with suppress(_TraceFailed, ServerFailed):
                        self._post(ENGINE.trace_stop_path, b"", INTERRUPTED_S)
                    raise
                record = self._stop(record)
                record = _keep(output, folder, record)
        except (_TraceFailed, ServerFailed, OSError, psutil.Error) as error:
            line = str(error).strip().partition("\n")[0].removesuffix(" The end of its log:")
            record = replace(record, failure=" ".join(self.redact(line).split())[:MESSAGE_CHARACTERS])
        self.log_progress(f"  device trace: {_outcome(record)}")
        return record

    def _start(self, output: Path) -> None:
        body = ENGINE.trace_request(str(output), self.packages)
        status, text = self._post(ENGINE.trace_start_path, body, START_S)
        refused = ENGINE.refused_trace(status, text)
        if refused is not None:
            raise _TraceFailed(f"the server refused to start a trace: {refused}")

    def _send(self, record: DeviceTrace) -> DeviceTrace:
        record = replace(record, started_s=now_s(), clock_ahead_s=system_ahead_s())
        deadline = time.monotonic() + self.seconds
        with suppress(ServerFailed), self.load:
            while time.monotonic() < deadline and len(self.load.rows) < ENOUGH_REQUESTS:
                self.server.check_alive()
                time.sleep(POLL_S)
        answered = [row for row in self.load.rows if row["error"] is None]
        latencies_ms = [(row["done_ns"] - row["sent_ns"]) / 1e6 for row in answered]
        return replace(
            record,
            stopped_s=now_s(),
            requests=len(answered),
            failed=len(self.load.rows) - len(answered),
            mean_ms=sum(latencies_ms) / len(latencies_ms) if latencies_ms else None,
        )

    def _stop(self, record: DeviceTrace) -> DeviceTrace:
        start_s = time.monotonic()
        status, text = self._post(ENGINE.trace_stop_path, b"", STOP_S)
        refused = ENGINE.refused_trace(status, text)
        if refused is not None:
            raise _TraceFailed(f"the server refused to stop its trace: {refused}")
        return replace(record, write_s=time.monotonic() - start_s)

    def _post(self, path: str, body: bytes, timeout_s: float) -> tuple[int, str]:
        """Status and text of the answer. A connection of its own: a server may close one after an error."""
        try:
            with requests.Session() as session:
                session.trust_env = False
                headers = {"Content-Type": "application/json"} if body else {}
                if self.api_key:
                    headers["Authorization"] = f"Bearer {self.api_key}"
                answer = session.post(self.server.url + path, data=body, headers=headers, timeout=timeout_s)
                return answer.status_code, answer.text
        except requests.Timeout as error:
            raise _TraceFailed(
                f"no answer to {path} within {timeout_s:.0f} s; the server may go on tracing, which slows it"
            ) from error
        except requests.RequestException as error:
            self.server.check_alive()
            raise _TraceFailed(f"{path} failed: {error}") from error


@contextmanager
def _output_folder(server: Server) -> Iterator[Path]:
    """A temporary folder that the server can write to, whoever it runs as."""
    output = Path(tempfile.mkdtemp(prefix="scoreprof-trace-"))
    try:
        if psutil.Process(server.pid()).uids().real != os.getuid():
            output.chmod(0o777)
        yield output
    finally:
        shutil.rmtree(output, ignore_errors=True)


def _keep(output: Path, folder: Path, record: DeviceTrace) -> DeviceTrace:
    """Keep the largest trace of the output, if it is not too large; note what is dropped."""
    traces = sorted(output.rglob("*.xplane.pb"), key=lambda path: path.stat().st_size, reverse=True)
    if not traces:
        raise _TraceFailed(
            "the server wrote no trace into the folder that it was given; "
            "one in another container or with a /tmp of its own cannot"
        )
    size = traces[0].stat().st_size
    dropped = tuple(f"{path.name}, {path.stat().st_size >> 20} MB" for path in traces[1:])
    if size > MOST_BYTES:
        raise _TraceFailed(
            f"the trace has {size >> 20} MB, more than {MOST_BYTES >> 20} MB, and was dropped: "
            "use a smaller device_trace_s"
        )
    with traces[0].open("rb") as source, gzip.open(folder / DEVICE_TRACE, "wb", compresslevel=4) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return replace(record, file=DEVICE_TRACE, size=size, dropped=dropped)


def _outcome(record: DeviceTrace) -> str:
    if record.failure is not None:
        return record.failure
    return f"{record.requests} requests, {record.size / 1e6:.1f} MB, written in {record.write_s:.1f} s"
