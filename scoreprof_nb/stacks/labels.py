"""The frames that py-spy puts before the Python frames: processes, root first, then the thread.

``process PID:"COMMAND LINE"`` (with ``--subprocesses``) and ``thread (TID): NAME`` (with
``--threads``). Neither the command line nor the name is escaped: they may hold anything.
"""

import re
from dataclasses import dataclass

PROCESS = re.compile(r'process (\d{1,10}):"(.*)"', re.DOTALL)
THREAD = re.compile(r"thread \((\d{1,20})\): ?(.*)", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """The thread a sample is of. ``process``: its command line; ``parents``: its ancestors', root first."""

    pid: int = 0
    tid: int = 0
    process: str = ""
    thread: str = ""
    parents: tuple[str, ...] = ()


def split_place(names: list[str]) -> tuple[Place | None, int]:
    """The place that the outermost frames name, and how many frames it took; None for none."""
    commands: list[str] = []
    pid = 0
    taken = 0
    for name in names:
        match = PROCESS.fullmatch(name)
        if match is None:
            break
        pid = int(match[1])
        commands.append(match[2])
        taken += 1
    thread = THREAD.fullmatch(names[taken]) if taken < len(names) else None
    if thread is None and not commands:
        return None, 0
    place = Place(
        pid=pid,
        tid=int(thread[1]) if thread else 0,
        process=commands[-1] if commands else "",
        thread=thread[2] if thread else "",
        parents=tuple(commands[:-1]),
    )
    return place, taken + bool(thread)


def process_frame(pid: int, command: str) -> str:
    """The frame's name, as py-spy writes it."""
    return f'process {pid}:"{command}"'


def thread_frame(tid: int, name: str) -> str:
    """The frame's name, as py-spy writes it."""
    return f"thread ({tid}): {name}"
