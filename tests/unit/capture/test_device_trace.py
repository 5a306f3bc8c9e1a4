"""The device block against servers that trace, refuse, hang, write nothing or die: it costs nothing else."""

import gzip
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from scoreprof_nb.capture import device_trace
from scoreprof_nb.capture.device_trace import DeviceTraceCapture
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.server import ServerFailed
from scoreprof_nb.parameters.requests_file import RequestBody
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.files import DEVICE_TRACE
from tests.support.progress import quiet
from tests.support.standin import scores_for, standin

BODY = RequestBody("single", 1, json.dumps({"items": ["a"]}).encode(), 2)
TRACE = b"what JAX writes" * 100


class Traced:
    """What a stand-in server was asked for, and how it behaves: ``start`` and ``stop`` are its answers."""

    def __init__(self, start=(200, "Start profiling.\n"), stop=(200, "Stop profiling.\n"), writes=1):
        self.start, self.stop, self.writes = start, stop, writes
        self.asked, self.folder, self.dies, self.interrupts, self.hangs_s = [], None, False, False, 0.0

    def answer(self, handler, body):
        path = handler.path
        if path == "/v1/score":
            time.sleep(0.002)
            handler.reply_json(scores_for(body))
            return
        self.asked.append((path, body))
        if path == "/start_profile":
            self.folder = Path(body["output_dir"])
            handler.reply(self.start[0], self.start[1].encode())
            return
        if self.dies:
            handler.hang_up()
            return
        time.sleep(self.hangs_s)
        for number in range(self.writes):
            target = self.folder / "plugins" / "profile" / "now" / f"host{number}.xplane.pb"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(TRACE * (2 - number))
        handler.reply(self.stop[0], self.stop[1].encode())


class Attached:
    """A server as the capture sees one; ``dead`` says how it ended."""

    log = None

    def __init__(self, url, traced):
        self.url = url
        self._traced = traced

    def pid(self):
        return os.getpid()

    def check_alive(self):
        if self._traced.interrupts:
            raise KeyboardInterrupt
        if self._traced.dies and len(self._traced.asked) > 1:
            raise ServerFailed("the server was killed by signal SIGKILL. The end of its log:\nmuch text")


@contextmanager
def capture_of(traced, seconds=0.3, packages=None):
    """(function that captures into a folder, load)."""
    with standin(traced.answer) as server:
        load = LoadGenerator(server.url, [BODY], 1, 5.0)
        load.warming = False
        capture = DeviceTraceCapture(
            Attached(server.url, traced), load, seconds, packages or {}, Redactor(), quiet
        )
        yield capture.capture, load


def test_trace_and_requests_are_kept(tmp_path):
    """Broken: a trace that the server wrote is not in the phase's folder, or its requests are not counted."""
    traced = Traced()
    with capture_of(traced, packages={"jax": "0.10.2"}) as (capture, load):
        record = capture(tmp_path)
    assert record.failure is None
    assert (record.file, record.size) == (DEVICE_TRACE, 2 * len(TRACE))
    assert gzip.decompress((tmp_path / DEVICE_TRACE).read_bytes()) == TRACE * 2
    assert record.requests == len(load.rows) > 5
    assert record.mean_ms >= 2
    assert record.started_s < record.stopped_s
    assert all(record.started_s * 1e9 <= row["sent_ns"] for row in load.rows)
    assert [path for path, _ in traced.asked] == ["/start_profile", "/stop_profile"]
    assert traced.asked[0][1] == {
        "output_dir": str(traced.folder),
        "host_tracer_level": 1,
        "python_tracer_level": 0,
    }
    assert not traced.folder.exists(), "the server's folder is left behind"


def test_older_jax_needs_a_higher_level(tmp_path):
    """Broken: with jax 0.8 the trace has no operations."""
    for packages in ({"jax": "0.8.0"}, {"jax": None}, {}):
        traced = Traced()
        with capture_of(traced, 0.01, packages) as (capture, _):
            capture(tmp_path)
        assert traced.asked[0][1]["host_tracer_level"] == 2


def test_enough_requests_end_the_trace(tmp_path, monkeypatch):
    """Broken: a fast server's trace of some seconds takes minutes to write."""
    monkeypatch.setattr(device_trace, "ENOUGH_REQUESTS", 5)
    with capture_of(Traced(), seconds=60) as (capture, load):
        record = capture(tmp_path)
    assert 5 <= record.requests == len(load.rows) < 100


@pytest.mark.parametrize(
    ("traced", "words", "stops"),
    [
        (Traced(start=(500, "Internal Server Error")), "refused to start a trace: Internal", 0),
        (Traced(start=(404, "")), "refused to start a trace: HTTP 404", 0),
        (Traced(start=(200, "Profiling is already in progress.")), "refused to start a trace: Profiling", 0),
        (Traced(stop=(500, "disk full")), "refused to stop its trace: disk full", 1),
        (Traced(writes=0), "wrote no trace into the folder", 1),
    ],
    ids=["error", "unknown", "busy", "stop", "nothing written"],
)
def test_a_server_without_a_trace_costs_the_trace_only(tmp_path, traced, words, stops):
    """Broken: a phase is lost to its trace, another one's trace is stopped, or the reason is not recorded."""
    with capture_of(traced, 0.05) as (capture, _):
        record = capture(tmp_path)
    assert record.file is None
    assert words in record.failure
    assert [path for path, _ in traced.asked].count("/stop_profile") == stops
    assert not list(tmp_path.iterdir())


def test_a_server_that_hangs_is_given_up(tmp_path, monkeypatch):
    """Broken: a run waits for ever for a trace."""
    monkeypatch.setattr(device_trace, "STOP_S", 0.2)
    traced = Traced()
    traced.hangs_s = 1.0
    with capture_of(traced, 0.05) as (capture, _):
        record = capture(tmp_path)
    assert "no answer to /stop_profile within" in record.failure
    assert "may go on tracing" in record.failure


def test_a_server_that_dies_is_named(tmp_path):
    """Broken: the measured blocks of a phase are lost when the server dies after them."""
    traced = Traced()
    traced.dies = True
    with capture_of(traced, 0.05) as (capture, _):
        record = capture(tmp_path)
    assert record.failure == "the server was killed by signal SIGKILL."


def test_a_large_trace_is_dropped_and_so_are_further_ones(tmp_path, monkeypatch):
    """Broken: a trace fills the bucket, or it is not said that one was dropped."""
    with capture_of(Traced(writes=2), 0.01) as (capture, _):
        record = capture(tmp_path)
    assert record.dropped == ("host1.xplane.pb, 0 MB",)
    monkeypatch.setattr(device_trace, "MOST_BYTES", 10)
    (tmp_path / "large").mkdir()
    with capture_of(Traced(), 0.01) as (capture, _):
        record = capture(tmp_path / "large")
    assert "use a smaller device_trace_s" in record.failure
    assert not list((tmp_path / "large").iterdir())


def test_an_interrupt_stops_the_trace(tmp_path):
    """Broken: Ctrl-C leaves an attached server tracing until its memory is full."""
    traced = Traced()
    traced.interrupts = True
    with capture_of(traced) as (capture, _), pytest.raises(KeyboardInterrupt):
        capture(tmp_path)
    assert [path for path, _ in traced.asked] == ["/start_profile", "/stop_profile"]
