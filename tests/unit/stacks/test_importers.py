"""py-spy's recordings become stack tables: exact small cases, stored real captures, broken files."""

import gzip
import json
from collections import Counter

import jsonschema
import numpy as np
import pytest

from scoreprof_nb.stacks.folded import MAX_SAMPLES, read_folded
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.speedscope import read_speedscope, write_speedscope
from scoreprof_nb.stacks.table import (
    Frame,
    ImportFailed,
    NotOrdered,
    StackTable,
    StackTableBuilder,
    ThreadSamples,
)
from tests.support.paths import CAPTURES

SPEEDSCOPE_SCHEMA = CAPTURES / "speedscope" / "file-format-schema.json"
STORED = [
    "two_processes.speedscope.json",
    "two_processes.folded",
    "two_processes.chrometrace.json",
    "server-0.0.2.speedscope.json.gz",
]
SPAWN = "python -c from multiprocessing.spawn import spawn_main; spawn_main(pipe_handle=6)"


def dump(table: StackTable) -> str:
    """A readable snapshot: each thread with its ticks, below it its most frequent stacks, leaf first."""
    lines = []
    for thread in sorted(table.threads, key=lambda thread: thread.tid):
        command = thread.process.replace("\n", "\\n")[:48]
        lines.append(f"{thread.pid}/{thread.tid} {thread.thread}: {thread.ticks} in {command}")
        for stack_id, count in Counter(thread.stack_ids.tolist()).most_common(2):
            leaf, *callers = table.stack(stack_id)[::-1]
            called = " < ".join(frame.name for frame in callers[:3])
            lines.append(f"  {count:4} {leaf.name} ({leaf.file}:{leaf.line}) < {called}")
    return "\n".join(lines)


def content(table: StackTable):
    """What a table says, whatever the order of its frames and stacks."""
    threads = [
        (t.pid, t.tid, t.process, t.thread, t.parents, [table.stack(i) for i in t.stack_ids])
        for t in table.threads
    ]
    return threads, table.interval_s, table.ordered


def stacks_of(table: StackTable, tid: int) -> set[tuple[str, ...]]:
    """The distinct stacks of a thread, as names and files."""
    (thread,) = (thread for thread in table.threads if thread.tid == tid)
    stacks = (table.stack(stack_id) for stack_id in set(thread.stack_ids.tolist()))
    return {tuple(f"{frame.name} {frame.file}" for frame in stack) for stack in stacks}


def names(table: StackTable, thread: int = 0) -> list[list[str]]:
    """The names of the frames of a thread's stack at each tick."""
    return [[frame.name for frame in table.stack(i)] for i in table.threads[thread].stack_ids]


FRAMES = [
    {"name": 'process 7:"python serve.py"', "file": "", "line": 0, "col": None},
    {"name": f'process 8:"{SPAWN}"', "file": "", "line": 0, "col": None},
    {"name": "thread (81): MainThread", "file": "", "line": 0, "col": None},
    {"name": 'thread (82): pool; "2"\n', "file": "", "line": 0, "col": None},
    {"name": "main", "file": "/app/serve.py", "line": 5, "col": None},
    {"name": "Queue.get", "file": "/usr/lib/python3.12/queue.py", "line": 171, "col": None},
]


def profile(samples, **other):
    weights = [0.01] * len(samples)
    name = 'Process 8 Thread 81 "MainThread"'
    return {
        "type": "sampled",
        "name": name,
        "unit": "seconds",
        "samples": samples,
        "weights": weights,
    } | other


@pytest.fixture
def speedscope(tmp_path):
    """Reads a document made of the given profiles."""

    def read(*profiles, frames=FRAMES):
        path = tmp_path / "recording.json"
        path.write_text(json.dumps({"$schema": "…", "shared": {"frames": frames}, "profiles": profiles}))
        return read_speedscope(path)

    return read


@pytest.fixture
def folded(tmp_path):
    """Reads a raw file of the given text."""

    def read(text):
        path = tmp_path / "recording.folded"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_folded(path)

    return read


