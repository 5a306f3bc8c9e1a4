"""py-spy's raw format: ``frame;frame;... COUNT`` per line, aggregated, without times.

Command lines and thread names are not escaped. A ``;`` in them is told from a separator by what
follows: the rest of the record must be frames. A newline in a command line spreads a record over
lines: lines are joined until they make a record.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scoreprof_nb.stacks.labels import Place
from scoreprof_nb.stacks.table import (
    Frame,
    ImportFailed,
    Skipped,
    StackTable,
    StackTableBuilder,
    ThreadSamples,
)

MOST_SAMPLES = 10**8
MOST_LINES = 200  # of one record
SHOWN = 200
_COUNT = re.compile(r"(.*) (\d{1,18})", re.DOTALL)
_PROCESS_START = re.compile(r'process (\d{1,10}):"')
_THREAD_START = re.compile(r"thread \((\d{1,20})\): ?")
_FRAME = re.compile(r"(.+?) \((.*?)(?::(\d{1,9}))?\)", re.DOTALL)


def read_folded(path: Path) -> StackTable:
    """Read a file of py-spy's ``--format raw``. The result is not ordered; raises ImportFailed.

    What cannot be read is counted in ``skipped``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFailed(f"{path}: cannot be read: {error}") from error
    return parse_folded(text, str(path))


def parse_folded(text: str, where: str) -> StackTable:
    """Like read_folded, from the file's text; ``where`` is named in errors."""
    builder = StackTableBuilder()
    counts: dict[Place, dict[int, int]] = {}
    total = 0
    for first, last, record in _records(text):
        if record is None:
            lines = f"line {first}" if first == last else f"lines {first} to {last}"
            shown = "\n".join(text.split("\n")[first - 1 : last])[:SHOWN]
            builder.skipped.append(Skipped(lines, "not frames and a count", shown))
            continue
        place, frames, count = record
        total += count
        if total > MOST_SAMPLES:
            raise ImportFailed(f"{where}: line {first}: more than {MOST_SAMPLES} samples")
        stack_id = builder.stack_id([builder.frame_id(frame) for frame in frames])
        of_place = counts.setdefault(place, {})
        of_place[stack_id] = of_place.get(stack_id, 0) + count
    if not counts:
        raise ImportFailed(f"{where}: holds no stack of py-spy's raw format")
    for place, stacks in counts.items():
        ids = np.repeat(np.array(list(stacks), dtype=np.int32), list(stacks.values()))
        builder.add_thread(
            ThreadSamples(place.pid, place.tid, place.process, place.thread, ids, place.parents)
        )
    return builder.build(ordered=False)


_Record = tuple[Place, list[Frame], int]


def _records(text: str) -> Iterator[tuple[int, int, _Record | None]]:
    """First and last line of each record (from 1), and the record, None for what is none."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        for end in range(at + 1, min(len(lines), at + MOST_LINES) + 1):
            record = _record("\n".join(lines[at:end]))
            if record is not None or (end < len(lines) and not _may_go_on(lines[at])):
                break
        else:
            record = None
        if record is None:
            yield at + 1, at + 1, None
            at += 1
        else:
            yield at + 1, end, record
            at = end


def _may_go_on(first_line: str) -> bool:
    """Only command lines and thread names can hold a newline."""
    return _PROCESS_START.match(first_line) is not None or _THREAD_START.match(first_line) is not None


def _record(text: str) -> _Record | None:
    match = _COUNT.fullmatch(text.rstrip("\r"))
    if match is None:
        return None
    parsed = _stack(match[1])
    return None if parsed is None else (*parsed, int(match[2]))


def _stack(text: str) -> tuple[Place, list[Frame]] | None:
    """Processes, then the thread, then frames."""
    commands: list[str] = []
    pid = 0
    while (start := _PROCESS_START.match(text)) is not None:
        for end in _ends_of_command(text, start.end()):
            command, rest = text[start.end() : end], text[end + 2 :]
            if (
                not rest
                or _PROCESS_START.match(rest)
                or _THREAD_START.match(rest)
                or _frames(rest) is not None
            ):
                break
        else:
            return None
        pid = int(start[1])
        commands.append(command)
        text = rest
    process = commands[-1] if commands else ""
    parents = tuple(commands[:-1])
    thread = _THREAD_START.match(text)
    if thread is None:
        frames = _frames(text) if text else []
        return None if frames is None else (Place(pid, 0, process, "", parents), frames)
    parts = text[thread.end() :].split(";")
    for taken in range(1, len(parts) + 1):
        frames = _frames(";".join(parts[taken:])) if taken < len(parts) else []
        if frames is not None:
            return Place(pid, int(thread[1]), process, ";".join(parts[:taken]), parents), frames
    return None


def _ends_of_command(text: str, start: int) -> Iterator[int]:
    """Where a quote may end the command line: before a separator, or at the end."""
    at = text.find('"', start)
    while at >= 0:
        if at + 1 == len(text) or text[at + 1] == ";":
            yield at
        at = text.find('"', at + 1)


def _frames(text: str) -> list[Frame] | None:
    """All of the text as frames, None when a part of it is none."""
    frames = []
    for part in text.split(";"):
        match = _FRAME.fullmatch(part)
        if match is None:
            return None
        frames.append(Frame(match[1], match[2], int(match[3]) if match[3] else None))
    return frames
