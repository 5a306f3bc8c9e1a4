"""Ends everything that papermill started, even when the runner is killed.

    <python> -I -S guard.py LIFELINE PROGRAM [ARGUMENT ...]

The guard stands between the runner and papermill. LIFELINE is the file descriptor of a pipe's read
end; only the runner holds the write end, and it never writes. When the runner ends, even by SIGKILL, the
kernel closes the pipe; the guard notices, kills its descendants, and exits. A process does not escape by
starting a new session or by losing its parent: the guard is a child subreaper, so it inherits orphans.
The runner also closes the pipe itself when everything has to be killed at once.

When the program (papermill) ends, the guard kills what is left of its descendants and exits with its
exit code (128 + the signal's number if a signal ended it). It ignores SIGTERM and SIGINT: stopping in an
orderly way is the runner's task. If the guard itself is killed, the runner, a subreaper too, inherits its
descendants and kills them.

$SCOREPROF_SCRATCH, if set, names the folder with the temporary files of all these processes. The guard
removes it last.

Standard library only, and no import of the kit: it starts within a few hundredths of a second.
"""

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

POLL_S = 0.05
END_S = 3.0  # at most, for killed processes to be gone
_PR_SET_CHILD_SUBREAPER = 36


def run(lifeline: int, command: list[str]) -> int:
    """Run the command until it ends or the lifeline does; returns the exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    scratch = os.environ.pop("SCOREPROF_SCRATCH", None)
    os.set_inheritable(lifeline, False)
    ignored = (signal.SIGTERM, signal.SIGINT)
    for signum in ignored:
        signal.signal(signum, signal.SIG_IGN)
    program = os.posix_spawn(command[0], command, os.environ, setsigdef=ignored)
    status = None
    while status is None and not select.select([lifeline], [], [], POLL_S)[0]:
        status = reap().get(program)
    end_descendants()
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status) if status is not None else -signal.SIGKILL
    return code if code >= 0 else 128 - code


def reap() -> dict[int, int]:
    """Reap exited children, including orphans: exit statuses by process id."""
    statuses = {}
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            statuses[ended[0]] = ended[1]
    return statuses


def end_descendants() -> None:
    """Kill all descendants until none is left: one may start another just before it exits."""
    deadline = time.monotonic() + END_S
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S / 5)
        reap()


def descendants(ancestor: int) -> set[int]:
    """The process ids of all descendants, zombies included."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # "pid (name) state parent ...": a name may hold spaces and parentheses.
            parents[int(path.parent.name)] = int(path.read_bytes().rpartition(b")")[2].split()[1])
    known: set[int] = set()
    generation = {ancestor}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation} - known
        known |= generation
    return known


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
