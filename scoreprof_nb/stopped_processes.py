"""Processes that a signal has stopped: they hang for ever, and so does whoever waits for them."""

import time
from collections.abc import Sequence
from contextlib import suppress

import psutil


class StopWatch:
    """Notices a process that SIGSTOP, or another signal like it, has stopped for longer than a limit.

    A debugger's or py-spy's trace stop is another state, and does not count.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: dict[psutil.Process, float] = {}

    def stopped_too_long(self, processes: Sequence[psutil.Process]) -> psutil.Process | None:
        """The first process that was stopped at every look, for longer than the limit."""
        now = time.monotonic()
        stopped = [process for process in processes if _is_stopped(process)]
        self._since = {process: self._since.get(process, now) for process in stopped}
        return next((process for process in stopped if now - self._since[process] > self._limit_s), None)


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() == psutil.STATUS_STOPPED
    return False
