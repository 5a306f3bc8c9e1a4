"""JSON of a speedscope file, parsed without building objects that are then discarded.

Nearly all of a recording is its lists of samples: hundreds of thousands of lists of frame indices, of which
a few thousand are distinct. ``loads`` cuts these lists out of the bytes, keeps each distinct sample once, and
leaves the rest of the document to ``json``. What the cut does not recognise stays in the document, so the
result is that of ``json`` for every file that ``json`` accepts.
"""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_SAMPLES, _SAMPLES_END = b'"samples":[[', b"]]"
_WEIGHTS, _WEIGHTS_END = b'"weights":[', b"]"
_BETWEEN = b"],["  # two samples
_INDICES = re.compile(rb"(?:(?:0|[1-9][0-9]{0,17})(?:,(?:0|[1-9][0-9]{0,17}))*)?\],\[")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True, eq=False)
class Samples:
    """The list of samples of a profile, each distinct one once; ``ids``: int32, shape (samples,)."""

    distinct: list[object]
    ids: NDArray[np.int32]


@dataclass(frozen=True)
class Weights:
    """The number of weights of a profile, and their common value; None if they differ or there are none."""

    count: int
    constant: object


def loads(data: bytes) -> object:
    """``json.loads(data)``, but with ``Samples`` and ``Weights`` in place of lists of these names.

    Raises what ``json.loads`` raises: ValueError, RecursionError.
    """
    if json.detect_encoding(data) in ("utf-8", "utf-8-sig"):
        key = secrets.token_hex(16)  # no file holds it
        rest, cut = _cut(data, key)
        try:
            return json.loads(
                rest, object_hook=lambda value: cut[value[key]] if key in value else _shrink(value)
            )
        except (ValueError, RecursionError):
            pass  # parsed again below, for an error that names its place in the whole document
    return json.loads(data, object_hook=_shrink)


def _cut(data: bytes, key: str) -> tuple[bytes, list[Samples | Weights]]:
    """The document with ``{key: n}`` in place of the n-th list that was cut out, and these lists.

    In valid JSON a quote that no backslash precedes and a letter follows opens a string, so a match is never
    within one.
    """
    parts, cut, kept = list[bytes](), list[Samples | Weights](), 0
    for start, end, value in _lists(data):
        parts += [data[kept:start], b'{"%s":%d}' % (key.encode(), len(cut))]
        cut.append(value)
        kept = end
    return b"".join([*parts, data[kept:]]), cut


def _lists(data: bytes) -> Iterator[tuple[int, int, Samples | Weights]]:
    """Each list that can be cut out: where it begins and ends, and what it holds."""
    at = 0
    while at < len(data):
        found = data.find(_SAMPLES, at)
        before = found if found >= 0 else len(data)
        yield from _weights(data, at, before)
        if found < 0:
            return
        first = found + len(_SAMPLES)
        end = data.find(_SAMPLES_END, first)
        samples = _samples(data, first, end) if end >= 0 and not _escaped(data, found) else None
        if samples is not None:
            yield first - 2, end + 2, samples
        at = end + 2 if samples is not None else first


def _weights(data: bytes, at: int, before: int) -> Iterator[tuple[int, int, Weights]]:
    """The lists of weights between two places that hold one number again and again."""
    while (found := data.find(_WEIGHTS, at, before)) >= 0:
        at = found + len(_WEIGHTS)
        end = data.find(_WEIGHTS_END, at, before)
        first, _, _ = data[at : min(end, at + 80)].partition(b",")
        count = (end - at + 1) // (len(first) + 1)
        if (
            end >= 0
            and _NUMBER.fullmatch(first)
            and not _escaped(data, found)
            and data[at:end] == b",".join([first] * count)
        ):
            yield at - 1, end + 1, Weights(count, json.loads(first))
            at = end


def _escaped(data: bytes, at: int) -> bool:
    return data[at - 1 : at] == b"\\"


def _samples(data: bytes, first: int, end: int) -> Samples | None:
    """Samples out of ``1,2],[1,3``; None when it holds anything else than frame indices.

    Arrow numbers the texts from one ``[`` to the next where they lie, without an object for each; only the
    distinct ones become Python objects. Each must be indices, so a ``[`` in another place is noticed.
    """
    text = np.frombuffer(data, np.uint8, end - first, first)
    starts = np.append(0, np.flatnonzero(text == ord("[")) + 1)
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(text)]
    all_but_last = pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, buffers).dictionary_encode()
    numbers = {text: number for number, text in enumerate(all_but_last.dictionary.to_pylist())}
    last = numbers.setdefault(text[starts[-1] :].tobytes() + _BETWEEN, len(numbers))
    if not all(map(_INDICES.fullmatch, numbers)):
        return None
    indices = [text.removesuffix(_BETWEEN) for text in numbers]
    return Samples(
        [list(map(int, text.split(b","))) if text else [] for text in indices],
        np.append(np.from_dlpack(all_but_last.indices), np.int32(last)),
    )


def _shrink(document: dict[str, Any]) -> dict[str, Any]:
    """The same for one object of the document while it is parsed, so that only one is in memory in full."""
    samples, weights = document.get("samples"), document.get("weights")
    if isinstance(samples, list):
        document["samples"] = _intern(samples)
    if isinstance(weights, list):
        same = bool(weights) and weights.count(weights[0]) == len(weights)
        document["weights"] = Weights(len(weights), weights[0] if same else None)
    return document


def _intern(samples: list[object]) -> Samples:
    # Equal tuples may differ in what they hold (1 == True == 1.0): only ints are compared as tuples.
    lists = set(map(type, samples)) <= {list}
    clean = lists and set(map(type, chain.from_iterable(samples))) <= {int}  # type: ignore[arg-type]
    keys = map(tuple if clean else repr, samples)  # type: ignore[arg-type]
    seen: dict[object, int] = {}
    ids = np.fromiter((seen.setdefault(key, len(seen)) for key in keys), np.int32, len(samples))
    return Samples([samples[first] for first in np.unique(ids, return_index=True)[1]], ids)
