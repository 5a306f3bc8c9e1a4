"""The load: request bodies made from a seed, and clients in a closed loop that record each request.

Closed loop at concurrency N measures the service time at N, not latency under an arrival rate.
"""

import hashlib
import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from scoreprof_nb.parameters.profile import FILE_PHASE, Parameters, RequestBody, read_requests_file

DISTINCT_PAYLOADS = 8  # per kind; each is repeated, so that its scores can be compared
QUERY_WORDS, ITEM_WORDS = 5, 4
PAUSE_AFTER_FAILURE_S = 0.2

_WORDS = re.findall(
    r"\w+",
    "the document answers question rate how well item fits query quick brown fox jumps over lazy dog "
    "request is scheduled dispatched to device and scored this passage relevant search answer",
)


def request_bodies(parameters: Parameters, phase: str, label_token_ids: Sequence[int]) -> list[RequestBody]:
    """The bodies of a phase, in the order they are sent, over and over.

    The texts depend on the seed, the kind and the number of items only, so two runs with equal
    parameters send the same bytes.
    """
    labels = list(label_token_ids)
    if phase == FILE_PHASE:
        return read_requests_file(Path(parameters.requests_file), labels)
    kinds = {
        "single": parameters.single_items,
        "small": parameters.small_items,
        "large": parameters.large_items,
    }
    chosen = kinds if phase == "mixed" else {phase: kinds[phase]}
    return [
        _body(kind, items, labels, parameters.seed, number)
        for number in range(DISTINCT_PAYLOADS)
        for kind, items in chosen.items()
    ]


def workload_fingerprint(bodies: Sequence[RequestBody]) -> str:
    """What a phase was to send, to be compared with another run's: equal texts mean equal bytes."""
    digest = hashlib.sha256(b"\n".join(body.payload for body in bodies)).hexdigest()
    counts = Counter((body.kind, body.items) for body in bodies)
    sizes = ", ".join(f"{n} {kind} x {items}" for (kind, items), n in sorted(counts.items()))
    return f"{sizes}; SHA-256 {digest[:16]}"


def _body(kind: str, items: int, labels: list[int], seed: int, number: int) -> RequestBody:
    rng = random.Random(f"{seed}/{kind}/{items}/{number}")

    def text(words: int) -> str:
        return " ".join(rng.choice(_WORDS) for _ in range(words))

    body = {
        "query": f"Is this item relevant? {text(QUERY_WORDS)}. ",
        "items": [text(ITEM_WORDS) for _ in range(items)],
        "label_token_ids": labels,
        "apply_softmax": True,
        "item_first": False,
        "model": "default",
    }
    return RequestBody(kind, items, json.dumps(body).encode(), len(labels))


class LoadGenerator:
    """Clients in threads of their own, sending the bodies in turn until they are stopped.

    ``rows`` grows by one row of requests.parquet per finished request; ``failures`` keeps the first
    message of each kind of failure.
    """

    def __init__(self, url: str, bodies: Sequence[RequestBody], concurrency: int, timeout_s: float) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: dict[str, str] = {}
        self.warming = True
        self._url = f"{url}/v1/score"
        self._bodies = bodies
        self._timeout_s = timeout_s
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

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Let the requests in flight end, then return."""
        self._stop.set()
        for worker in self._workers:
            worker.join(self._timeout_s + 5)

    def abandon(self) -> None:
        """Stop without waiting for requests in flight: they end when the server does."""
        self._stop.set()

    def in_flight(self) -> frozenset[int]:
        """The numbers of the requests that are sent and not answered."""
        with self._answered:
            return frozenset(self._in_flight)

    def wait_answered(self, numbers: frozenset[int], timeout_s: float) -> float | None:
        """Wait for the answers to these requests, failed ones too; None when the time is up before.

        Gives epoch seconds right after an answer: later than its ``done_ns``, and earlier than the
        ``sent_ns`` of what the same client sends next.
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
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Content-Type"] = "application/json"
            intended_ns = self._now_ns()
            while not self._stop.is_set():
                number, payload, body = self._take()
                warming = self.warming
                cpu_ns = time.thread_time_ns()
                sent_ns = self._now_ns()
                answer = self._ask(session, body)
                done_ns, cpu_ns = self._now_ns(), time.thread_time_ns() - cpu_ns
                status, error, scores = self._judge(answer, body)
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
                    "status": status,
                    "error": error,
                    "scores": scores,
                }
                with self._answered:
                    self.rows.append(row)
                    self._in_flight.discard(number)
                    self._answered_s = self._now_ns() / 1e9
                    self._answered.notify_all()
                if error is not None:
                    self._stop.wait(PAUSE_AFTER_FAILURE_S)
                intended_ns = done_ns

    def _ask(
        self, session: requests.Session, body: RequestBody
    ) -> tuple[int, bytes] | tuple[None, tuple[str, str]]:
        """The answer's status and body, or None with the kind of failure and what it said."""
        deadline = time.monotonic() + self._timeout_s
        try:
            answer = session.post(self._url, data=body.payload, timeout=self._timeout_s)
            content = answer.content
        except requests.RequestException as error:
            # The timeout of requests is one of each read, and a body that stops half-way is a
            # ConnectionError for it; here it is the whole request's.
            late = isinstance(error, requests.Timeout) or time.monotonic() > deadline
            return None, ("timeout" if late else "connection", str(error))
        if time.monotonic() > deadline:
            return None, ("timeout", f"answered later than after {self._timeout_s} s")
        return answer.status_code, content

    def _judge(
        self, answer: tuple[int, bytes] | tuple[None, tuple[str, str]], body: RequestBody
    ) -> tuple[int, str | None, Any]:
        """Status, kind of failure or None, and scores of what ``_ask`` gave."""
        if answer[0] is None:
            return self._failed(0, *answer[1])
        status, content = answer
        if status != 200:
            return self._failed(status, f"http_{status}", content.decode(errors="replace"))
        try:
            scores = json.loads(content)["scores"]
            wrong = _wrong_scores(scores, body)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            return self._failed(200, "bad_answer", f"{error!r}: {content[:200]!r}")
        if wrong:
            return self._failed(200, "bad_scores", f"{wrong}: {content[:200]!r}")
        return 200, None, [[float(score) for score in labels] for labels in scores]

    def _failed(self, status: int, kind: str, message: str) -> tuple[int, str, None]:
        self.failures.setdefault(kind, " ".join(message.split())[:400])
        return status, kind, None

    def _now_ns(self) -> int:
        return self._epoch_ns + time.perf_counter_ns()


def _wrong_scores(scores: Any, body: RequestBody) -> str | None:
    """What is wrong with the scores of an answer, or None."""
    if len(scores) != body.items:
        return f"{len(scores)} score lists for {body.items} items"
    for labels in scores:
        if len(labels) != body.labels:
            return f"{len(labels)} scores of an item for {body.labels} labels"
        if not all(type(score) in (int, float) and math.isfinite(score) for score in labels):
            return "a score is not a finite number"
    return None
