"""A server that already runs on this machine: profiled, never stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.growing_file import GrowingFile
from scoreprof_nb.capture.process_tree import ProcessTree, listening_pids
from scoreprof_nb.capture.server import POLL_S, STOPPED_S, ServerFailed, check_not_stopped, is_healthy
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.records import ServerProcess
from scoreprof_nb.stopped_processes import StopWatch


class AttachedServer:
    """The server that listens at a URL of this machine (the parameters allow no other). It has no clock.

    ``log``: None unless it is copied.
    """

    has_clock = False

    def __init__(self, url: str, redact: Redactor) -> None:
        """Raises ParameterError when no process of this machine listens there."""
        self.url = url.rstrip("/")
        self.log: ServerLog | None = None
        self._redact = redact
        self._root = psutil.Process(_listening_pid(url))
        self._tree = ProcessTree.of(self._root)
        self._stop_watch = StopWatch(STOPPED_S)

    def pid(self) -> int:
        """The pid of the process that listens."""
        return self._root.pid

    def enable_clock(self, on: bool) -> None:
        """Do nothing: only a child of the launcher has a clock."""

    def command(self) -> list[str]:
        """The server's command line."""
        return self._root.cmdline()

    @contextmanager
    def copied_log(self, source: str, copy: Path) -> Iterator[None]:
        """Meanwhile, add what the server writes into its own log to a log of the kit's; nothing without a
        ``source``. Raises ParameterError when it cannot be read."""
        if not source:
            yield
            return
        try:
            lines = GrowingFile(Path(source))
        except OSError as error:
            raise ParameterError("server_log", source, f"cannot be read: {error.strerror}") from error
        self.log = ServerLog(copy, self._redact)
        self.log.note(f"reading {source}")
        self.log.follow(lines)
        try:
            yield
        finally:
            lines.stop()
            self.log.close()

    def wait_healthy(self, timeout_s: float) -> None:
        """Raise ServerFailed when its health endpoint does not answer 200 within the time."""
        deadline = time.monotonic() + timeout_s
        while not is_healthy(self.url):
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.url}{ENGINE.health_path} does not answer")
            time.sleep(POLL_S)

    def processes(self) -> tuple[ServerProcess, ...]:
        """The processes that run now. Raises ServerFailed when the server has ended."""
        self.check_alive()
        with suppress(psutil.NoSuchProcess):
            self._tree = ProcessTree.of(self._root)
        return self._tree.records(self._redact)

    def check_alive(self) -> None:
        """Raise ServerFailed when a process of the server has ended, or stays stopped."""
        dead = self._tree.first_dead()
        if dead is not None:
            raise ServerFailed(f"a process of the server at {self.url} ended (pid {dead.pid})")
        check_not_stopped(self._stop_watch, self._tree)


def _listening_pid(url: str) -> int:
    pids = listening_pids(urlsplit(url).port or 0)
    if not pids:
        raise ParameterError("server_url", url, "no process that this user can see listens there")
    # A forked child may hold the listening socket too: the server is the one that was started first.
    return min(pids, key=lambda pid: psutil.Process(pid).create_time())