# speedscope: exact cases


def test_speedscope_labels_are_taken_out_of_the_stacks(speedscope):
    """Broken: every stack begins with py-spy's own frames, and its process is unknown."""
    table = speedscope(profile([[0, 1, 2, 4], [0, 1, 2, 4, 5]]))
    (thread,) = table.threads
    assert (thread.pid, thread.tid, thread.thread) == (8, 81, "MainThread")
    assert (thread.process, thread.parents) == (SPAWN, ("python serve.py",))
    assert names(table) == [["main"], ["main", "Queue.get"]]
    assert table.stack(1)[0] == Frame("main", "/app/serve.py", 5)
    assert (table.interval_s, table.ordered, table.skipped) == (0.01, True, ())


def test_speedscope_sample_without_python_frames_is_the_empty_stack(speedscope):
    """Broken: a tick without a stack is left out, and threads no longer share their ticks."""
    table = speedscope(profile([[0, 1, 2, 4], [0, 1, 2], [0, 1, 2, 4]]))
    assert names(table) == [["main"], [], ["main"]]
    assert not table.skipped


def test_speedscope_profile_of_two_threads_is_taken_apart(speedscope):
    """Broken: a thread that reuses the id of an ended one is counted as the ended one."""
    table = speedscope(profile([[0, 1, 2, 4], [0, 1, 3, 5], [0, 1, 2, 5], [0, 1, 3, 4]]))
    assert [(t.tid, t.thread) for t in table.threads] == [(81, "MainThread"), (82, 'pool; "2"\n')]
    assert names(table, 0) == [["main"], ["Queue.get"]]
    assert names(table, 1) == [["Queue.get"], ["main"]]


def test_speedscope_samples_of_an_id_that_is_not_known_belong_to_their_profiles_thread(speedscope):
    """Broken: the first samples of a thread go to a thread with id 0, and its work is called waiting."""
    frames = [*FRAMES, {"name": "thread (0): MainThread"}]
    table = speedscope(profile([[0, 1, 6, 4], [0, 1, 2, 5], [0, 1, 2, 4]]), frames=frames)
    assert [(t.tid, t.thread) for t in table.threads] == [(81, "MainThread")]
    assert names(table) == [["main"], ["Queue.get"], ["main"]]
    two = speedscope(profile([[0, 1, 6, 4], [0, 1, 2, 5], [0, 1, 3, 4]]), frames=frames)
    assert sorted(t.tid for t in two.threads) == [0, 81, 82]  # whose it is cannot be told


def test_speedscope_thread_whose_name_came_late_stays_one_thread(speedscope):
    """Broken: a thread sampled before `threading` was imported is read as two."""
    frames = [{"name": "thread (5): "}, {"name": "thread (5): worker"}]
    table = speedscope(profile([[0], [1], [0]]), frames=frames)
    assert [(t.tid, t.thread, t.ticks) for t in table.threads] == [(5, "worker", 3)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ('Process 8 Thread 140 "say "hi""', (8, 140, 'say "hi"')),
        ('Process 8 Thread 0x7F01 ""', (8, 0x7F01, "")),
        ('Thread 140 "MainThread"', (0, 140, "MainThread")),
        ("from elsewhere", (0, 0, "from elsewhere")),
    ],
)
def test_speedscope_without_label_frames_uses_the_profiles_name(speedscope, name, expected):
    """Broken: a recording made without --threads or --subprocesses does not say whose samples it holds."""
    table = speedscope(profile([[4], [4, 5]], name=name))
    (thread,) = table.threads
    assert (thread.pid, thread.tid, thread.thread) == expected
    assert names(table) == [["main"], ["main", "Queue.get"]]


