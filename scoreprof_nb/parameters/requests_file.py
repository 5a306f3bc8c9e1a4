"""The user's own request bodies: a JSONL file, one ``POST /v1/score`` body per line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb.parameters.schema import ParameterError

FILE_PHASE = "file"


@dataclass(frozen=True)
class RequestBody:
    """A body of ``POST /v1/score`` as it is sent, and what the report says about it."""

    kind: str
    items: int
    payload: bytes
    labels: int  # scores expected per item


def read_requests_file(path: Path, label_token_ids: list[int]) -> list[RequestBody]:
    """Read the bodies; empty lines are skipped.

    ``label_token_ids`` and ``model`` are filled in where a body lacks them.
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
    return bodies


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
    payload = json.dumps(body).encode()
    return RequestBody(FILE_PHASE, len(body["items"]), payload, len(body["label_token_ids"]))
