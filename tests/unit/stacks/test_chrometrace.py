"""py-spy's chrometrace: each stack counts for the time between two changes."""

import json

from scoreprof_nb.stacks.chrometrace import parse_chrometrace
from scoreprof_nb.stacks.table import Frame

PROCESS = 'process 10:"python -m sgl_jax.launch_server"'
THREAD = "thread (11): MainThread"


def event(kind, name, at_ms, tid=7, file="a.py", line=3):
    return {
        "args": {"filename": file, "line": line},
        "cat": "py-spy",
        "name": name,
        "ph": kind,
        "pid": 10,
        "tid": tid,
        "ts": at_ms * 1000,
    }


def label(kind, name, at_ms, tid=7):
    return event(kind, name, at_ms, tid, file="", line=0)


EVENTS = [
    label("B", PROCESS, 1000),
    label("B", THREAD, 1000),
    event("B", "main", 1000),
    event("B", "work", 1000),
    event("E", "work", 1300),
    event("B", "rest", 1300, line=9),
    event("E", "rest", 2000, line=9),
    event("E", "main", 2000),
    label("E", THREAD, 2000),
    label("E", PROCESS, 2000),
]


def read(events):
    return parse_chrometrace(json.dumps(events).encode(), "file")


def test_each_stack_counts_for_its_time():
    """Broken: a stack counts once per event, so that what lasts long is as small as what is short."""
    table = read(EVENTS)
    (thread,) = table.threads
    assert (thread.pid, thread.tid, thread.thread) == (10, 11, "MainThread")
    assert thread.process == "python -m sgl_jax.launch_server"
    innermost = [table.stack(int(i))[-1] for i in thread.stack_ids]
    assert innermost == [Frame("work", "a.py", 3)] * 30 + [Frame("rest", "a.py", 9)] * 70
    assert table.ordered
    assert table.interval_s == 0.01
    assert not table.skipped


def test_a_thread_that_ended_has_no_samples_until_it_is_back():
    """Broken: py-spy's pause is counted as the last stack's time."""
    later = [{**one, "ts": one["ts"] + 5_000_000} for one in EVENTS]
    (thread,) = read([*EVENTS, *later]).threads
    assert thread.ticks == 200


def test_what_does_not_fit_is_skipped_with_its_place():
    """Broken: a damaged event shifts all frames after it, silently."""
    table = read([*EVENTS[:4], event("E", "other", 1100), {"ph": "B"}, *EVENTS[4:]])
    assert [(part.where, part.why) for part in table.skipped] == [
        ("event 5", "without a frame"),
        ("1100000 us", "a frame ends that is not the innermost one"),
    ]
    assert table.threads[0].ticks == 100
