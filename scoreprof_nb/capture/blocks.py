"""The measured blocks of a phase, with py-spy off or on in a balanced order.

The run thus measures the cost of the profiler itself, and a drift of the machine affects both halves alike.
"""

import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from scoreprof_nb.capture import thread_cpu
from scoreprof_nb.capture.progress import Throttle
from scoreprof_nb.capture.recorder import Recorder, RecorderFailed, RunningRecording
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import StepWatch, now_s
from scoreprof_nb.capture.server import Server
from scoreprof_nb.capture.tick_reading import TickReading
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Block, Recording, ServerProcess

POLL_S = 0.1
# py-spy attaches to the server's child processes one after another once it samples, and reads their symbols:
# a block that began at once would measure that too.
SETTLE_S = 0.5
LONGEST_BLOCK_S = 60.0  # a capture that is killed loses the block that it measures
# Numbers of blocks, the best first, and the shortest block for each. Many blocks tell how much blocks differ;
# each costs up to 0.1 s of py-spy's start and stop, and the rest of a request at both ends.
_NUMBERS = ((16, 1.5), (8, 0.5))
_FEWEST_BLOCKS, _FEWEST_REQUESTS = 4, 4  # requests: of each client in a block


def block_order(phase_s: float, request_s: float) -> tuple[bool, ...]:
    """Whether py-spy records each block of a phase: the Thue-Morse sequence of 16, 8 or 4 blocks, or of 32,
    64 ... in a long phase, so that a block takes at most LONGEST_BLOCK_S.

    It cancels a drift of the machine in both halves: linear with 4 blocks (off, on, on, off), quadratic
    with 8, cubic with 16. ``request_s``: how long a request takes; a block is to hold several.
    """
    numbers = [
        number
        for number, shortest_s in _NUMBERS
        if phase_s / number >= max(shortest_s, _FEWEST_REQUESTS * request_s)
    ]
    number = numbers[0] if numbers else _FEWEST_BLOCKS
    while phase_s / number > max(LONGEST_BLOCK_S, 2 * _FEWEST_REQUESTS * request_s):
        number *= 2
    return tuple(position.bit_count() % 2 == 1 for position in range(number))


class BlockRecording:
    """The recorder and the clock of one block. If the recorder fails, the recording states why.

    Entering starts the recording, ``stop`` ends it. Leaving without ``stop`` kills it.
    """

    def __init__(
        self,
        recorder: Recorder,
        server: Server,
        output: Path,
        redact: Redactor,
        ticks: TickReading | None = None,
    ) -> None:
        """``ticks``: what shows when the recorder samples, for a server without a clock."""
        self._ticks = ticks
        self._resources = ExitStack()
        self._recorder = recorder
        self._server = server
        self._output = output
        self._redact = redact
        self._running: RunningRecording | None = None
        self._failed: Recording | None = None

    def __enter__(self) -> "BlockRecording":
        self._server.enable_clock(True)
        if self._ticks is not None:
            self._resources.enter_context(self._ticks)
        try:
            self._running = self._recorder.start(self._server.pid(), self._output, self._began)
        except RecorderFailed as error:
            now = now_s()
            self._failed = Recording(None, now, now, self._recorder.rate_hz, failure=self._redact(str(error)))
        return self

    def __exit__(self, *error: object) -> None:
        if self._running is not None:
            with suppress(Exception):
                self._running.kill()
        self._resources.close()

    def stop(self) -> Recording:
        """End the recording and the clock."""
        running, self._running = self._running, None
        recording = running.stop() if running is not None else self._failed
        self._server.enable_clock(False)
        self._resources.close()
        assert recording is not None
        return replace(recording, reads=self._ticks.file) if self._ticks is not None else recording

    def _began(self, pid: int) -> None:
        if self._ticks is not None:
            self._ticks.follow(pid)


class BlockMeasurement:
    """Measures the blocks of a phase."""

    def __init__(
        self,
        server: Server,
        load: RequestLog,
        processes: tuple[ServerProcess, ...],
        parameters: Parameters,
        blocks: int,
        log_progress: LogProgress,
        clock: StepWatch,
    ) -> None:
        """``blocks``: how many the phase has."""
        self._clock = clock
        self._server = server
        self._load = load
        self._pids = [process.pid for process in processes]
        self._parameters = parameters
        self._blocks = blocks
        self._log_progress = log_progress

    def measure(
        self, number: int, block_recording: BlockRecording | None
    ) -> tuple[Block, list[dict[str, Any]]]:
        """Measure one block under a running load; return it and its rows of threads.parquet.

        A block begins and ends with an answer. If it cut requests off, it would lose long ones most often,
        and every request of a block that a single compile fills.
        """
        with ExitStack() as stack:
            if block_recording is not None:
                stack.enter_context(block_recording)
                wait(self._server, SETTLE_S)
            start_s = next_answer(self._server, self._load, self._parameters.request_s)
            first_row = len(self._load.rows)
            before = thread_cpu.snapshot(self._pids)
            self._wait_until(number, start_s + self._parameters.phase_s / self._blocks)
            until_s = now_s()
            stop_s = next_answer(self._server, self._load, self._parameters.request_s)
            after = thread_cpu.snapshot(self._pids)
            recording = block_recording.stop() if block_recording is not None else None
        requests = len(self._load.rows) - first_row
        self._log_progress(
            f"  block {number + 1} of {self._blocks}: {requests} requests, py-spy {_state(recording)}"
        )
        return Block(number, start_s, stop_s, recording, until_s), thread_cpu.rows(number, before, after)

    def _wait_until(self, number: int, end_s: float) -> None:
        throttle = Throttle()
        while (left_s := end_s - now_s()) > 0:
            self._server.check_alive()
            self._clock.look()
            if throttle.due():
                self._log_progress(f"  block {number + 1} of {self._blocks}: {left_s:.0f} s left")
            time.sleep(min(POLL_S, left_s))


def wait(server: Server, seconds: float) -> None:
    """Wait while the load goes on. Raises ServerFailed when the server dies meanwhile."""
    deadline = time.monotonic() + seconds
    while (left_s := deadline - time.monotonic()) > 0:
        server.check_alive()
        time.sleep(min(POLL_S, left_s))


def next_answer(server: Server, load: RequestLog, request_s: float) -> float:
    """Wait for the answers to what is in flight, at most ``request_s``; return epoch seconds."""
    in_flight = load.in_flight()
    deadline = time.monotonic() + request_s
    while in_flight and time.monotonic() < deadline:
        server.check_alive()
        answered_s = load.wait_answered(in_flight, POLL_S)
        if answered_s is not None:
            return answered_s
    return now_s()


def _state(recording: Recording | None) -> str:
    if recording is None:
        return "off"
    return "on" if recording.failure is None else f"failed: {recording.failure}"
