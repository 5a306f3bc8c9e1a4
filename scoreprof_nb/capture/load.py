"""The load: clients in a closed loop, each request recorded.

A closed loop with N clients measures the service time at N in flight, not latency under an arrival rate: that
is what ``open_loop`` is for.
"""

import threading
import time
from types import TracebackType
from typing import Self

from scoreprof_nb.capture.client import ScoreClient
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import now_ns
from scoreprof_nb.capture.workload import Workload
from scoreprof_nb.parameters.requests_file import RequestBody

PAUSE_AFTER_FAILURE_S = 0.2


class LoadGenerator(RequestLog):
    """Clients, one thread each, that send requests in turn until they are stopped.

    While ``warming`` they send those of the warm-up; then the requests to measure, from number 0.
    Entering the context starts them; leaving it waits for the requests in flight, or abandons them after
    an error.
    """

    def __init__(
        self, url: str, workload: Workload, concurrency: int, timeout_s: float, api_key: str = ""
    ) -> None:
        super().__init__()
        self.warming = True
        self.concurrency = concurrency
        self._url = url
        self._workload = workload
        self._timeout_s = timeout_s
        self._taking = threading.Lock()
        self._api_key = api_key
        self._next = 0
        self._measured = 0
        self._stop = threading.Event()
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

    def _take(self) -> tuple[int, bool, RequestBody]:
        with self._taking:
            number, warming = self._next, self.warming
            self._next += 1
            if not warming:
                position = self._measured
                self._measured += 1
        body = self._workload.warmup_request(number) if warming else self._workload.request(position)
        return number, warming, body

    def _work(self, worker: int) -> None:
        with ScoreClient(self._url, self._timeout_s, self._api_key) as client:
            intended_ns = now_ns()
            while not self._stop.is_set():
                number, warming, body = self._take()
                self.sent(number)
                cpu_ns = time.thread_time_ns()
                sent_ns = now_ns()
                response = client.send(body)
                done_ns, cpu_ns = now_ns(), time.thread_time_ns() - cpu_ns
                judgement = self.answered(
                    number,
                    body,
                    response,
                    warmup=warming,
                    repeat=False,
                    worker=worker,
                    intended_ns=intended_ns,
                    sent_ns=sent_ns,
                    done_ns=done_ns,
                    client_cpu_ns=cpu_ns,
                )
                if judgement.error is not None:
                    self._stop.wait(PAUSE_AFTER_FAILURE_S)
                intended_ns = done_ns
