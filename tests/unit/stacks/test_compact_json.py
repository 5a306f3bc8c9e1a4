"""The fast way through a recording's JSON gives what the plain way gives, on every document."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scoreprof_nb.stacks import compact_json
from scoreprof_nb.stacks.compact_json import Samples, Weights
from tests.bench.recordings import write_recording
from tests.support.paths import CAPTURES

TRICKY = [
    '"samples":[[1]]',
    '\\"samples":[[',
    "samples",
    'x"samples',
    "weights",
    '"weights":[1]',
    "]]",
    "é",
    "\\",
]
INDEX_LISTS = st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=6)
ODD_INDICES = st.sampled_from([-1, 1.0, True, None, "1", 10**30, [1], {}])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(TRICKY)
SAMPLES = INDEX_LISTS | st.lists(st.lists(st.integers(0, 3) | ODD_INDICES, max_size=3) | SCALARS, max_size=4)
WEIGHTS = st.integers(0, 5).flatmap(lambda n: st.sampled_from([[0.01] * n, [1] * n])) | st.lists(
    SCALARS, max_size=3
)
PROFILES = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(TRICKY), "samples": SAMPLES, "weights": WEIGHTS}
)
DOCUMENTS = st.recursive(
    SCALARS | PROFILES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TRICKY), inner, max_size=3),
    max_leaves=8,
)


def plain(data):
    """The oracle: all of the document is built."""
    return json.loads(data, object_hook=compact_json._shrink)


def comparable(value):
    """With the type of each number, as 1 == 1.0 == True."""
    if isinstance(value, Samples):
        return "samples", comparable(value.distinct), value.ids.dtype, value.ids.tolist()
    if isinstance(value, Weights):
        return "weights", value.count, repr(value.constant)
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return [(key, comparable(item)) for key, item in value.items()]
    return type(value), repr(value)


@given(DOCUMENTS, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
@example({"samples": [[]], "weights": [0.01]}, (",", ":"), True)
@example({'x\\"samples': [[1, 2]]}, (",", ":"), False)
@settings(max_examples=400, deadline=None)
def test_every_document_is_parsed_as_by_the_plain_way(document, separators, ascii_only):
    """Broken: a sample is lost, or a text that looks like samples is taken for them."""
    data = json.dumps(document, separators=separators, ensure_ascii=ascii_only).encode()
    assert comparable(compact_json.loads(data)) == comparable(plain(data))


@given(DOCUMENTS, st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_documents_fail_as_by_the_plain_way(document, draw):
    """Broken: damage goes unseen, or the error names a place that is not in the file."""
    data = json.dumps(
        {"samples": [[1, 2], [1]], "weights": [1, 1], "more": document}, separators=(",", ":")
    ).encode()
    at = draw.draw(st.integers(0, len(data)))
    data = (
        data[:at]
        + draw.draw(st.sampled_from([b"", b'"', b"\\", b"]", b"[", b",", b"\xff", b"01"]))
        + data[at + 1 :]
    )

    assert outcome(compact_json.loads, data) == outcome(plain, data)


SPACE = st.sampled_from(["", "", "", " ", "\n\t"])
KEYS = st.sampled_from(["samples", "weights", "s\\u0061mples", "weights\\u0000", "é", '\\"samples'])


@st.composite
def objects(draw):
    """The text of an object as any exporter may write it: keys in any order, more than once, escaped, with spaces
    in some places, one object within another."""
    members = []
    for key in draw(st.lists(KEYS, max_size=4)):
        lists = st.one_of(SAMPLES, WEIGHTS).map(lambda value: json.dumps(value, separators=(",", ":")))
        spaced = st.one_of(SAMPLES, WEIGHTS, SCALARS).map(lambda value: json.dumps(value, indent=1))
        value = draw(st.one_of(lists, lists, spaced, st.deferred(objects)))
        members.append(f'"{key}"{draw(SPACE)}:{draw(SPACE)}{value}{draw(SPACE)}')
    return "{" + ",".join(members) + "}"


def outcome(parse, data):
    try:
        return comparable(parse(data))
    except (ValueError, RecursionError) as error:
        return type(error), str(error)


@given(objects(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"]), st.data())
@example('{"samples":[[1]],"samples":[[2]],"weights":[1],"weights":[2,2]}', "utf-8", None)
@example('{"s\\u0061mples":[[1],[1]],"samples":[[2]]}', "utf-8", None)
@example('{"samples":[[1],[2]]', "utf-8", None)
@settings(max_examples=200, deadline=None)
def test_every_text_is_parsed_as_by_the_plain_way_whole_and_cut_off(text, encoding, draw):
    """Broken: a key that comes twice, is escaped or stands in another order gives other samples, or a file that
    was cut off passes for a whole one."""
    data = text.encode(encoding)
    if draw is not None:
        data = data[: draw.draw(st.integers(0, len(data)) | st.just(len(data)))]
    assert outcome(compact_json.loads, data) == outcome(plain, data)


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        (b'{"samples":[[1],[01]]}', None),
        (b'{"samples":[[1],[2]x]}', None),
        (b'{"samples":[[1],,[2]]}', None),
        (b'{"samples":[[]]}', [[]]),
        (b'{"samples":[[],[],[3]]}', [[], [3]]),
        (b'{"samples":[[3],[],[3]]}', [[3], []]),
        (b'{"samples":[[1],[[2]],[1]]}', [[1], [[2]]]),
        (b'{"samples":[[1],[2],]}', None),
        (b'{"samples":[[7,8],[7],[7,8]],"samples":[[1]]}', [[1]]),
    ],
)
def test_only_json_is_cut_out(text, samples):
    """Broken: numbers that JSON refuses are accepted, or the first of two lists wins."""
    if samples is None:
        with pytest.raises(ValueError, match="Expecting|delimiter|Extra"):
            compact_json.loads(text)
    else:
        assert compact_json.loads(text)["samples"].distinct == samples


def test_a_real_recording_is_cut_out_whole():
    """Broken: the fast way is never taken, and every test above passes on the plain one."""
    data = (CAPTURES / "two_processes.speedscope.json").read_bytes()
    rest, cut = compact_json._cut(data, "key")
    profiles = plain(data)["profiles"]
    assert len(cut) == 2 * len(profiles)
    assert b"[[" not in rest
    for profile, samples, weights in zip(profiles, cut[::2], cut[1::2], strict=True):
        assert samples.distinct == profile["samples"].distinct
        assert np.array_equal(samples.ids, profile["samples"].ids)
        assert weights == profile["weights"]


def peak_bytes(parse, data):
    tracemalloc.start()
    try:
        parse(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_nothing_is_built_per_sample(tmp_path):
    """Broken: an hour's recording takes gigabytes, ten times its size, as with ``json.loads``."""
    data = write_recording(tmp_path / "a.json", samples=36_000, stacks=120).read_bytes()
    assert comparable(compact_json.loads(data)) == comparable(plain(data))
    assert peak_bytes(compact_json.loads, data) < 0.6 * len(data)
    assert peak_bytes(json.loads, data) > 4 * len(data)
