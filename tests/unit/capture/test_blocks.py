"""A block: the recording that belongs to it, and what happens when that fails."""

import time
from types import SimpleNamespace

import pytest

from scoreprof_nb.capture import blocks
from scoreprof_nb.capture.blocks import BlockMeasurement, BlockRecording, block_order
from scoreprof_nb.capture.recorder import RecorderFailed
from scoreprof_nb.capture.run_clock import StepWatch
from scoreprof_nb.capture.server import ServerFailed
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.redact import MASK, Redactor
from scoreprof_nb.run_folder.records import Recording

SECRET = "s3cr3tvalue42"


class FakeRecorder:
    """A recorder that only notes its calls in ``events``."""

    name, rate_hz, suffix = "fake", 10, ".json"

    def __init__(self, failure=None):
        self.events = []
        self._failure = failure

    def check(self):
        pass

    def observe(self, pids):
        pass

    def start(self, pid, output):
        if self._failure:
            raise RecorderFailed(self._failure)
        self.events.append(f"start {pid} {output}")
        return self

    def stop(self):
        self.events.append("stop")
        return Recording("r.json", 1.0, 2.0, self.rate_hz)

    def kill(self):
        self.events.append("kill")


class FakeServer:
    def __init__(self, dies=False):
        self.clock = []
        self._dies = dies

    def pid(self):
        return 7

    def enable_clock(self, on):
        self.clock.append(on)

    def check_alive(self):
        if self._dies:
            raise ServerFailed("gone")


def measure(server, recorder, monkeypatch):
    load = SimpleNamespace(rows=[], in_flight=frozenset, wait_answered=lambda numbers, timeout_s: None)
    monkeypatch.setattr(blocks, "POLL_S", 0.01)
    measurement = BlockMeasurement(
        server, load, (), Parameters(phase_s=2), 40, lambda text: None, StepWatch()
    )
    recording = recorder and BlockRecording(recorder, server, "out", Redactor((SECRET,)))
    return measurement.measure(3, recording)[0]


def test_block_is_recorded_by_any_recorder(monkeypatch):
    """Broken: a recorder other than py-spy cannot be used."""
    server, recorder = FakeServer(), FakeRecorder()
    block = measure(server, recorder, monkeypatch)
    assert recorder.events == ["start 7 out", "stop"]
    assert server.clock == [True, False]
    assert block.profiled
    assert (block.number, block.recording.file) == (3, "r.json")
    assert block.wall_s >= 0.05


def test_block_without_a_recorder_has_no_recording(monkeypatch):
    """Broken: a block without py-spy claims a recording."""
    server = FakeServer()
    assert measure(server, None, monkeypatch).plain
    assert server.clock == []


def test_recorder_that_does_not_start_leaves_the_latencies_and_its_reason(monkeypatch):
    """Broken: one failure of the sampler loses the phase, or tells a secret."""
    before_s = time.time()
    block = measure(FakeServer(), FakeRecorder(f"no such process {SECRET}"), monkeypatch)
    assert not block.plain
    assert not block.profiled
    assert block.recording.failure == f"no such process {MASK}"
    assert block.recording.started_s >= before_s


def test_recording_is_killed_when_the_server_dies(monkeypatch):
    """Broken: py-spy keeps running after the server has died."""
    recorder = FakeRecorder()
    with pytest.raises(ServerFailed):
        measure(FakeServer(dies=True), recorder, monkeypatch)
    assert recorder.events == ["start 7 out", "kill"]


@pytest.mark.parametrize(
    ("phase_s", "request_s", "blocks"),
    [
        (24, 0.1, 16),
        (24, 0.5, 8),  # 16 blocks would hold three requests each
        (24, 5.0, 4),
        (8, 0.1, 8),
        (4, 0.1, 8),
        (2, 0.0, 4),
        (600, 0.1, 16),
        (3600, 0.1, 64),  # a killed capture loses a minute
        (3600, 20.0, 32),  # but a block holds several requests
    ],
)
def test_number_of_blocks_follows_the_phase_and_its_requests(phase_s, request_s, blocks):
    """Broken: a block is too short for py-spy or for several requests, or a long phase has few blocks."""
    assert len(block_order(phase_s, request_s)) == blocks


@pytest.mark.parametrize(("phase_s", "power"), [(2, 1), (8, 2), (24, 3)])
def test_drift_cancels_in_the_order_of_blocks(phase_s, power):
    """Broken: a machine that gets slower over a phase is charged to py-spy, or hides its cost."""
    order = block_order(phase_s, 0.01)
    for degree in range(power + 1):
        drift = {side: sum(at**degree for at, on in enumerate(order) if on is side) for side in (False, True)}
        assert drift[False] == drift[True]