def test_speedscope_python_frame_that_looks_like_a_label_stays(speedscope):
    """Broken: a function with an odd name is taken for a label, and invents a process."""
    odd = [{"name": name, "file": "/app/odd.py"} for name in ('process 1:"x"', "thread (9): x")]
    table = speedscope(profile([[0, 1, 2, 6, 2, 4], [0, 1, 6], [0, 1, 7]]), frames=[*FRAMES, *odd])
    assert [(t.pid, t.tid, t.thread) for t in table.threads] == [(8, 81, "MainThread")]
    assert names(table) == [
        ['process 1:"x"', "thread (81): MainThread", "main"],
        ['process 1:"x"'],
        ["thread (9): x"],
    ]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([4, 6], "frame index 6 is out of range, there are 6 frames"),
        ([-1], "frame index -1 is out of range, there are 6 frames"),
        ([True], "frame index True is not a whole number"),
        ([1.0], "frame index 1.0 is not a whole number"),
        ([None], "frame index None is not a whole number"),
        ([[4]], "frame index [4] is not a whole number"),
        ("45", "not a list of frame indices"),
        (None, "not a list of frame indices"),
        ({"4": 5}, "not a list of frame indices"),
    ],
)
def test_speedscope_bad_sample_is_counted_with_its_place(speedscope, bad, why):
    """Broken: a bad sample shortens the recording or puts a wrong frame into it, and nobody knows."""
    table = speedscope(profile([[1], [4, 5], bad, [4], bad]))
    assert [(s.where, s.why) for s in table.skipped] == [
        ("profiles[0].samples[2]", why),
        ("profiles[0].samples[4]", why),
    ]
    assert sum(thread.ticks for thread in table.threads) == 3


def test_speedscope_sample_of_an_unreadable_frame_is_counted(speedscope):
    """Broken: a damaged frame ends the import, or is left out of the middle of stacks."""
    frames = [*FRAMES, {"name": 5}, {"name": "f", "line": "3"}, "f"]
    table = speedscope(profile([[4], [4, 6], [7], [8, 4]]), frames=frames)
    assert [skipped.where for skipped in table.skipped] == [
        *(f"shared.frames[{i}]" for i in (6, 7, 8)),
        *(f"profiles[0].samples[{i}]" for i in (1, 2, 3)),
    ]
    assert names(table) == [["main"]]


def test_speedscope_other_profiles_are_named_not_read(speedscope):
    """Broken: an evented profile is skipped without a word."""
    table = speedscope(profile([[4]]), profile([], type="evented"), 5, profile([]) | {"samples": 3})
    assert [(s.where, s.why) for s in table.skipped] == [
        ("profiles[1]", "type 'evented', not 'sampled'"),
        ("profiles[2]", "not an object"),
        ("profiles[3]", "`samples` is not a list"),
    ]
    assert len(table.threads) == 1


@pytest.mark.parametrize(
    ("other", "interval_s", "where"),
    [
        ({"unit": "milliseconds", "weights": [20, 20]}, 0.02, []),
        ({"unit": "none", "weights": [1, 1]}, None, []),
        ({"unit": "bytes"}, None, ["profiles[0].unit"]),
        ({"unit": ["seconds"]}, None, ["profiles[0].unit"]),
        ({"weights": [0.01, 0.02]}, None, ["profiles[0].weights"]),
        ({"weights": [0.01]}, None, ["profiles[0].weights"]),
        ({"weights": None}, None, ["profiles[0].weights"]),
        ({"weights": [0, 0]}, None, ["profiles[0].weights"]),
        ({"weights": [10**400, 10**400]}, None, ["profiles[0].weights"]),
        ({"weights": [True, True]}, None, ["profiles[0].weights"]),
        ({"weights": [[], []]}, None, ["profiles[0].weights"]),
    ],
)
def test_speedscope_interval_is_the_constant_weight_or_unknown(speedscope, other, interval_s, where):
    """Broken: times are computed from a wrong sampling rate."""
    table = speedscope(profile([[4], [4]], **other))
    assert table.interval_s == interval_s
    assert [skipped.where for skipped in table.skipped] == where
    assert table.threads[0].ticks == 2


def test_speedscope_profiles_of_different_intervals_have_none(speedscope):
    """Broken: the ticks of one thread are taken to be as long as another's."""
    table = speedscope(profile([[4]]), profile([[4]], weights=[0.02]))
    assert table.interval_s is None
    assert table.skipped[0].why == "their intervals differ"


