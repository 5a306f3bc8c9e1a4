"""py-spy's ``raw`` format: ``frame;frame;... COUNT`` per distinct stack, without order or times.

Nothing in it is escaped, and command lines may contain ``;``, quotes and newlines, so a record may span
several lines. Records are parsed from the outside in:

1. If any line begins with a process frame, a record extends from one such line to the next; otherwise
   from one line with a thread frame to the next; otherwise it is one line.
2. A record ends with its count.
3. A command line ends at ``";process N:"`` or ``";thread (N)``; in a record without a thread frame at
   the last quote, as Python frames contain none.
4. A thread's name ends at the first frame, ``name (FILE:LINE)`` or ``name (FILE)``. A ``;`` inside a file
   name differs from the end of a frame by the bracket that is still open.

A record that does not fit is skipped as a whole, with its count, and never guessed.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from scoreprof_nb.stacks.labels import NUMBER, THREAD_ID, Labels, bounded, parse_thread, read_bytes
from scoreprof_nb.stacks.table import (
    Frame,
    ImportFailed,
    Skipped,
    StackTable,
    StackTableBuilder,
    ThreadSamples,
)

MAX_SAMPLES = 10**8  # 11 days of one thread at 100 Hz

_STARTS = (
    re.compile(rf'^process {NUMBER}:"', re.MULTILINE),
    re.compile(rf"^thread \({THREAD_ID}\)", re.MULTILINE),
    re.compile(r"^", re.MULTILINE),
)
_COUNT = re.compile(r" ([0-9]+)\r?\n?\Z")
_LINE_COUNT = re.compile(r" ([0-9]{1,9})\r?$", re.MULTILINE)
_INNER_END = re.compile(r"\) [0-9]+\r?\n")  # inside a record: a second one follows
_INNER_PLACE_END = re.compile(r":[0-9]+\) [0-9]+\r?\n")  # the same inside a command line, which may continue
_PROCESS = re.compile(rf'process ({NUMBER}):"')
_NEXT_PROCESS = re.compile(rf'";process ({NUMBER}):"')
_NEXT_THREAD = re.compile(rf'";(?=thread \({THREAD_ID}\)(?:[:;]|\Z))')


class _Unreadable(ValueError):
    """Why a record cannot be read."""


def read_folded(path: Path) -> StackTable:
    """Read a ``raw`` file of py-spy.

    The table is not ordered and has no ``interval_s``. It has one ``ThreadSamples`` per process and thread
    id, in which each stack id is repeated by its count. A record that cannot be read is in ``skipped``,
    with the number of its samples in ``why``. Raises ImportFailed if the file cannot be read at all, has
    no usable record, or has more than ``MAX_SAMPLES`` samples.
    """
    return parse_folded(read_bytes(path), str(path))


def parse_folded(data: bytes, where: str) -> StackTable:
    """``read_folded`` from the content of a file. ``where``: the file's name in messages."""
    text = data.decode("utf-8-sig", errors="backslashreplace")
    start = next(start for start in _STARTS if start.search(text))
    builder = StackTableBuilder()
    threads: dict[tuple[int, int], tuple[Labels, list[int], list[int]]] = {}  # with stack ids and counts
    total = 0
    for line, record in _records(text, start):
        ending = _COUNT.search(record)
        count = _count(ending[1], MAX_SAMPLES - total, f"{where}: line {line}") if ending else 0
        total += count
        try:
            if not ending:
                raise _Unreadable("no count at its end")
            if not start.match(record):
                raise _Unreadable("it does not begin like the other records")
            labels, frames = _parse(record[: ending.start()])
        except _Unreadable as error:
            lost = _samples_lost(record)
            why = f"{error} ({lost} samples)" if lost else str(error)
            builder.skipped.append(Skipped(f"line {line}", why, bounded(record)))
            continue
        _, stack_ids, counts = threads.setdefault((labels.pid, labels.tid), (labels, [], []))
        stack_ids.append(builder.stack_id([builder.frame_id(frame) for frame in frames]))
        counts.append(count)
    if not threads:
        reason = f"{builder.skipped[0].where}: {builder.skipped[0].why}" if builder.skipped else "it is empty"
        raise ImportFailed(f"{where}: no record of py-spy's raw format ({reason})")
    for labels, stack_ids, counts in threads.values():
        ids = np.repeat(np.array(stack_ids, dtype=np.int32), counts)
        builder.add_thread(
            ThreadSamples(labels.pid, labels.tid, labels.process, labels.thread, ids, labels.parents)
        )
    return builder.build(ordered=False)


