"""Faults of a process: signals, pauses, and limits of memory and open files."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import psutil

from tests.faults.kind import CODES, PROCESSES, Kind, process_of
from tests.faults.place import Place

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT)
PAUSE_S = 3.0  # a stopped runner is continued after this: nobody watches it
SUSPENDED_S = 8.0
DIES_S = 15.0  # after its memory is limited
PROPER_NAMES = ("papermill", "py-spy")
# A process of the server lives for 15 s on a machine that does nothing else; py-spy runs for one block.
LATEST_S = {"py-spy": 0.8, "reader of counters": 0.8} | dict.fromkeys(
    ("launcher", "HTTP process", "scheduler", "detokenizer"), 14.0
)
CGROUP = Path("/sys/fs/cgroup/memory")


def _send(name: str, signum: signal.Signals, place: Place, undo: ExitStack) -> bool:
    process = process_of(place, name)
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signum)
        if name == "runner" and signum == signal.SIGSTOP:
            time.sleep(PAUSE_S)
            process.send_signal(signal.SIGCONT)
        return True
    return False


def signals() -> Iterator[Kind]:
    for name in ("runner", *PROCESSES):
        for signum in SIGNALS:
            codes = (-signal.SIGKILL,) if (name, signum) == ("runner", signal.SIGKILL) else CODES
            yield Kind(
                f"{signum.name} to {name if name in PROPER_NAMES else f'the {name}'}",
                "signals",
                partial(_send, name, signum),
                after=name,
                latest_s=LATEST_S.get(name, 25.0),
                codes=codes,
            )
    yield Kind("SIGHUP to the runner", "signals", partial(_send, "runner", signal.SIGHUP), latest_s=25.0)


def _pause(name: str | None, seconds: float, place: Place, undo: ExitStack) -> bool:
    """One process, or all of the run (None), as when a virtual machine is suspended."""
    one = process_of(place, name) if name is not None else place.runner
    if one is None:
        return False
    paused = [one] if name is not None else [one, *place.descendants()]
    for process in paused:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(seconds)
    for process in paused:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return True


def pauses() -> Iterator[Kind]:
    paused = partial(Kind, group="pauses", latest_s=25.0)
    yield paused(f"all processes paused for {SUSPENDED_S:.0f} s", strike=partial(_pause, None, SUSPENDED_S))
    for name in ("scheduler", "py-spy"):
        yield paused(
            f"{name if name in PROPER_NAMES else f'the {name}'} paused for {PAUSE_S:.0f} s",
            strike=partial(_pause, name, PAUSE_S),
            after=name,
            latest_s=LATEST_S[name],
        )


def _out_of_memory_in_cgroup(place: Place, undo: ExitStack) -> bool:
    """The kernel's OOM killer: the scheduler may have hardly any page more."""
    process = process_of(place, "scheduler")
    if process is None:
        return False
    group = CGROUP / f"scoreprof-{os.getpid()}-{threading.get_ident()}"
    group.mkdir()
    undo.callback(_remove_group, group)
    (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    (group / "cgroup.procs").write_text(str(process.pid))
    return _ends(process)


def _remove_group(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (CGROUP / "cgroup.procs").write_text(pid)
    group.rmdir()


def _limit_memory(place: Place, name: str) -> psutil.Process | None:
    """Have the allocations of a process fail (RLIMIT_AS); None if there is no such process."""
    process = process_of(place, name)
    if process is None:
        return None
    with suppress(psutil.NoSuchProcess):
        limit = process.memory_info().vms
        process.rlimit(psutil.RLIMIT_AS, (limit, limit))
        return process
    return None


def _scheduler_without_memory(place: Place, undo: ExitStack) -> bool:
    process = _limit_memory(place, "scheduler")
    return process is not None and _ends(process)


def _kernel_without_memory(place: Place, undo: ExitStack) -> bool:
    return _limit_memory(place, "kernel") is not None


def _no_descriptors(place: Place, undo: ExitStack) -> bool:
    """The kernel can open no more files."""
    process = process_of(place, "kernel")
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        limit = process.num_fds()
        process.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
        return True
    return False


def _ends(process: psutil.Process) -> bool:
    with suppress(psutil.TimeoutExpired):
        process.wait(DIES_S)
        return True
    return False


def _may_limit_memory() -> bool:
    return os.access(CGROUP / "memory.limit_in_bytes", os.W_OK)


def limits() -> Iterator[Kind]:
    limited = partial(Kind, group="memory", after="scheduler", latest_s=LATEST_S["scheduler"])
    yield limited("OOM kill of the scheduler", strike=_out_of_memory_in_cgroup, may=_may_limit_memory)
    yield limited("no more memory for the scheduler", strike=_scheduler_without_memory)
    for_kernel = partial(Kind, group="memory", after="kernel", latest_s=25.0)
    yield for_kernel("no more memory for the kernel", strike=_kernel_without_memory)
    yield for_kernel("no more open files for the kernel", strike=_no_descriptors)
