"""The load: clients in a closed loop, each request recorded.

A closed loop with N clients measures the service time at N in flight, not latency under an arrival rate.
"""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from scoreprof_nb.capture.client import ScoreClient, judge
from scoreprof_nb.parameters.requests_file import RequestBody

PAUSE_AFTER_FAILURE_S = 0.2


class LoadGenerator:
    """Clients, one thread each, that send the bodies in turn until they are stopped.

    Entering the context starts them; leaving it waits for the requests in flight, or abandons them after
    an error. ``rows`` grows by one row of requests.parquet per finished request;
    ``failures`` keeps the first message of each kind of failure.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[RequestBody],
        concurrency: int,
        timeout_s: float,
        api_key: str = "",
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: dict[str, str] = {}
        self.warming = True
        self._url = url
        self._bodies = bodies
        self._timeout_s = timeout_s
        self._api_key = api_key
        self._next = 0
        self._in_flight: set[int] = set()
        self._answered = threading.Condition()
        self._answered_s = 0.0
        self._stop = threading.Event()
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        self._workers = [
            threading.Thread(target=self._work, args=(number,), daemon=True, name=f"client-{number}")
            for number in range(concurrency)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self.abandon()

    def start(self) -> None:
        """Start the clients."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Let the requests in flight end, then return."""
        self._stop.set()
        for worker in self._workers:
            worker.join(self._timeout_s + 5)

    def abandon(self) -> None:
        """Stop without waiting for the requests in flight: they end when the server does."""
        self._stop.set()

    def in_flight(self) -> frozenset[int]:
        """The numbers of the requests that wait for an answer."""
        with self._answered:
            return frozenset(self._in_flight)

    def wait_answered(self, numbers: frozenset[int], timeout_s: float) -> float | None:
        """Wait until all of these requests are answered or have failed; None when the time is up first.

        Returns epoch seconds right after an answer: later than its ``done_ns``, and earlier than the
        ``sent_ns`` of the client's next request.
        """
        with self._answered:
            done = self._answered.wait_for(lambda: not numbers & self._in_flight, timeout_s)
            return self._answered_s if done else None

    def _take(self) -> tuple[int, int, RequestBody]:
        with self._answered:
            number = self._next
            self._next += 1
            self._in_flight.add(number)
        payload = number % len(self._bodies)
        return number, payload, self._bodies[payload]

    def _work(self, worker: int) -> None:
        with ScoreClient(self._url, self._timeout_s, self._api_key) as client:
            intended_ns = self._now_ns()
            while not self._stop.is_set():
                number, payload, body = self._take()
                warming = self.warming
                cpu_ns = time.thread_time_ns()
                sent_ns = self._now_ns()
                response = client.send(body)
                done_ns, cpu_ns = self._now_ns(), time.thread_time_ns() - cpu_ns
                judgement = judge(response, body)
                if judgement.error is not None:
                    self.failures.setdefault(judgement.error, judgement.message)
                row = {
                    "request": number,
                    "warmup": warming,
                    "kind": body.kind,
                    "items": body.items,
                    "payload": payload,
                    "worker": worker,
                    "intended_ns": intended_ns,
                    "sent_ns": sent_ns,
                    "done_ns": done_ns,
                    "client_cpu_ns": cpu_ns,
                    "status": judgement.status,
                    "error": judgement.error,
                    "scores": judgement.scores,
                }
                with self._answered:
                    self.rows.append(row)
                    self._in_flight.discard(number)
                    self._answered_s = self._now_ns() / 1e9
                    self._answered.notify_all()
                if judgement.error is not None:
                    self._stop.wait(PAUSE_AFTER_FAILURE_S)
                intended_ns = done_ns

    def _now_ns(self) -> int:
        return self._epoch_ns + time.perf_counter_ns()
