"""Reads the kernel's scheduling counters of every thread of some processes, in step with the clock.

    <python> schedstat_reader.py OUTPUT STEP_S EPOCH_NS PID[:TID,TID,...] [PID ...]

``/proc/PID/task/TID/schedstat`` counts nanoseconds on a CPU and nanoseconds waiting for one. Each file is
opened once and read again in place, which costs a microsecond. The named threads of a process, those that run
Python, are read once per slot of STEP_S; its other threads, which are the most, in turns, each in every
OTHERS_EVERY-th slot. Of a process without named threads, all are read in every slot.

OUTPUT gets a record per thread and reading, in the format ``RECORD``, but only where a counter changed:
before and after the change, and the first and the last reading. Between two records of a thread the counters
are straight lines. Times are those of CLOCK_MONOTONIC plus EPOCH_NS.

What takes time waits until the readings are over: they are kept as they were read, and parsed at the end, or
when there are MOST_KEPT. A slot costs about 40 microseconds, half of them the kernel's for waking up.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

# Epoch nanoseconds, pid, tid, nanoseconds on a CPU, nanoseconds waiting for a CPU.
RECORD = struct.Struct("<qiiqq")
LOOK_S = 0.25  # between looks for new threads
OTHERS_EVERY = 5  # slots: 20 ms
BYTES = 64  # of a schedstat file, at most
MOST_KEPT = 500_000  # readings in memory, 100 MB

_Ids = tuple[int, int]  # pid, tid


class Readings:
    """Readings that are still to be written."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._kept: list[tuple[int, _Ids, bytes]] = []
        self.add = self._kept.append  # of (epoch ns, ids, text)

    def write_if_many(self) -> None:
        if len(self._kept) >= MOST_KEPT:
            self.write()

    def write(self) -> None:
        """Parse and write what is kept."""
        for now_ns, ids, text in self._kept:
            on_cpu, runnable = text.split()[:2]
            self._output.write(RECORD.pack(now_ns, *ids, int(on_cpu), int(runnable)))
        self._kept.clear()


class Group:
    """Threads that are read together, each by its open file."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._ids: list[_Ids] = []
        self._files: list[int] = []
        self._texts: list[bytes] = []
        self._kept_ns: list[int] = []  # when the last reading was that is kept
        self._read_ns = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: _Ids, now_ns: int) -> None:
        """Read a thread for the first time. Raises OSError when it has ended, or is not counted."""
        pid, tid = ids
        file = os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY)
        text = os.pread(file, BYTES, 0)
        self._ids.append(ids)
        self._files.append(file)
        self._texts.append(text)
        self._kept_ns.append(now_ns)
        self._readings.add((now_ns, ids, text))

    def read(self, now_ns: int) -> Sequence[_Ids]:
        """Read all threads and keep what changed; returns the threads that have ended."""
        ended: Sequence[_Ids] = ()
        pread = os.pread
        try:
            texts = [pread(file, BYTES, 0) for file in self._files]
            whole = all(texts)
        except OSError:
            whole = False
        if not whole:
            texts, ended = self._without_ended()
        if texts != self._texts:
            for place, (text, before) in enumerate(zip(texts, self._texts, strict=True)):
                if text != before:
                    self._keep_last(place)
                    self._kept_ns[place] = now_ns
                    self._readings.add((now_ns, self._ids[place], text))
            self._texts = texts
        self._read_ns = now_ns
        return ended

    def close(self) -> None:
        for place in range(len(self)):
            self._close(place)

    def _without_ended(self) -> tuple[list[bytes], list[_Ids]]:
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
                for column in (self._ids, self._files, self._texts, self._kept_ns):
                    del column[place]
        return texts, ended

    def _close(self, place: int) -> None:
        self._keep_last(place)
        os.close(self._files[place])

    def _keep_last(self, place: int) -> None:
        """Keep the last reading, unless it is kept already."""
        if self._kept_ns[place] < self._read_ns:
            self._readings.add((self._read_ns, self._ids[place], self._texts[place]))


class Threads:
    """All threads of the processes, in groups: one for every slot, and those that take turns."""

    def __init__(self, readings: Readings, named: Mapping[int, frozenset[int]]) -> None:
        """``named``: by pid, the threads to read in every slot; empty: all."""
        self._named = named
        self._often = Group(readings)
        self._turns = [Group(readings) for _ in range(OTHERS_EVERY)]
        self._known: set[_Ids] = set()

    def look(self, now_ns: int) -> None:
        """Look for new threads."""
        for pid, named in self._named.items():
            for tid in _tids(pid):
                ids = pid, tid
                if ids not in self._known:
                    often = not named or tid in named
                    with suppress(OSError):
                        (self._often if often else min(self._turns, key=len)).add(ids, now_ns)
                        self._known.add(ids)

    def read(self, slot: int, now_ns: int) -> None:
        for group in (self._often, self._turns[slot % OTHERS_EVERY]):
            if ended := group.read(now_ns):
                self._known.difference_update(ended)

    def close(self, now_ns: int) -> None:
        """Read all once more, and keep the last readings."""
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
    readings = Readings(output)
    threads = Threads(readings, named)
    step_ns, look_ns, started = round(step_s * 1e9), 0, False
    for slot in itertools.count():
        now_ns = epoch_ns + time.monotonic_ns()
        if now_ns >= look_ns:
            look_ns = now_ns + round(LOOK_S * 1e9)
            threads.look(now_ns)
            readings.write_if_many()
        threads.read(slot, now_ns)
        if not started:
            print("reading", flush=True)
            started = True
        next_ns = (now_ns // step_ns + 1) * step_ns
        left_ns = next_ns - epoch_ns - time.monotonic_ns()
        if select.select([sys.stdin], [], [], max(left_ns, 0) / 1e9)[0]:
            break
    threads.close(epoch_ns + time.monotonic_ns())
    readings.write()


def named_threads(arguments: Iterable[str]) -> dict[int, frozenset[int]]:
    """PID or PID:TID,TID,... to thread ids by pid."""
    parts = (argument.partition(":") for argument in arguments)
    return {int(pid): frozenset(map(int, filter(None, tids.split(",")))) for pid, _, tids in parts}


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:  # noqa: PTH123 (pathlib takes longer to import than all the rest)
        run(file, float(sys.argv[2]), int(sys.argv[3]), named_threads(sys.argv[4:]))
