"""Texts of requests that a server repeats in its answers: they are personal data, and are not kept."""

import json
from collections.abc import Iterator

from scoreprof_nb.capture.engine import ENGINE

TEXT = "[text]"
LONGEST_KEPT = 11  # characters in a row that an answer and a text may share: words of the server's message
SHORTEST = 4  # a whole text that is shorter says nothing, and may be part of any word


def without_texts(answer: str, body: bytes) -> str:
    """The answer without what it repeats of the request, as it is or in the spelling of JSON or Python.

    FastAPI answers a request that it does not accept (422) with the rejected value, a server often with
    the beginning of a text. So every piece longer than ``LONGEST_KEPT`` that also occurs in a text is
    replaced, and every whole text.
    """
    written = [spelling for text in ENGINE.texts(body) for spelling in _spellings(text)]
    everything = "\0".join(written)
    size = LONGEST_KEPT + 1
    covered = bytearray(len(answer))
    for start in range(len(answer) - size + 1):
        if answer[start : start + size] in everything:
            covered[start : start + size] = b"\1" * size
    for text in {text for text in written if SHORTEST <= len(text) < size}:
        start = answer.find(text)
        while start >= 0:
            covered[start : start + len(text)] = b"\1" * len(text)
            start = answer.find(text, start + 1)
    return "".join(
        letter if not covered[at] else TEXT if at == 0 or not covered[at - 1] else ""
        for at, letter in enumerate(answer)
    )


def _spellings(text: str) -> Iterator[str]:
    yield text
    for ascii_only in (False, True):
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    yield repr(text)[1:-1]
    yield repr(text.encode())[2:-1]
