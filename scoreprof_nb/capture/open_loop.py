"""The load of an open loop: requests are sent at planned times, and no send waits for an answer."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from scoreprof_nb.capture.client import Response
from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import epoch_ns, now_ns
from scoreprof_nb.capture.workload import Workload
from scoreprof_nb.parameters.requests_file import RequestBody

CLIENT = Path(__file__).with_name("open_loop_client.py")
START_S = 0.2  # between the start and the first request
API_KEY = "SCOREPROF_CLIENT_API_KEY"  # the environment variable that gives it to the client
AHEAD_S = 1.0  # how early a request is handed to the client
POLL_S = 0.05


def poisson(rate_per_s: float, seed: str) -> Iterator[float]:
    """Arrival times of a Poisson process, seconds since the start, without end."""
    rng = random.Random(seed)
    at_s = 0.0
    while True:
        at_s += rng.expovariate(rate_per_s)
        yield at_s


class OpenLoop(RequestLog):
    """Sends a workload's requests at ``times_s`` (seconds since the start) until it is stopped.

    Entering the context starts it; leaving it waits for the requests in flight, or abandons them after an
    error. Requests planned before ``measured_from_ns`` belong to the warm-up; ``times_s`` count from
    ``start_ns``. ``cpu_s`` is the CPU time of the client's process, known at the end.
    """

    def __init__(
        self,
        url: str,
        workload: Workload,
        times_s: Iterable[float],
        timeout_s: float,
        api_key: str = "",
        first: int = 0,
    ) -> None:
        """``first``: the number of the first request, after those of a warm-up."""
        super().__init__()
        self.cpu_s: float | None = None
        self.start_ns = 0
        self.measured_from_ns: int | None = None
        self._workload = workload
        self._times_s = times_s
        self._timeout_s = timeout_s
        self._first = first
        self._command = [
            *(sys.executable, str(CLIENT), url + ENGINE.score_path, str(timeout_s), str(epoch_ns())),
        ]
        # Not on the command line, where every user of the machine could read it.
        self._environment = {**os.environ, API_KEY: api_key}
        self._planned: dict[int, tuple[int, RequestBody]] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._client = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
        )
        self._feeder = threading.Thread(target=self._feed, daemon=True, name="open-loop-feeder")
        self._reader = threading.Thread(target=self._read, daemon=True, name="open-loop-reader")
        assert self._client.stdout is not None
        self._client.stdout.readline()  # it is ready
        self.start_ns = now_ns() + round(START_S * 1e9)
        self._feeder.start()
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if error is None:
            self._feeder.join()
            self._reader.join(self._timeout_s + AHEAD_S + 5)
        self._client.kill()
        self._client.wait()

    def in_flight(self) -> frozenset[int]:
        """The numbers of the requests that wait for an answer; those planned for later do not count."""
        now = now_ns()
        planned = {number: self._planned.get(number) for number in super().in_flight()}
        return frozenset(number for number, plan in planned.items() if plan is None or plan[0] <= now)

    def _feed(self) -> None:
        stdin = self._client.stdin
        assert stdin is not None
        try:
            with stdin:
                for position, at_s in enumerate(self._times_s):
                    at_ns = self.start_ns + round(at_s * 1e9)
                    while (early_s := (at_ns - now_ns()) / 1e9 - AHEAD_S) > 0:
                        if self._stop.wait(min(early_s, POLL_S)):
                            return
                    if self._stop.is_set():
                        return
                    number, body = self._first + position, self._workload.request(position)
                    self._planned[number] = at_ns, body
                    self.sent(number)
                    stdin.write(f"{number} {at_ns} {len(body.payload)}\n".encode() + body.payload)
                    stdin.flush()
        except BrokenPipeError:
            return  # the client was killed

    def _read(self) -> None:
        stdout = self._client.stdout
        assert stdout is not None
        with stdout:
            while line := stdout.readline():
                words = line.decode().split()
                if words[0] == "end":
                    self.cpu_s = int(words[1]) / 1e9
                    return
                number, sent_ns, done_ns, status, length = map(int, words)
                self._answer(number, sent_ns, done_ns, status, stdout.read(length))

    def _answer(self, number: int, sent_ns: int, done_ns: int, status: int, content: bytes) -> None:
        at_ns, body = self._planned.pop(number)
        kind, _, message = content.decode(errors="replace").partition(" ")
        response = Response(status, content) if status else Response(None, failure=(kind, message))
        self.answered(
            number,
            body,
            response,
            warmup=self.measured_from_ns is None or at_ns < self.measured_from_ns,
            repeat=False,
            worker=0,
            intended_ns=at_ns,
            sent_ns=sent_ns,
            done_ns=done_ns,
            client_cpu_ns=0,
        )
