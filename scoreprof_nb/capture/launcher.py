"""Starts the server as its child, stops it when it exits itself, and is the clock of the recordings.

    <python> launcher.py COMMAND [ARGUMENT ...]

py-spy's recordings contain no times. Attached to this process, py-spy samples it together with the
server at every tick, and this process shows the time in its stack: ``clock`` is a generated function
with one line per slot of 4 ms, so the line number in a sample is the time of the tick (modulo the cycle
of 10 s). It costs 250 wake-ups per second while it is on. It counts by the monotonic clock, from EPOCH_NS in
the environment variable that ``EPOCH_VARIABLE`` names, so that it is on the capture's clock.

SIGUSR2 switches the clock on, SIGUSR1 off (Python handles pending signals in the order of their
numbers, so if both are pending, the clock is on). SIGTERM and SIGINT are forwarded to the server. The
launcher exits with the server's exit code or signal. It uses the standard library only, so that it runs
without the kit installed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

EPOCH_VARIABLE = "SCOREPROF_EPOCH_NS"  # epoch nanoseconds of the monotonic clock's zero
CLOCK_FILE = "scoreprof-clock"
SLOT_S = 0.004
SLOTS = 2500
FIRST_LINE = 2  # the line of slot 0

_PR_SET_PDEATHSIG = 1


class SwitchedOff(Exception):
    """The clock was switched off, or the server has ended."""


class Clock:
    """Runs in the main thread while it is switched on."""

    def __init__(self, child: "subprocess.Popen[bytes]", epoch_ns: int) -> None:
        self.on = False
        self._epoch_s = epoch_ns / 1e9
        self._child = child
        self._cycle_start_s = 0.0
        lines = ["def clock(wait):"] + [f"    wait({slot})" for slot in range(SLOTS)]
        namespace: dict[str, Callable[[Callable[[int], None]], None]] = {}
        code = compile("\n".join(lines), CLOCK_FILE, "exec")
        exec(code, namespace)  # noqa: S102  # nosec B102
        self._clock = namespace["clock"]

    def run_cycle(self) -> None:
        """Run through the slots of this cycle, without a pause for past ones; raises SwitchedOff."""
        self._cycle_start_s = self._now_s() // (SLOTS * SLOT_S) * (SLOTS * SLOT_S)
        self._clock(self._wait)

    def _now_s(self) -> float:
        return self._epoch_s + time.monotonic()

    def _wait(self, slot: int) -> None:
        left_s = self._cycle_start_s + (slot + 1) * SLOT_S - self._now_s()
        if left_s <= 0:  # past: on to the present, before py-spy looks
            return
        time.sleep(left_s)
        if not self.on or self._child.poll() is not None:
            raise SwitchedOff


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, even by SIGKILL (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(command: list[str]) -> int:
    """Run the command, and the clock while it is on; return the exit code (negative: a signal)."""
    die_with_parent()
    epoch_ns = int(os.environ.pop(EPOCH_VARIABLE, time.time_ns() - time.monotonic_ns()))
    child = subprocess.Popen(command, preexec_fn=die_with_parent)
    clock = Clock(child, epoch_ns)

    def switch(signum: int, frame: FrameType | None) -> None:
        clock.on = signum == signal.SIGUSR2

    def forward(signum: int, frame: FrameType | None) -> None:
        child.send_signal(signum)

    signal.signal(signal.SIGUSR2, switch)
    signal.signal(signal.SIGUSR1, switch)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, forward)
    while child.poll() is None:
        try:
            if clock.on:
                clock.run_cycle()
            else:
                time.sleep(0.1)
        except SwitchedOff:
            pass
    return child.returncode


def end_as(code: int) -> None:
    """Exit as the child did: with its code, or by its signal."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    end_as(run(sys.argv[1:]))
