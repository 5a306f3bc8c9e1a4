"""What the importers share: py-spy's own frames, which name a stack's process and thread, and helpers.

With ``--subprocesses`` and ``--threads`` a stack begins, root first, with ``process PID:"COMMAND"`` for
every ancestor and then for the process itself, followed by ``thread (TID): NAME``. Neither text is
escaped: both may contain quotes, ``;`` and newlines.
"""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.stacks.table import Frame, ImportFailed

NUMBER = r"[0-9]{1,18}"
THREAD_ID = rf"(?:0x[0-9A-Fa-f]{{1,15}}|{NUMBER})"  # hexadecimal if py-spy does not know the OS's id

_PROCESS = re.compile(rf'process ({NUMBER}):"(.*)"', re.DOTALL)
_THREAD = re.compile(rf"thread \(({THREAD_ID})\)(?:: (.*))?", re.DOTALL)
_PROFILE = re.compile(rf'(?:Process ({NUMBER}) )?Thread ({THREAD_ID}) "(.*)"', re.DOTALL)

_TEXT_CHARS = 200
_SHORT = reprlib.Repr(maxlevel=3, maxlist=16, maxdict=8, maxstring=_TEXT_CHARS, maxother=_TEXT_CHARS)


@dataclass(frozen=True, slots=True)
class Labels:
    """The process and the thread of a stack. 0 and empty strings stand for what is not known."""

    pid: int = 0
    tid: int = 0
    process: str = ""
    thread: str = ""
    parents: tuple[str, ...] = ()


def process_frame(pid: int, command: str) -> str:
    return f'process {pid}:"{command}"'


def thread_frame(tid: int, name: str) -> str:
    return f"thread ({tid}): {name}"


def profile_name(pid: int, tid: int, thread: str) -> str:
    return f'Process {pid} Thread {tid} "{thread}"'


def parse_thread(text: str) -> tuple[int, str] | None:
    """Id and name from a thread frame; None for any other text."""
    match = _THREAD.fullmatch(text)
    return (_thread_id(match[1]), match[2] or "") if match else None


def parse_profile_name(text: str) -> Labels:
    """The labels in a speedscope profile's name; a name in another form than py-spy's is the thread's."""
    match = _PROFILE.fullmatch(text)
    if not match:
        return Labels(thread=text)
    return Labels(pid=int(match[1] or 0), tid=_thread_id(match[2]), thread=match[3])


def split_labels(stack: Sequence[Frame], fallback: Labels) -> tuple[Labels, int]:
    """The labels of a stack, and how many of its first frames are labels.

    What no frame states is taken from ``fallback``. Only frames without a file can be py-spy's own.
    """
    pid, commands, used = fallback.pid, list[str](), 0
    for frame in stack:
        match = None if frame.file else _PROCESS.fullmatch(frame.name)
        if not match:
            break
        pid, used = int(match[1]), used + 1
        commands.append(match[2])
    tid, thread = fallback.tid, fallback.thread
    if used < len(stack) and not stack[used].file and (labelled := parse_thread(stack[used].name)):
        tid, thread = labelled
        used += 1
    process = commands.pop() if commands else fallback.process
    return Labels(pid, tid, process, thread, tuple(commands)), used


def read_bytes(path: Path) -> bytes:
    """The file's content. Raises ImportFailed if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImportFailed(f"{path}: cannot be read: {error.strerror or error}") from error


def bounded(value: object) -> str:
    """A string, or the repr of anything else, cut to a length that can be shown."""
    text = value if isinstance(value, str) else _SHORT.repr(value)
    return text if len(text) <= _TEXT_CHARS else text[:_TEXT_CHARS] + "…"


def _thread_id(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else int(text)
