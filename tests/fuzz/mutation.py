"""Damaged copies of a document: quick, so that a million can be tried; from a seed, so that one can be repeated."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

BYTES = (
    *(
        b"",
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n\n",
        b"\xe2\x80\xa8",
        b"\x1b[31m",
    ),
    *(
        b'"',
        b"'",
        b"\\",
        b"\\u",
        b"\\ud800",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[[",
        b"]]",
        b",",
        b":",
        b";",
        b"=",
        b"#",
    ),
    *(b"(", b")", b" ", b"-", b".", b"0", b"-0", b"00", b"1e999", b"1E400", b"9" * 25, b"9" * 5000, b"NaN"),
    *(b"-Infinity", b"null", b"true", b"[" * 2000, b'";process 1:"', b"thread (0)", b"<script>"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**30, -(10**30), 1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "x" * 3000,
        "\ud800",
        "\x00",
        "<script>",
        "\u202e",
        [],
        {},
        [[]],
        [None],
        {"": None},
        ["a", 1],
    ),
)
MOST_EDITS = 4


def damaged(document: bytes, rng: random.Random) -> bytes:
    """The document after one to four edits: of its bytes, or of a value if it is JSON."""
    for _ in range(rng.randint(1, MOST_EDITS)):
        document = rng.choice(_EDITS)(document, rng)
    return document


def _flip(document: bytes, rng: random.Random) -> bytes:
    if not document:
        return rng.choice(BYTES)
    changed = bytearray(document)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(document: bytes, rng: random.Random) -> bytes:
    first, last = _span(document, rng)
    return document[:first] + document[last:]


def _end(document: bytes, rng: random.Random) -> bytes:
    return document[: rng.randint(0, len(document))]


def _repeat(document: bytes, rng: random.Random) -> bytes:
    first, last = _span(document, rng)
    return document[:last] + document[first:last] + document[last:]


def _insert(document: bytes, rng: random.Random) -> bytes:
    place = rng.randint(0, len(document))
    return document[:place] + rng.choice(BYTES) + document[place:]


def _replace(document: bytes, rng: random.Random) -> bytes:
    first, last = _span(document, rng)
    return document[:first] + rng.choice(BYTES) + document[last:]


def _span(document: bytes, rng: random.Random) -> tuple[int, int]:
    """Mostly a short stretch."""
    first = rng.randint(0, len(document))
    return first, min(
        len(document), first + (rng.randint(0, 12) if rng.random() < 0.8 else len(document) // 3)
    )


def _value(document: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return _insert(document, rng)
    holders = list(_containers(value))
    if not holders:
        return json.dumps(rng.choice(VALUES)).encode()
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(value).encode()


def _containers(value: Any) -> Iterator[Any]:
    """All objects and lists in it that are not empty."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict | list) and one:
            yield one
            pending += one.values() if isinstance(one, dict) else one


_EDITS: Sequence[Callable[[bytes, random.Random], bytes]] = (
    *(_flip, _cut, _end, _repeat, _insert, _replace),
    *(_value,) * 3,
)
