"""The reader of the kernel's scheduling counters: what it writes is what the kernel counted."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scoreprof_nb.capture import schedstat_reader
from scoreprof_nb.capture.schedstat_reader import RECORD
from scoreprof_nb.capture.thread_states import _RECORD, READER, ThreadStateReading, table_of
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA
from tests.support.standin import wait_ended, wait_until

SCHEDSTAT = Path("/proc/self/schedstat")
pytestmark = pytest.mark.skipif(not SCHEDSTAT.exists(), reason="the kernel does not count")

# Computes for 0.2 s of CPU time, says so, and sleeps; its second thread only sleeps.
TARGET = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
input()
while time.thread_time() < 0.2: pass
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture
def target():
    process = subprocess.Popen(
        [sys.executable, "-c", TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 2, "its second thread")
    yield process
    process.kill()
    process.communicate()


def counted(pid):
    on_cpu, runnable, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(on_cpu), int(runnable)


def test_records_end_where_the_kernels_counters_are(target, tmp_path):
    """Broken: time is lost, or attributed to another thread."""
    with ThreadStateReading([target.pid], tmp_path / "records") as reading:
        before = counted(target.pid)
        target.stdin.write("\n")
        target.stdin.flush()
        assert target.stdout.readline() == "done\n"
        time.sleep(0.02)  # a reading after it fell asleep
    rows = reading.table(3).to_pandas()
    assert reading.table(3).schema == SCHEDSTAT_SCHEMA
    assert set(rows["block"]) == {3}
    assert len(set(rows["tid"])) == 2
    main = rows[rows["tid"] == target.pid].sort_values("time_ns")
    assert main["on_cpu_ns"].iloc[0] <= before[0]
    assert (main["on_cpu_ns"].iloc[-1], main["runnable_ns"].iloc[-1]) == counted(target.pid)
    assert main["on_cpu_ns"].is_monotonic_increasing
    assert main["on_cpu_ns"].iloc[-1] - before[0] >= 0.15e9


def test_thread_that_sleeps_has_its_first_and_last_reading_only(target, tmp_path):
    """Broken: an hour of idle threads fills the disk."""
    with ThreadStateReading([target.pid], tmp_path / "records") as reading:
        time.sleep(0.1)
    rows = reading.table(0).to_pandas()
    sleeping = rows[rows["tid"] != target.pid].sort_values("time_ns")
    assert len(sleeping) == 2
    assert sleeping["on_cpu_ns"].nunique() == 1
    assert np.diff(sleeping["time_ns"])[0] >= 0.08e9
    assert not (tmp_path / "records").exists(), "the reader's own file is left behind"


def test_reading_before_a_change_is_kept(monkeypatch, tmp_path):
    """Broken: work after a pause is spread over the whole pause."""
    texts = iter([b"10 1 1\n", b"10 1 1\n", b"10 1 1\n", b"30 2 2\n", b"30 2 2\n"])
    monkeypatch.setattr(os, "pread", lambda *_: next(texts))
    with (tmp_path / "records").open("wb") as output:
        group = schedstat_reader.Group(output)
        group.add(os.getpid(), os.getpid(), 100)
        for now_ns in (200, 300, 400, 500):
            assert not group.read(now_ns)
        group.close()
    rows = table_of((tmp_path / "records").read_bytes(), 0).to_pandas()
    assert list(zip(rows["time_ns"], rows["on_cpu_ns"], rows["runnable_ns"], strict=True)) == [
        (100, 10, 1),
        (300, 10, 1),
        (400, 30, 2),
        (500, 30, 2),
    ]


@pytest.mark.parametrize("gone", [OSError, b""])
def test_thread_that_ended_leaves_the_others_in_place(monkeypatch, tmp_path, gone):
    """Broken: after a thread has ended, the counters of the next one are written under its id."""
    counters = {}
    monkeypatch.setattr(os, "open", lambda path, _: int(path.split("/")[4]))
    monkeypatch.setattr(os, "close", lambda _: None)

    def pread(file, *_):
        text = counters[file]
        if text is OSError:
            raise ProcessLookupError
        return text

    monkeypatch.setattr(os, "pread", pread)
    output = io.BytesIO()
    group = schedstat_reader.Group(output)
    for tid in (1, 2, 3):
        counters[tid] = b"%d 0 1\n" % tid
        group.add(9, tid, 100)
    counters.update({1: gone, 2: b"20 0 2\n"})
    assert group.read(200) == [(9, 1)]
    counters[3] = b"30 0 2\n"
    assert group.read(300) == []
    group.close()
    rows = table_of(output.getvalue(), 0).to_pandas()
    assert [tuple(row) for row in rows[["tid", "time_ns", "on_cpu_ns"]].to_numpy()] == [
        (1, 100, 1),
        (2, 100, 2),
        (2, 200, 20),
        (2, 300, 20),
        (3, 100, 3),
        (3, 200, 3),
        (3, 300, 30),
    ]


def test_threads_that_run_no_python_take_turns(target, tmp_path):
    """Broken: reading the dozens of native threads of XLA costs more than all others together; or one of
    them is not read at all."""
    reads = []
    output = io.BytesIO()
    threads = schedstat_reader.Threads(output, {target.pid: frozenset([target.pid])})
    threads.look(0)
    for group in (threads._often, *threads._turns):
        group.read = lambda now_ns, group=group: reads.extend(group._ids) or []
    for slot in range(2 * schedstat_reader.OTHERS_EVERY):
        threads.read(slot, slot)
    (other,) = {tid for _, tid in reads} - {target.pid}
    assert reads.count((target.pid, target.pid)) == 2 * schedstat_reader.OTHERS_EVERY
    assert reads.count((target.pid, other)) == 2


def test_process_without_known_threads_is_read_in_every_slot(target):
    """Broken: where py-spy's list of threads could not be had, the GIL's pairs are lost."""
    threads = schedstat_reader.Threads(io.BytesIO(), schedstat_reader.named_threads([f"{target.pid}:"]))
    threads.look(0)
    assert len(threads._often) == 2
    assert schedstat_reader.named_threads(["7:8,9", "10"]) == {7: {8, 9}, 10: frozenset()}


def test_cut_record_is_dropped():
    whole = RECORD.pack(1, 2, 3, 4, 5)
    assert RECORD.size == _RECORD.itemsize
    assert table_of(whole + whole[:7], 0).num_rows == 1
    assert table_of(b"", 0).num_rows == 0


def test_process_that_ended_costs_its_own_rows_only(target, tmp_path):
    """Broken: a thread that ends during a block takes the others' counters with it."""
    with ThreadStateReading([target.pid, os.getpid()], tmp_path / "records") as reading:
        target.kill()
        target.wait()
        time.sleep(0.05)
    rows = reading.table(0).to_pandas()
    assert set(rows["pid"]) == {target.pid, os.getpid()}


def test_reader_ends_with_its_parent(tmp_path):
    """Broken: a killed capture leaves a process that reads for ever."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "reader = subprocess.Popen([sys.executable, '-I', '-S', *sys.argv[1:]], stdin=subprocess.PIPE)\n"
            "print(reader.pid, flush=True)\n"
            "time.sleep(60)",
            *(str(READER), str(tmp_path / "records"), "0.004", "0", str(os.getpid())),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    reader = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_ended(reader)
