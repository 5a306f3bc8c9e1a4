"""Reads the kernel's scheduling counters of every thread of some processes, in step with the clock.

    <python> schedstat_reader.py OUTPUT STEP_S EPOCH_NS PID[:TID,TID,...] [PID ...]

``/proc/PID/task/TID/schedstat`` counts nanoseconds on a CPU and nanoseconds waiting for one. Each file is
opened once and read again in place, which costs a microsecond. The named threads of a process, those that run
Python, are read once per slot of STEP_S; its other threads, which are the most, in turns, each in every
OTHERS_EVERY-th slot. Of a process without named threads, all are read in every slot.

OUTPUT gets a record per thread and reading, in the format ``RECORD``, but only where a counter changed:
before and after the change, and the first and the last reading. Between two records of a thread the counters
are straight lines. Times are those of CLOCK_MONOTONIC plus EPOCH_NS.

It prints a line when it has read every thread once, and runs until its standard input is closed, which also
happens when its parent dies. It is a process of its own, so that it takes no time from the server or from the
load generator. It uses the standard library only.
"""

import gc
import itertools
import os
import resource
import select
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO

# Epoch nanoseconds, pid, tid, nanoseconds on a CPU, nanoseconds waiting for a CPU.
RECORD = struct.Struct("<qiiqq")
LOOK_S = 0.25  # between looks for new threads
OTHERS_EVERY = 5  # slots: 20 ms
BYTES = 64  # of a schedstat file, at most


class Group:
    """Threads that are read together, each by its open file."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._ids: list[tuple[int, int]] = []
        self._files: list[int] = []
        self._texts: list[bytes] = []
        self._written_ns: list[int] = []  # when the last record was read
        self._read_ns = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, pid: int, tid: int, now_ns: int) -> None:
        """Read a thread for the first time. Raises OSError when it has ended, or is not counted."""
        file = os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY)
        self._ids.append((pid, tid))
        self._files.append(file)
        self._texts.append(os.pread(file, BYTES, 0))
        self._written_ns.append(now_ns)
        self._write(-1, now_ns, self._texts[-1])

    def read(self, now_ns: int) -> list[tuple[int, int]]:
        """Read all threads and write what changed; returns the threads that have ended."""
        ended: list[tuple[int, int]] = []
        try:
            texts = [os.pread(file, BYTES, 0) for file in self._files]
            whole = all(texts)
        except OSError:
            whole = False
        if not whole:
            texts, ended = self._without_ended()
        if texts != self._texts:
            for place, text in enumerate(texts):
                if text != self._texts[place]:
                    self._write_last(place)
                    self._write(place, now_ns, text)
            self._texts = texts
        self._read_ns = now_ns
        return ended

    def close(self) -> None:
        for place in range(len(self)):
            self._close(place)

    def _without_ended(self) -> tuple[list[bytes], list[tuple[int, int]]]:
        texts: list[bytes] = []
        ended = []
        while len(texts) < len(self):
            place, text = len(texts), b""
            with suppress(OSError):
                text = os.pread(self._files[place], BYTES, 0)
            if text:
                texts.append(text)
            else:
                self._close(place)
                ended.append(self._ids[place])
                for column in (self._ids, self._files, self._texts, self._written_ns):
                    del column[place]
        return texts, ended

    def _close(self, place: int) -> None:
        self._write_last(place)
        os.close(self._files[place])

    def _write_last(self, place: int) -> None:
        """Write the last reading, unless it is written already."""
        if self._written_ns[place] < self._read_ns:
            self._write(place, self._read_ns, self._texts[place])

    def _write(self, place: int, now_ns: int, text: bytes) -> None:
        on_cpu, runnable = text.split()[:2]
        self._output.write(RECORD.pack(now_ns, *self._ids[place], int(on_cpu), int(runnable)))
        self._written_ns[place] = now_ns


class Threads:
    """All threads of the processes, in groups: one for every slot, and those that take turns."""

    def __init__(self, output: BinaryIO, named: Mapping[int, frozenset[int]]) -> None:
        """``named``: by pid, the threads to read in every slot; empty: all."""
        self._named = named
        self._often = Group(output)
        self._turns = [Group(output) for _ in range(OTHERS_EVERY)]
        self._known: set[tuple[int, int]] = set()

    def look(self, now_ns: int) -> None:
        """Look for new threads."""
        for pid, named in self._named.items():
            for tid in _tids(pid):
                if (pid, tid) not in self._known:
                    often = not named or tid in named
                    with suppress(OSError):
                        (self._often if often else min(self._turns, key=len)).add(pid, tid, now_ns)
                        self._known.add((pid, tid))

    def read(self, slot: int, now_ns: int) -> None:
        for group in (self._often, self._turns[slot % OTHERS_EVERY]):
            self._known.difference_update(group.read(now_ns))

    def close(self, now_ns: int) -> None:
        """Read all once more, and write what is not written."""
        for group in (self._often, *self._turns):
            group.read(now_ns)
            group.close()


def _tids(pid: int) -> Iterator[int]:
    with suppress(OSError):
        yield from map(int, os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 (pathlib takes longer)


def run(output: BinaryIO, step_s: float, epoch_ns: int, named: Mapping[int, frozenset[int]]) -> None:
    """Read until the standard input is closed."""
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    gc.disable()  # nothing here refers to itself
    threads = Threads(output, named)
    step_ns, look_ns, started = round(step_s * 1e9), 0, False
    for slot in itertools.count():
        now_ns = epoch_ns + time.monotonic_ns()
        if now_ns >= look_ns:
            look_ns = now_ns + round(LOOK_S * 1e9)
            threads.look(now_ns)
        threads.read(slot, now_ns)
        if not started:
            print("reading", flush=True)
            started = True
        next_ns = (now_ns // step_ns + 1) * step_ns
        left_s = (next_ns - epoch_ns - time.monotonic_ns()) / 1e9
        if select.select([sys.stdin], [], [], max(left_s, 0.0))[0]:
            break
    threads.close(epoch_ns + time.monotonic_ns())


def named_threads(arguments: Iterable[str]) -> dict[int, frozenset[int]]:
    """PID or PID:TID,TID,... to thread ids by pid."""
    parts = (argument.partition(":") for argument in arguments)
    return {int(pid): frozenset(map(int, filter(None, tids.split(",")))) for pid, _, tids in parts}


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:  # noqa: PTH123 (pathlib takes longer to import than all the rest)
        run(file, float(sys.argv[2]), int(sys.argv[3]), named_threads(sys.argv[4:]))
