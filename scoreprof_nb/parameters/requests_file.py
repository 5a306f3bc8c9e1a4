"""The user's own request bodies: a JSONL file, one ``POST /v1/score`` body per line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb.parameters.schema import ParameterError

FILE_PHASE = "file"
LATEST_S = 86_400


@dataclass(frozen=True)
class RequestBody:
    """A body of ``POST /v1/score`` as it is sent, and what the report says about it."""

    kind: str
    items: int
    payload: bytes
    labels: int  # scores expected per item
    number: int = 0  # within its phase and kind: equal numbers mean equal bytes; -1: of a warm-up
    prompt_tokens: int | None = None  # of all items together; None: not known
    shared_tokens: int | None = None  # of these, the query's tokens in every item but the first
    repeats: bool = True  # whether it may be sent several times
    send_at_s: float | None = None  # when to send it, seconds since the start of the phase


def read_requests_file(path: Path, label_token_ids: list[int]) -> list[RequestBody]:
    """Read the bodies; empty lines are skipped.

    ``label_token_ids`` and ``model`` are filled in where a body lacks them. Two fields are for the kit, and
    are not sent: ``repeat`` (false: send this body only once) and ``send_at_s`` (send it at this time).
    Raises ParameterError naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: JSON may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError("requests_file", str(path), f"cannot be read: {error}") from error
    bodies = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            bodies.append(_body(line, label_token_ids))
        except ValueError as error:
            raise ParameterError("requests_file", str(path), f"line {number}: {error}") from error
    if not bodies:
        raise ParameterError("requests_file", str(path), "holds no request")
    problem = _times_problem(bodies)
    if problem:
        raise ParameterError("requests_file", str(path), problem)
    return bodies


def _times_problem(bodies: list[RequestBody]) -> str | None:
    """What is wrong with the bodies together."""
    times = [body.send_at_s for body in bodies if body.send_at_s is not None]
    if not times:
        return (
            None if any(body.repeats for body in bodies) else "at least one body must not say repeat: false"
        )
    if len(times) < len(bodies):
        return "either each body has send_at_s, or none"
    return None if times == sorted(times) else "send_at_s must not decrease from line to line"


def _body(line: str, label_token_ids: list[int]) -> RequestBody:
    """Raises ValueError saying what is wrong with the line."""
    try:
        body: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    if not isinstance(body.get("query"), str | list):
        raise ValueError("lacks 'query' (text or token ids)")
    if not isinstance(body.get("items"), list) or not body["items"]:
        raise ValueError("'items' must be a list with at least one item")
    body = {"label_token_ids": label_token_ids, "model": "default", **body}
    if not isinstance(body["label_token_ids"], list):
        raise ValueError("'label_token_ids' must be a list of token ids")
    repeats, send_at_s = body.pop("repeat", True), body.pop("send_at_s", None)
    if not isinstance(repeats, bool):
        raise ValueError("'repeat' must be true or false")
    if send_at_s is not None and not (
        isinstance(send_at_s, int | float) and not isinstance(send_at_s, bool) and 0 <= send_at_s <= LATEST_S
    ):
        raise ValueError(f"'send_at_s' must be seconds since the start, from 0 to {LATEST_S}")
    return RequestBody(
        FILE_PHASE,
        len(body["items"]),
        json.dumps(body).encode(),
        len(body["label_token_ids"]),
        repeats=repeats,
        send_at_s=send_at_s,
    )
