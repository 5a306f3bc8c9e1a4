"""One client of the score endpoint: sends a request, and judges what comes back."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests

from scoreprof_nb.capture.echoes import without_texts
from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.parameters.requests_file import RequestBody

MESSAGE_CHARACTERS = 400
ANSWER_BYTES = 4_000  # of a failure, from which the message is made
POLL_S = 0.1


@dataclass(frozen=True)
class Response:
    """``status`` is None when there was no answer; then ``failure`` has the kind and the message."""

    status: int | None
    content: bytes = b""
    failure: tuple[str, str] | None = None


@dataclass(frozen=True)
class Judgement:
    """An answer in the form of requests.parquet. ``error``: the kind of failure, None for a success."""

    status: int  # 0 when there was no answer
    error: str | None = None
    message: str = ""
    scores: list[list[float]] | None = None


class ScoreClient:
    """A connection that is kept open. It ignores the environment's proxies, and follows no redirect: what is
    sent stays on this machine.
    """

    def __init__(self, server_url: str, timeout_s: float, api_key: str = "") -> None:
        """``timeout_s``: time limit of a whole request. ``api_key``: sent as a bearer token."""
        self._url = server_url + ENGINE.score_path
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Content-Type"] = "application/json"
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def send(self, body: RequestBody) -> Response:
        """Send the request and read its answer completely; never raises for what the server does."""
        deadline = time.monotonic() + self._timeout_s
        try:
            answer = self._session.post(
                self._url, data=body.payload, timeout=self._timeout_s, allow_redirects=False
            )
            content = answer.content
        except requests.RequestException as error:
            # The timeout of requests limits each read, and a body that stops half-way is a
            # ConnectionError; here the limit is that of the whole request.
            late = isinstance(error, requests.Timeout) or time.monotonic() > deadline
            return Response(None, failure=("timeout" if late else "connection", str(error)))
        if time.monotonic() > deadline:
            return Response(None, failure=("timeout", f"no complete answer within {self._timeout_s} s"))
        return Response(answer.status_code, content)


def send_watched(client: ScoreClient, body: RequestBody, check_alive: Callable[[], None]) -> Response:
    """Send the request; raise what ``check_alive`` raises meanwhile.

    A server that has lost a process may never answer, and the time limit of a request is minutes.
    """
    response: Future[Response] = Future()
    threading.Thread(target=lambda: response.set_result(client.send(body)), daemon=True).start()
    while True:
        try:
            return response.result(POLL_S)
        except TimeoutError:
            check_alive()


def judge(response: Response, body: RequestBody) -> Judgement:
    """Check the answer against its request, and extract the scores."""
    if response.status is None:
        kind, message = response.failure or ("connection", "no answer")
        return _failed(0, kind, message)
    if response.status != 200:
        content = response.content[:ANSWER_BYTES].decode(errors="replace")
        return _failed(response.status, f"http_{response.status}", without_texts(content, body.payload))
    start = without_texts(repr(response.content[:200]), body.payload)
    try:
        scores = ENGINE.scores(response.content)
        problem = _problem(scores, body)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return _failed(200, "bad_answer", f"{error!r}: {start}")
    if problem:
        return _failed(200, "bad_scores", f"{problem}: {start}")
    return Judgement(200, scores=[[float(score) for score in labels] for labels in scores])


def _failed(status: int, kind: str, message: str) -> Judgement:
    return Judgement(status, kind, " ".join(message.split())[:MESSAGE_CHARACTERS])


def _problem(scores: Any, body: RequestBody) -> str | None:
    """What is wrong with the scores of an answer, or None."""
    if len(scores) != body.items:
        return f"{len(scores)} score lists for {body.items} items"
    for labels in scores:
        if len(labels) != body.labels:
            return f"{len(labels)} scores for an item with {body.labels} labels"
        if not all(type(score) in (int, float) and math.isfinite(score) for score in labels):
            return "a score is not a finite number"
    return None
