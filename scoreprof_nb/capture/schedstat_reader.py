"""Reads the kernel's scheduling counters of every thread of some processes, once per slot of the clock.

    <python> schedstat_reader.py OUTPUT STEP_S PID [PID ...]

``/proc/PID/task/TID/schedstat`` counts nanoseconds on a CPU and nanoseconds waiting for one. Each file is
opened once and read again in place, which costs a microsecond. Of the threads whose counters have not changed
for a while, which a TPU host has many of, QUIET_PER_SLOT are read per slot, in turns.

OUTPUT gets a record per thread and reading, in the format ``RECORD``, but only where a counter changed:
before and after the change, and the first and the last reading. Between two records of a thread the counters
are straight lines.

It prints a line when it has read every thread once, and runs until its standard input is closed, which also
happens when its parent dies. It is a process of its own, so that it takes no time from the server or from the
load generator. It uses the standard library only.
"""

import itertools
import os
import resource
import select
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

# Epoch nanoseconds, pid, tid, nanoseconds on a CPU, nanoseconds waiting for a CPU.
RECORD = struct.Struct("<qiiqq")
LOOK_S = 0.25  # between looks for new threads
QUIET_READINGS = 100  # without a change: the thread is quiet
QUIET_PER_SLOT = 32


class Task:
    """A thread with its open file and its last reading."""

    def __init__(self, pid: int, tid: int) -> None:
        """Raises OSError when the thread has ended, or the kernel does not count."""
        self._ids = (pid, tid)
        self._file = os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY)
        self._text = b""
        self._read_ns = 0
        self._written = True
        self._unchanged = 0

    @property
    def quiet(self) -> bool:
        return self._unchanged >= QUIET_READINGS

    def due(self, slot: int, quiet_every: int) -> bool:
        """Whether it is to be read in this slot, if quiet threads are read in every n-th."""
        return not self.quiet or (slot + self._ids[1]) % quiet_every == 0

    def read(self, now_ns: int, output: BinaryIO) -> None:
        """Read the counters; write what changed. Raises OSError when the thread has ended."""
        text = os.pread(self._file, 64, 0)
        if not text:
            raise ProcessLookupError
        if text != self._text:
            self.write_last(output)
            self._text, self._read_ns = text, now_ns
            self._written = False
            self.write_last(output)
            self._unchanged = 0
        else:
            self._read_ns = now_ns
            self._written = False
            self._unchanged += 1

    def write_last(self, output: BinaryIO) -> None:
        """Write the last reading, unless it is written already."""
        if not self._written:
            on_cpu, runnable = self._text.split()[:2]
            output.write(RECORD.pack(self._read_ns, *self._ids, int(on_cpu), int(runnable)))
            self._written = True

    def close(self, output: BinaryIO) -> None:
        self.write_last(output)
        os.close(self._file)


def run(output: BinaryIO, step_s: float, pids: Iterable[int]) -> None:
    """Read until the standard input is closed."""
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    pids = tuple(pids)
    tasks: dict[tuple[int, int], Task] = {}
    look_s, quiet_every, started = 0.0, 1, False
    for slot in itertools.count():
        now_s = time.time()
        if now_s >= look_s:
            look_s = now_s + LOOK_S
            _look(pids, tasks)
            quiet_every = 1 + sum(task.quiet for task in tasks.values()) // QUIET_PER_SLOT
        now_ns = time.time_ns()
        for ids, task in list(tasks.items()):
            if task.due(slot, quiet_every):
                try:
                    task.read(now_ns, output)
                except OSError:
                    tasks.pop(ids).close(output)
        if not started:
            print("reading", flush=True)
            started = True
        left_s = (now_s // step_s + 1) * step_s - time.time()
        if select.select([sys.stdin], [], [], max(left_s, 0.0))[0]:
            break
    for task in tasks.values():
        task.close(output)


def _look(pids: Iterable[int], tasks: dict[tuple[int, int], Task]) -> None:
    for pid in pids:
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (pathlib takes longer)
                ids = (pid, int(name))
                if ids not in tasks:
                    with suppress(OSError):
                        tasks[ids] = Task(*ids)


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:  # noqa: PTH123 (pathlib takes longer to import than all the rest)
        run(file, float(sys.argv[2]), map(int, sys.argv[3:]))