def test_skipped_text_is_bounded(speedscope, folded):
    """Broken: the message about a damaged file repeats a gigabyte of it."""
    skipped = [
        *speedscope(profile([[4], ["x" * 10**6], list(range(10**5))])).skipped,
        *folded("f (a.py:1) 1\n" + "x" * 10**6 + "\n").skipped,
    ]
    assert len(skipped) == 3
    assert all(len(part.text) <= 201 and len(part.why) < 300 for part in skipped)


# writing


def two_threads() -> StackTable:
    builder = StackTableBuilder()
    main, get = Frame("main", "/app/serve.py", 5), Frame("<module>", "<string>")
    ids = [builder.stack_id([builder.frame_id(f) for f in stack]) for stack in ([main], [], [main, get])]
    samples = np.array([ids[0], ids[2], ids[1]], dtype=np.int32)
    builder.add_thread(ThreadSamples(8, 81, SPAWN, 'a "b"; (c)', samples, ("python serve.py", "x\ny")))
    builder.add_thread(ThreadSamples(7, 70, "", "", samples[::-1].copy()))
    return builder.build(ordered=True, interval_s=1 / 250)


def test_written_file_reads_back_equal(tmp_path):
    """Broken: an exported recording differs from the recording."""
    write_speedscope(two_threads(), tmp_path / "out.json", name="run 1")
    assert content(read_speedscope(tmp_path / "out.json")) == content(two_threads())


def test_written_file_satisfies_the_format_of_speedscope(tmp_path):
    """Broken: speedscope refuses an exported recording, or shows it wrongly."""
    write_speedscope(two_threads(), tmp_path / "out.json", name="run 1")
    document = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(document, json.loads(SPEEDSCOPE_SCHEMA.read_text()))
    frames = len(document["shared"]["frames"])
    assert len(document["profiles"]) == 2
    for written in document["profiles"]:
        assert len(written["samples"]) == len(written["weights"]) == 3
        assert written["endValue"] == pytest.approx(sum(written["weights"]))
        assert all(0 <= index < frames for sample in written["samples"] for index in sample)


def test_aggregated_table_is_not_written_as_a_time_order(folded, tmp_path):
    """Broken: a file claims an order in time that nobody recorded."""
    with pytest.raises(NotOrdered, match="counts of stacks"):
        write_speedscope(folded("f (a.py:1) 3\n"), tmp_path / "out.json", name="")


# raw: exact cases


def test_folded_counts_become_repeated_stack_ids(folded):
    """Broken: shares of time are shares of distinct stacks."""
    head = 'process 7:"python serve.py";thread (70): MainThread;'
    table = folded(f"{head}main (serve.py:5) 2\n{head}main (serve.py:5);Queue.get (queue.py:171) 3\n")
    assert names(table) == [["main"]] * 2 + [["main", "Queue.get"]] * 3
    (thread,) = table.threads
    assert (thread.pid, thread.tid, thread.thread, thread.process) == (7, 70, "MainThread", "python serve.py")
    assert (table.ordered, table.interval_s, table.skipped) == (False, None, ())


