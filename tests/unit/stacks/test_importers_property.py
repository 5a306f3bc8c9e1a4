"""Importers under generated and damaged input: a table or ImportFailed, and nothing lost in silence."""

import contextlib
import json
import re

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from scoreprof_nb.stacks.folded import parse_folded
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.speedscope import parse_speedscope, read_speedscope, write_speedscope
from scoreprof_nb.stacks.table import Frame, ImportFailed, StackTable, StackTableBuilder, ThreadSamples
from tests.support.paths import CAPTURES

SPEEDSCOPE_SCHEMA = json.loads((CAPTURES / "speedscope" / "file-format-schema.json").read_text())
quick = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check(table: StackTable) -> None:
    """A table whose parts fit together."""
    assert table.threads
    assert table.offsets[0] == 0
    assert table.offsets[-1] == len(table.frame_ids)
    assert (np.diff(table.offsets) >= 0).all()
    assert all(0 <= i < len(table.frames) for i in table.frame_ids)
    for thread in table.threads:
        assert thread.stack_ids.dtype == np.int32
        assert ((thread.stack_ids >= 0) & (thread.stack_ids < table.n_stacks)).all()
    assert all(len(part.text) <= 201 for part in table.skipped)


def table_or_refusal(parse, data: bytes) -> StackTable | None:
    try:
        table: StackTable = parse(data, "here")
    except ImportFailed as refused:
        message = str(refused)
    else:
        check(table)
        return table
    assert message.startswith("here: ")
    return None


# any bytes