def _count(digits: str, most: int, where: str) -> int:
    if len(digits) > len(str(MAX_SAMPLES)) or int(digits) > most:
        raise ImportFailed(f"{where}: more than {MAX_SAMPLES} samples in all")
    return int(digits)


def _samples_lost(record: str) -> int:
    """All counts in an unreadable record: the damage may have merged it with the next line."""
    counts = _LINE_COUNT.finditer(record, _command_lines_end(record))
    return sum(int(match[1]) for match in counts)


def _records(text: str, start: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Line number and text of each record, and of each piece of text that is not a record."""
    line = 1
    for first, last in pairwise(sorted({0, len(text), *(match.start() for match in start.finditer(text))})):
        chunk = text[first:last]
        ends = [match.end() for match in _INNER_END.finditer(chunk, _command_lines_end(chunk))]
        for begin, end in pairwise(sorted({0, len(chunk), *ends})):
            record = chunk[begin:end]
            if record.strip():
                yield line, record
            line += record.count("\n")


def _command_lines_end(record: str) -> int:
    """The place of the last command line's closing quote; 0 if the record has no process frame."""
    process = _PROCESS.match(record)
    if not process:
        return 0
    thread = _NEXT_THREAD.search(record, process.end())
    return max(process.end(), thread.start() if thread else record.rfind('"'))


def _parse(record: str) -> tuple[Labels, list[Frame]]:
    """The labels and the Python frames of a record, which comes without its count."""
    pid, commands, rest = 0, [""], record
    process = _PROCESS.match(record)
    if process:
        end = _command_lines_end(record)
        inside, rest = record[process.end() : end], record[end:]
        if not rest.startswith('"') or rest[1:2] not in ("", ";"):
            raise _Unreadable("its command line has no end")
        if _INNER_PLACE_END.search(inside):
            raise _Unreadable("another record ends inside its command line")
        rest = rest[2:]
        pids_and_commands = [process[1], *_NEXT_PROCESS.split(inside)]
        pid, commands = int(pids_and_commands[-2]), pids_and_commands[1::2]
    tokens = rest.split(";") if rest else []
    tid, thread = 0, ""
    if tokens and (labelled := parse_thread(tokens[0])):
        tid, thread = labelled
        more_name, frames = _name_and_frames(tokens[1:])
        thread = ";".join([thread, *more_name])
    else:
        more_name, frames = _name_and_frames(tokens)
        if more_name or not (process or frames):
            raise _Unreadable(f"not a frame: {bounded(rest)!r}")
    return Labels(pid, tid, commands[-1], thread, tuple(commands[:-1])), frames


def _name_and_frames(tokens: list[str]) -> tuple[list[str], list[Frame]]:
    """The rest of a thread's name, which may contain ``;``, and the frames after it."""
    name: list[str] = []
    frames: list[Frame] = []
    pieces: list[str] = []  # of a frame whose file name contains ;
    for token in tokens:
        if not pieces and not frames and " (" not in token:
            name.append(token)
            continue
        pieces.append(token)
        if token.endswith(")"):
            frames.append(_frame(";".join(pieces)))
            pieces = []
    if pieces:
        raise _Unreadable(f"not a frame: {bounded(';'.join(pieces))!r}")
    return name, frames


def _frame(text: str) -> Frame:
    name, _, place = text.removesuffix(")").partition(" (")
    file, _, line = place.rpartition(":")
    if not (file and line.isascii() and line.isdigit() and len(line) < 10):
        file, line = place, ""
    if not name or not file or "\n" in text:
        raise _Unreadable(f"not a frame: {bounded(text)!r}")
    return Frame(name, file, int(line) if line else None)