COMMANDS = {
    "semicolons": SPAWN,
    "quotes": 'python -c print("a"; "b")',
    "a quote at the end": 'python -c print("a"',
    "a quote and a semicolon": 'python -c x = "a";y = f (1)',
    "newlines": "python -c import x\nx.run()\n",
    "a line that ends like a record": "python -c x = 5\ny = 6",
    "a bracketed line that ends like a record": 'sh -c case (x) 5\n"',
    "a line that begins like a thread": "sh -c \nthread (5): x",
    "nothing": "",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("thread", ["thread (70): MainThread;", ""], ids=["--threads", "no threads"])
def test_folded_command_line_may_hold_anything(folded, command, thread):
    """Broken: a spawned child's samples are lost or belong to a made-up process."""
    head = f'process 7:"{command}";process 8:"{command}";{thread}'
    table = folded(f"{head}main (serve.py:5) 2\n{head}f (a.py:1);g (b.py) 3\n")
    assert [(t.pid, t.process, t.parents, t.ticks) for t in table.threads] == [(8, command, (command,), 5)]
    assert names(table) == [["main"]] * 2 + [["f", "g"]] * 3
    assert not table.skipped


@pytest.mark.parametrize(
    "name", ["", "Thread-1 (run)", "a;b", "x: 5", "two\nlines", 'say "hi"', "thread (5): x"]
)
@pytest.mark.parametrize("process", ['process 7:"a; b";', ""], ids=["--subprocesses", "one process"])
@pytest.mark.parametrize("frames", [";run (/a b/x (1).py:3)", ""], ids=["a frame", "empty stack"])
def test_folded_thread_name_may_hold_anything(folded, process, name, frames):
    """Broken: a thread named by its program is lost, or parts of its name are taken for frames."""
    table = folded(f"{process}thread (70): {name}{frames} 4\n")
    assert [(t.tid, t.thread, t.ticks) for t in table.threads] == [(70, name, 4)]
    assert names(table) == [["run"] if frames else []] * 4
    assert not table.skipped


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("<module> (_zmq.py:123)", Frame("<module>", "_zmq.py", 123)),
        ("f.<locals>.<lambda> (a.py)", Frame("f.<locals>.<lambda>", "a.py", None)),
        ("main (/a;b/c d (2).py:7)", Frame("main", "/a;b/c d (2).py", 7)),
        ("f (C:\\x.py:7)", Frame("f", "C:\\x.py", 7)),
        ("f (<string>:1)", Frame("f", "<string>", 1)),
    ],
)
def test_folded_frame_is_name_file_and_line(folded, text, frame):
    """Broken: the rules that name components do not match frames of a folded file."""
    table = folded(f"{text};{text} 1\n")
    assert table.stack(0) == (frame, frame)


def test_folded_windows_line_ends_and_mark_are_read(folded):
    """Broken: a file that went through an editor is refused."""
    table = folded(b"\xef\xbb\xbff (a.py:1) 2\r\ng (a.py:2) 3\r\n")
    assert table.frames == (Frame("f", "a.py", 1), Frame("g", "a.py", 2))
    assert table.threads[0].ticks == 5


def test_folded_damaged_records_are_counted_and_the_others_read(folded):
    """Broken: one damaged line costs the whole recording, or vanishes from it."""
    good = 'process 7:"a";thread (70): t;f (a.py:1) 2\n'
    table = folded(
        f"cut off;f (a.py:1) 3\n{good}no record 4\n{good}"
        'process 7:"a;thread (70: t;f (a.py:1) 5\n'
        'process 7:"a";thread (70): t;f (a.py:1);g 6\n'
        'process 7:"a";thread (70): t;f (a.py:'
    )
    assert table.threads[0].ticks == 4
    assert [(s.where, s.why) for s in table.skipped] == [
        ("line 1", "it does not begin like the other records (3 samples)"),
        ("line 3", "it does not begin like the other records (4 samples)"),
        ("line 5", "its command line has no end (5 samples)"),
        ("line 6", "not a frame: 'g' (6 samples)"),
        ("line 7", "no count at its end"),
    ]


def test_folded_record_does_not_vanish_in_a_command_line(folded):
    """Broken: the record after a damaged line is read as part of a command line."""
    damaged = 'process 1:"a";f (x.py:1) 5\nq";thread (1): t;g (y.py:1) 3\n'
    table = folded(f'{damaged}process 1:"a";thread (1): t;g (y.py:1) 2\n')
    assert sum(t.ticks for t in table.threads) == 2
    assert table.skipped[0].why == "another record ends inside its command line (3 samples)"


@pytest.mark.parametrize("counts", [[MAX_SAMPLES + 1], [MAX_SAMPLES, 1], ["9" * 5000]])
def test_folded_absurd_count_is_refused(folded, counts):
    """Broken: a damaged count fills the memory."""
    with pytest.raises(ImportFailed, match="more than 100000000 samples"):
        folded("".join(f"f (a.py:1) {count}\n" for count in counts))


