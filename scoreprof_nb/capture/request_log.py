"""The requests of a phase as they are sent and answered."""

import threading
from typing import Any

from scoreprof_nb.capture.client import Judgement, Response, judge
from scoreprof_nb.capture.run_clock import now_s
from scoreprof_nb.parameters.requests_file import RequestBody


class RequestLog:
    """The requests of a phase: which wait for an answer, and a row for each that was answered or failed.

    ``rows``: rows of requests.parquet; ``failures``: the first message of each kind of failure.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: dict[str, str] = {}
        self._in_flight: set[int] = set()
        self._answered = threading.Condition()
        self._answered_s = 0.0

    def take_rows(self) -> list[dict[str, Any]]:
        """The rows so far, which are then forgotten here."""
        with self._answered:
            taken, self.rows = self.rows, []
            return taken

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

    def sent(self, number: int) -> None:
        """A request is about to be sent."""
        with self._answered:
            self._in_flight.add(number)

    def answered(self, number: int, body: RequestBody, response: Response, **columns: Any) -> Judgement:
        """Judge the answer to a request and write its row. ``columns``: those that the sender knows."""
        judgement = judge(response, body)
        if judgement.error is not None:
            self.failures.setdefault(judgement.error, judgement.message)
        row = {
            "request": number,
            "kind": body.kind,
            "items": body.items,
            "payload": body.number,
            "prompt_tokens": body.prompt_tokens,
            "shared_tokens": body.shared_tokens,
            "status": judgement.status,
            "error": judgement.error,
            "scores": judgement.scores,
            **columns,
        }
        with self._answered:
            self.rows.append(row)
            self._in_flight.discard(number)
            self._answered_s = now_s()
            self._answered.notify_all()
        return judgement
