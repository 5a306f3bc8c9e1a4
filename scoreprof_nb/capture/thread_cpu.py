"""CPU time of every thread, as the kernel charged it.

``/proc/PID/task/TID/schedstat`` counts nanoseconds on a CPU and nanoseconds waiting for one; where
it is missing (CONFIG_SCHED_INFO off, some sandboxes) ``stat`` counts in clock ticks of 10 ms.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ThreadTime:
    """Seconds since the thread began; ``runnable_s`` is the time it waited for a CPU, if known."""

    name: str
    cpu_s: float
    runnable_s: float | None


Snapshot = dict[tuple[int, int], ThreadTime]


def snapshot(pids: Iterable[int]) -> Snapshot:
    """The CPU time of every thread of the processes, by (pid, tid), without those that have ended."""
    times: Snapshot = {}
    for pid in pids:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                times[pid, int(task.name)] = _thread_time(task)
            except (OSError, ValueError, IndexError):
                continue
    return times


def rows(block: int, before: Snapshot, after: Snapshot) -> list[dict[str, Any]]:
    """Rows of threads.parquet for one block, including threads that began or ended within it."""
    result = []
    for pid, tid in sorted(before.keys() | after.keys()):
        first, last = before.get((pid, tid)), after.get((pid, tid))
        known = last or first
        assert known is not None
        result.append(
            {
                "block": block,
                "pid": pid,
                "tid": tid,
                "name": known.name,
                "cpu_before_s": first.cpu_s if first else None,
                "cpu_after_s": last.cpu_s if last else None,
                "runnable_before_s": first.runnable_s if first else None,
                "runnable_after_s": last.runnable_s if last else None,
            }
        )
    return result


def _thread_time(task: Path) -> ThreadTime:
    name = (task / "comm").read_text(errors="replace").strip()
    try:
        on_cpu, runnable, _ = (task / "schedstat").read_text().split()
        if int(on_cpu):
            return ThreadTime(name, int(on_cpu) / 1e9, int(runnable) / 1e9)
    except (OSError, ValueError):
        pass
    # The name in brackets may contain spaces and brackets; the fields follow the last bracket.
    fields = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return ThreadTime(name, (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, None)