# any recording


BROKEN = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n", "the file is empty"),
    "prose": (b"hello world 5\n", "no record of py-spy's raw format"),
    "binary": (bytes(range(256)), "no record of py-spy's raw format"),
    "cut JSON": (b'{"profiles": [', "not JSON"),
    "deep JSON": (b'{"a":' + b"[" * 200_000, "not JSON"),
    "long number": (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not JSON"),
    "chrometrace": (b"[{}]", "a JSON array, but no usable event .* .event 0: neither the begin"),
    "no profiles": (b'{"shared": {"frames": []}, "profiles": []}', "no usable profile .it lists none"),
    "other JSON": (b"{}", "`profiles` is not a list but None"),
    "no frames": (b'{"profiles": [], "shared": []}', "`shared.frames` is not a list"),
    "cut gzip": (gzip.compress(b"f (a.py:1) 5\n")[:-9], "damaged gzip file"),
    "damaged gzip": (b"\x1f\x8bnonsense", "damaged gzip file"),
    "bad samples only": (
        b'{"shared": {"frames": []}, "profiles": [{"type": "sampled", "samples": [[1]]}]}',
        r"no usable profile \(profiles\[0\].samples\[0\]: frame index 1 is out of range",
    ),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_recording_is_refused_with_file_and_reason(tmp_path, data, message):
    """Broken: the user sees a traceback, or an empty report."""
    path = tmp_path / "recording"
    path.write_bytes(data)
    with pytest.raises(ImportFailed, match=message) as refused:
        read_recording(path)
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("read", [read_recording, read_speedscope, read_folded])
def test_missing_recording_is_refused(tmp_path, read):
    """Broken: a recording that py-spy never wrote (SIGTERM) looks like a bug in the kit."""
    with pytest.raises(ImportFailed, match="cannot be read: No such file"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize("name", STORED[:2])
def test_recording_is_told_by_content_gzipped_or_not(tmp_path, name):
    """Broken: a renamed or compressed recording cannot be read."""
    data = (CAPTURES / name).read_bytes()
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    assert content(read_recording(plain)) == content(read_recording(packed))


# stored captures


@pytest.mark.parametrize("name", STORED)
def test_capture_reads_as_its_snapshot(name):
    """Broken: what py-spy 0.4.3 really writes is read in another way than before."""
    table = read_recording(CAPTURES / name)
    assert not table.skipped
    assert dump(table) + "\n" == (CAPTURES / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", [name for name in STORED if "speedscope" in name])
def test_capture_survives_being_written(tmp_path, name):
    """Broken: real recordings change when they are exported."""
    table = read_recording(CAPTURES / name)
    write_speedscope(table, tmp_path / "out.json", name=name)
    assert content(read_speedscope(tmp_path / "out.json")) == content(table)


def test_both_formats_of_one_program_name_the_same_threads_and_stacks():
    """Broken: one of the two importers splits names, processes or frames wrongly."""
    one, other = (read_recording(CAPTURES / f"two_processes.{end}") for end in ("speedscope.json", "folded"))

    def facts(table):
        return {(t.pid, t.tid, t.process, t.thread, t.parents) for t in table.threads}

    assert facts(one) == facts(other)
    # The busy thread may have been caught at other lines of its loop, so its stacks are compared by name.
    for tid in [thread.tid for thread in one.threads]:
        assert stacks_of(one, tid) == stacks_of(other, tid)


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CAPTURES.iterdir()) if path.suffix in (".json", ".gz", ".folded", ".txt")],
    ids=lambda path: path.name,
)
def test_stored_file_names_no_place_of_the_machine_that_made_it(path):
    """Broken: a user's paths are published."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    assert not [place for place in ("/root/", "/tmp/", "/work/", "/home/", ".pyenv/") if place in text]
    assert len(data) < 150_000
