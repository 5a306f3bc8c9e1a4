"""The signals that stop a run. Imports nothing that takes time: it comes before all else of the kit."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def handle_stops(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have it called for Ctrl-C, SIGTERM and a closed terminal; not for the last under nohup."""
    for signum in STOPPING:
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def exit_before_the_run(signum: int, frame: FrameType | None) -> None:
    """For as long as nothing was launched: say so, and exit as a stopped run does."""
    with suppress(OSError):
        os.write(2, f"scoreprof-nb: stopped by {signal.Signals(signum).name} before the run began\n".encode())
    os._exit(128 + signum)