SMALL = json.dumps(
    {
        "$schema": "…",
        "shared": {
            "frames": [
                {"name": 'process 7:"a; b"', "file": "", "line": 0},
                {"name": "thread (70): t", "file": "", "line": 0},
                {"name": "f", "file": "a.py", "line": 1},
            ]
        },
        "profiles": [
            {"type": "sampled", "name": 'Process 7 Thread 70 "t"', "unit": "seconds"}
            | {"startValue": 0.0, "endValue": 0.03, "samples": [[0, 1, 2], [0, 1], [0, 1, 2]]}
            | {"weights": [0.01, 0.01, 0.01]}
        ],
    }
).encode()
TOKENS = [
    b"",
    b'"',
    b";",
    b"\n",
    b" ",
    b" 5\n",
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"-",
    b"true",
    b"1.5",
]
TOKENS += [b"null", b"\xff", b"\0", b"1e999", b'";thread (', b'process 7:"', b"9" * 30, b"\\ud800"]


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A valid file with a few pieces of it replaced."""
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(whole)))
        last = min(len(whole), first + draw(st.sampled_from([0, 0, 1, 1, 2, 10, 1000])))
        whole = whole[:first] + draw(st.sampled_from(TOKENS) | st.binary(max_size=4)) + whole[last:]
    return whole


@pytest.mark.parametrize("parse", [parse_speedscope, parse_folded])
@quick
@given(data=st.binary(max_size=300) | st.lists(st.sampled_from(TOKENS)).map(b"".join))
def test_any_bytes_give_a_table_or_a_refusal(parse, data):
    """Broken: a file that is no recording ends the notebook with an error from inside an importer."""
    table_or_refusal(parse, data)


@quick
@given(data=damaged(SMALL))
def test_damaged_speedscope_gives_a_table_or_a_refusal(data):
    """Broken: a damaged recording ends the notebook with an error from inside the importer."""
    table_or_refusal(parse_speedscope, data)


@quick
@given(data=damaged((CAPTURES / "two_processes.folded").read_bytes()))
def test_damaged_raw_gives_a_table_or_a_refusal(data):
    """Broken: a damaged recording ends the notebook with an error from inside the importer."""
    table_or_refusal(parse_folded, data)


@quick
@given(data=damaged((CAPTURES / "server-0.0.2.speedscope.json.gz").read_bytes()))
def test_damaged_gzip_gives_a_table_or_a_refusal(tmp_path, data):
    """Broken: a damaged download ends the notebook with an error from inside gzip."""
    (tmp_path / "recording.gz").write_bytes(data)
    with contextlib.suppress(ImportFailed):
        check(read_recording(tmp_path / "recording.gz"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@quick
@given(part=st.sampled_from(["shared", "profiles"]), keys=st.lists(st.integers(0, 9), max_size=5), value=JSON)
def test_any_value_in_any_place_gives_a_table_or_a_refusal(part, keys, value):
    """Broken: a field of another type than py-spy writes ends the import with a TypeError."""
    document = json.loads(SMALL)
    holder, key = document, part
    for choice in keys:
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        holder = inner
        key = list(inner)[choice % len(inner)] if isinstance(inner, dict) else choice % len(inner)
    holder[key] = value
    table_or_refusal(parse_speedscope, json.dumps(document).encode())


@quick
@given(samples=st.lists(st.lists(st.integers(0, 2), max_size=4) | JSON, min_size=1))
def test_every_speedscope_sample_is_read_or_counted(samples):
    """Broken: the recording gets shorter, and shares of time are wrong."""
    document = json.loads(SMALL)
    document["profiles"][0] |= {"samples": samples, "weights": [0.01] * len(samples)}
    valid = [
        isinstance(sample, list) and all(type(index) is int and 0 <= index < 3 for index in sample)
        for sample in samples
    ]
    table = table_or_refusal(parse_speedscope, json.dumps(document).encode())
    if table is None:
        assert not any(valid)
        return
    assert sum(thread.ticks for thread in table.threads) == sum(valid)
    bad = {f"profiles[0].samples[{tick}]" for tick, good in enumerate(valid) if not good}
    assert {part.where for part in table.skipped} == bad
    assert len(table.skipped) == len(bad)


# round trip


text = st.text(max_size=8) | st.lists(
    st.sampled_from(['"', ";", "\n", "process 1:", "thread (2): x", " 5"])
).map("".join)
frames = st.builds(
    Frame, st.text(max_size=5), st.text(min_size=1, max_size=5), st.none() | st.integers(0, 10**6)
)
ids = st.integers(0, 10**9)


@st.composite
def tables(draw) -> StackTable:
    builder = StackTableBuilder()
    stacks = draw(st.lists(st.lists(frames, max_size=4), min_size=1, max_size=5))
    stack_ids = [builder.stack_id([builder.frame_id(frame) for frame in stack]) for stack in stacks]
    for _ in range(draw(st.integers(1, 3))):
        samples = np.array(draw(st.lists(st.sampled_from(stack_ids), min_size=1)), dtype=np.int32)
        parents = tuple(draw(st.lists(text, max_size=2)))
        builder.add_thread(ThreadSamples(draw(ids), draw(ids), draw(text), draw(text), samples, parents))
    interval_s = draw(st.none() | st.floats(1e-6, 10.0))
    return builder.build(ordered=True, interval_s=interval_s)


def content(table: StackTable):
    threads = [
        (t.pid, t.tid, t.process, t.thread, t.parents, [table.stack(i) for i in t.stack_ids])
        for t in table.threads
    ]
    return threads, table.interval_s, table.ordered, table.skipped


@quick
@given(table=tables())
def test_any_table_reads_back_equal_after_writing(tmp_path, table):
    """Broken: a recording changes when it is exported, or speedscope refuses it."""
    write_speedscope(table, tmp_path / "out.json", name="any")
    jsonschema.validate(json.loads((tmp_path / "out.json").read_text()), SPEEDSCOPE_SCHEMA)
    assert content(read_speedscope(tmp_path / "out.json")) == content(table)


# raw records


COMMAND_PIECES = [
    '"',
    ";",
    "\n",
    " ",
    " 5",
    " 5\n",
    "x",
    "(",
    ")",
    " (",
    ");",
    "process",
    "thread (",
    "a.py:1)",
    "é",
]
NAME_PIECES = ['"', ";", " 5", "x", "(x)", "\n", ":", "process", "thread"]
FORGED = re.compile(
    r'";process [0-9]+:"|";thread \([0-9]|:[0-9]+\) [0-9]+\n'
)  # no reader can tell these apart
commands = st.lists(st.sampled_from(COMMAND_PIECES), max_size=8).map("".join)
thread_names = st.lists(st.sampled_from(NAME_PIECES), max_size=5).map("".join)
python_frames = st.builds(
    Frame,
    st.sampled_from(["f", "A.g", "<module>"]),
    st.sampled_from(["a.py", "/a;b/c (1).py"]),
    st.none() | st.integers(0, 10**6),
)


def written(frame: Frame) -> str:
    return (
        f"{frame.name} ({frame.file})" if frame.line is None else f"{frame.name} ({frame.file}:{frame.line})"
    )


@st.composite
def records(draw, threads: bool):
    """(labels, frames, count) of one record, and its text."""
    processes = draw(st.lists(commands, min_size=1, max_size=3))
    assume(not any(FORGED.search(command + '"') for command in processes))
    pid, tid, count = draw(ids), draw(ids) if threads else 0, draw(st.integers(1, 50))
    name = draw(thread_names) if threads else ""
    assume(") 5\n" not in name)  # the end of a record
    stack = draw(st.lists(python_frames, min_size=0 if threads else 1, max_size=4))
    parts = [f'process {pid}:"{command}"' for command in processes]
    parts += [f"thread ({tid}): {name}"] if threads else []
    line = ";".join(parts + [written(frame) for frame in stack]) + f" {count}\n"
    return (pid, tid), (processes[-1], name, tuple(processes[:-1])), tuple(stack), count, line


@pytest.mark.parametrize("threads", [True, False], ids=["--threads", "no threads"])
@quick
@given(data=st.data())
def test_every_raw_record_is_read_whatever_its_command_line(threads, data):
    """Broken: a process loses samples to a made-up one because of its arguments."""
    made = data.draw(st.lists(records(threads), min_size=1, max_size=4, unique_by=lambda record: record[0]))
    table = table_or_refusal(parse_folded, "".join(record[-1] for record in made).encode())
    assert table is not None
    assert table.skipped == ()
    threads = {
        (t.pid, t.tid): ((t.process, t.thread, t.parents), [table.stack(i) for i in t.stack_ids])
        for t in table.threads
    }
    assert threads == {key: (labels, [stack] * count) for key, labels, stack, count, _ in made}


@quick
@given(data=st.data())
def test_raw_counts_are_conserved_between_damaged_lines(data):
    """Broken: a damaged line takes sound records with it, or vanishes itself."""
    lines, sound, damaged_counts = [], 0, 0
    head = 'process 7:"a; b";thread (70): t;f (a.py:1)'
    for kind in data.draw(st.lists(st.sampled_from(["sound", "junk", "cut head", "cut frame"]), max_size=8)):
        count = data.draw(st.integers(1, 50))
        sound += count if kind == "sound" else 0
        damaged_counts += count if kind != "sound" else 0
        texts = {"sound": head, "junk": "junk;x", "cut head": head[3:], "cut frame": head[:-2]}
        lines.append(f"{texts[kind]} {count}\n")
    table = table_or_refusal(parse_folded, "".join([f"{head} 1\n", *lines]).encode())
    assert table is not None
    skipped = sum(int(n) for part in table.skipped for n in re.findall(r"\((\d+) samples\)", part.why))
    assert (sum(thread.ticks for thread in table.threads), skipped) == (sound + 1, damaged_counts)


@example("a\nb")
@quick
@given(st.text())
def test_decoded_text_never_breaks_the_raw_importer(content_text):
    """Broken: a file in a script other than Latin ends the import with an error."""
    table_or_refusal(parse_folded, content_text.encode("utf-8", "surrogatepass"))
