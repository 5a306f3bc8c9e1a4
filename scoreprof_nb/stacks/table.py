"""The stack table: what every importer builds and every analysis reads.

Frames and distinct stacks are stored once. A thread's samples are an int32 array of stack ids, one per
tick: an hour at 100 Hz takes 1.4 MB per thread, and work that is done per distinct stack (thousands)
need not be done per sample (millions).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class ImportFailed(ValueError):
    """A recording that cannot be read at all; the message says where and why."""


class NotOrdered(ValueError):
    """A table of counts was passed where ticks in the order of time are needed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One Python frame. ``name`` is qualified with py-spy >= 0.4.3 (``Scheduler.recv_requests``)."""

    name: str
    file: str
    line: int | None = None


@dataclass(frozen=True)
class ThreadSamples:
    """The samples of one thread.

    ``process`` is the command line py-spy read when it attached, ``thread`` the thread's name;
    ``parents`` are the command lines of the ancestors, root first. ``stack_ids``: int32, shape
    (ticks,), in time order when the table is ``ordered``.
    """

    pid: int
    tid: int
    process: str
    thread: str
    stack_ids: NDArray[np.int32]
    parents: tuple[str, ...] = ()

    @property
    def ticks(self) -> int:
        return len(self.stack_ids)


@dataclass(frozen=True)
class Skipped:
    """A part of a recording that could not be read: where it is, what is wrong with it, its text."""

    where: str
    why: str
    text: str


@dataclass(frozen=True)
class StackTable:
    """One recording.

    ``frame_ids[offsets[s]:offsets[s + 1]]`` are the frames of stack ``s``, root first, without
    py-spy's process and thread frames (those are in ``threads``). A stack may be empty.
    ``interval_s`` is the nominal time between ticks, None where the format does not state it.
    ``ordered`` is False where the format aggregates: then only the counts have a meaning, and
    ``require_order`` raises. ``skipped`` lists what could not be read; nothing is dropped silently.
    """

    frames: tuple[Frame, ...]
    offsets: NDArray[np.int64]
    frame_ids: NDArray[np.int32]
    threads: tuple[ThreadSamples, ...]
    ordered: bool
    interval_s: float | None = None
    skipped: tuple[Skipped, ...] = ()

    def require_order(self) -> None:
        """Raises NotOrdered unless each thread's stack ids are in the order of time."""
        if not self.ordered:
            raise NotOrdered(
                "the recording holds counts of stacks (py-spy's raw format), not ticks in the order of "
                "time; record with `--format speedscope`"
            )

    @property
    def n_stacks(self) -> int:
        return len(self.offsets) - 1

    def stack(self, stack_id: int) -> tuple[Frame, ...]:
        """The frames of one stack, root first."""
        first, last = self.offsets[stack_id], self.offsets[stack_id + 1]
        return tuple(self.frames[i] for i in self.frame_ids[first:last])


class StackTableBuilder:
    """Collects frames and stacks, each stored once, and builds the table."""

    def __init__(self) -> None:
        self._frames: dict[Frame, int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._threads: list[ThreadSamples] = []
        self.skipped: list[Skipped] = []

    def frame_id(self, frame: Frame) -> int:
        return self._frames.setdefault(frame, len(self._frames))

    def stack_id(self, frame_ids: Sequence[int]) -> int:
        return self._stacks.setdefault(tuple(frame_ids), len(self._stacks))

    def add_thread(self, samples: ThreadSamples) -> None:
        self._threads.append(samples)

    def build(self, *, ordered: bool, interval_s: float | None = None) -> StackTable:
        lengths = [len(stack) for stack in self._stacks]
        return StackTable(
            frames=tuple(self._frames),
            offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            frame_ids=np.array([i for stack in self._stacks for i in stack], dtype=np.int32),
            threads=tuple(self._threads),
            ordered=ordered,
            interval_s=interval_s,
            skipped=tuple(self.skipped),
        )


def short_path(file: str) -> str:
    """The file's path from its package on: what follows site-packages or lib/python3.x."""
    for marker in ("/site-packages/", "/lib/python3."):
        _, separator, after = file.rpartition(marker)
        if separator:
            return after if marker == "/site-packages/" else after.partition("/")[2]
    return file.rpartition("/")[2]
