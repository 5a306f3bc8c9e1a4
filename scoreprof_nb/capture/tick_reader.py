"""Reads how often py-spy has read, which shows when it samples.

    <python> tick_reader.py OUTPUT STEP_S EPOCH_NS

py-spy's recordings contain no times. At each tick py-spy has a thread per process of the server, which first
reads the state of each of that process's threads from ``/proc``, one read per thread. The kernel counts the
reads of each thread (``syscr`` in ``/proc/PID/task/TID/io``), so a step of the count is a tick.

The pid of py-spy, and a monotonic time before its start, are read from the standard input. Followed is the
first thread that py-spy starts, which samples the server's root process. OUTPUT gets a record in the format
``RECORD`` for each reading of a count that differs from the one before. Times are CLOCK_MONOTONIC plus
EPOCH_NS.

It prints a line when it is ready for the pid, and runs until py-spy ends or its standard input is closed,
which also happens when its parent dies. It is a process of its own, so that the load generator does not delay
it. It uses the standard library only.
"""

import os
import select
import struct
import sys
import time
from contextlib import suppress
from typing import BinaryIO

# Epoch nanoseconds right before the reading before (of the first: when the thread had not begun), and right
# after this one; the count.
RECORD = struct.Struct("<qqq")
_KEY = b"syscr: "


def follow(pid: int, before_ns: int, output: BinaryIO, step_s: float, epoch_ns: int) -> None:
    """Write the steps of the count. Raises OSError when py-spy has ended or the kernel does not count.

    ``before_ns``: a monotonic time at which py-spy had not begun.
    """
    tid = None
    while tid is None:
        look_ns = time.monotonic_ns()
        tids = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (pathlib takes longer); in the order of starting
        tid = next((other for other in tids if other != str(pid)), None)
        if tid is None:
            before_ns = look_ns
            if _closed(step_s):
                return
    file = os.open(f"/proc/{pid}/task/{tid}/io", os.O_RDONLY)
    reads = -1
    while True:
        start_ns = time.monotonic_ns()
        now = _reads(os.pread(file, 256, 0))
        if now != reads:
            output.write(RECORD.pack(epoch_ns + before_ns, epoch_ns + time.monotonic_ns(), now))
            reads = now
        before_ns = start_ns
        now_s = time.monotonic()
        if _closed((now_s // step_s + 1) * step_s - now_s):
            return


def _reads(text: bytes) -> int:
    start = text.index(_KEY) + len(_KEY)
    return int(text[start : text.index(b"\n", start)])


def _closed(wait_s: float) -> bool:
    """Wait, unless the standard input is closed meanwhile."""
    return bool(select.select([sys.stdin], [], [], wait_s)[0])


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as records:  # noqa: PTH123 (pathlib takes longer to import than all the rest)
        print("ready", flush=True)
        line = sys.stdin.readline()
        with suppress(OSError, ValueError):
            py_spy, began_ns = map(int, line.split())
            follow(py_spy, began_ns, records, float(sys.argv[2]), int(sys.argv[3]))
