"""The server under test: launched, watched, and never left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import psutil
import requests

from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.launcher import EPOCH_VARIABLE
from scoreprof_nb.capture.process_tree import ProcessTree, is_alive, listening_pids, session_members
from scoreprof_nb.capture.run_clock import epoch_ns
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.records import ServerProcess
from scoreprof_nb.stopped_processes import StopWatch

STOP_S = 2.0
EXIT_CODE_S = 0.5
POLL_S = 0.2
STOPPED_S = 10.0  # a process stopped by a signal for longer is a failure

LAUNCHER = Path(__file__).with_name("launcher.py")
SCRATCH_PREFIX = "sp-"  # short: the path of a Unix socket has 107 bytes at most


class ServerFailed(RuntimeError):
    """The server did not become healthy, or died. The message says how and shows the end of its log."""


class Server(Protocol):
    """What the capture needs of a server, launched by the kit or attached to."""

    @property
    def url(self) -> str: ...

    @property
    def has_clock(self) -> bool:
        """Whether it shows the time in its stacks while its clock is on."""

    @property
    def log(self) -> ServerLog | None:
        """None for a server that the kit did not launch, unless it was told where the log is."""

    def pid(self) -> int: ...

    def enable_clock(self, on: bool) -> None: ...

    def processes(self) -> tuple[ServerProcess, ...]:
        """Raises ServerFailed when one has ended."""

    def check_alive(self) -> None:
        """Raises ServerFailed when a process of the server has ended, or stays stopped by a signal."""


class LaunchedServer:
    """A server that starts on entering and is stopped with all of its processes on leaving.

    Its root process is ``launcher.py``, the clock of the recordings. The server has a separate temporary
    folder, because sglang-jax leaves its sockets there.
    """

    has_clock = True

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        port: int,
        log_path: Path,
        redact: Redactor,
        cwd: Path,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._command = command
        self._environment = environment
        self._cwd = cwd
        self._redact = redact
        self._log = ServerLog(log_path, redact)
        self._started: subprocess.Popen[bytes] | None = None
        self._scratch: str | None = None
        self._watched = ProcessTree()  # those whose end is a failure
        self._stop_watch = StopWatch(STOPPED_S)
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> ServerLog:
        return self._log

    @property
    def exit_code(self) -> int | None:
        """None as long as it runs."""
        return self._process.poll()

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        if self._started is None:
            raise RuntimeError("the server was not started")
        return self._started

    def start(self) -> None:
        """Start the process; it is not healthy yet."""
        self._log.note("launching " + " ".join(self._command))
        self._scratch = tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=self._environment.get("TMPDIR"))
        try:
            self._started = subprocess.Popen(
                [sys.executable, str(LAUNCHER), *self._command],
                env={**self._environment, "TMPDIR": self._scratch, EPOCH_VARIABLE: str(epoch_ns())},
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            self._clean_up()
            raise
        assert self._started.stdout is not None
        self._log.follow(self._started.stdout)
        self._look()

    def pid(self) -> int:
        """The pid of its root process."""
        return self._process.pid

    def enable_clock(self, on: bool) -> None:
        """Switch the clock of the recordings on or off."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR2 if on else signal.SIGUSR1)

    def wait_healthy(self, timeout_s: float) -> None:
        """Poll the health endpoint until it answers 200; raises ServerFailed as soon as the server dies."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check_alive()
            tree = self._look()
            if is_healthy(self.url):
                self._check_port_is_ours()
                self._watched = tree
                return
            time.sleep(POLL_S)
        raise ServerFailed(
            f"the server did not become healthy within {timeout_s:.0f} s (parameter startup_s). "
            f"The end of its log:\n{self._log.tail()}"
        )

    def processes(self) -> tuple[ServerProcess, ...]:
        """The running processes, watched from now on; raises ServerFailed when one has ended.

        A process that has just started is not watched: it may be a short-lived helper.
        """
        self.check_alive()
        known = set(self._seen)
        tree = self._look()
        self._watched = ProcessTree(tuple(process for process in tree.members if process in known))
        return tree.records(self._redact)

    def check_alive(self) -> None:
        """Raise ServerFailed when the server or a watched process of it has ended, or stays stopped."""
        dead = self._watched.first_dead()
        if dead is not None:  # the launcher ends a moment after the server, with its exit code
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_CODE_S)
        code = self._process.poll()
        if code is not None:
            self._log.close()
            raise ServerFailed(f"the server {_ending(code)}. The end of its log:\n{self._log.tail()}")
        if dead is not None:
            raise ServerFailed(
                f"a process of the server ended (pid {dead.pid}). The end of the log:\n{self._log.tail()}"
            )
        check_not_stopped(self._stop_watch, self._watched)

    def stop(self) -> None:
        """Stop every process of the server by SIGTERM, then SIGKILL; remove their files."""
        if self._started is None:
            self._log.close()
            return
        self._look()
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        left = [*self._seen, *session_members(self._process.pid)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + STOP_S
        while any(map(is_alive, left)) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._process.wait()
        self._clean_up()

    def _check_port_is_ours(self) -> None:
        """Raise ServerFailed when another program has taken the port since it was checked, and answers."""
        pids = listening_pids(self._port)
        if pids and pids.isdisjoint(process.pid for process in self._look().members):
            raise ServerFailed(
                f"port {self._port} was taken by another program (pid {min(pids)}) while the server started"
            )

    def _look(self) -> ProcessTree:
        """The current tree. Processes that leave it, such as daemons, are remembered until the end."""
        try:
            tree = ProcessTree.of(psutil.Process(self._process.pid))
        except psutil.NoSuchProcess:
            return ProcessTree()
        self._seen.update(tree.members)
        return tree

    def _clean_up(self) -> None:
        self._log.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_port_free(port: int) -> None:
    """Raise ParameterError when something already listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ParameterError(
                "port", port, f"cannot be used ({os.strerror(error.errno or 0)}); use 0 for a free port"
            ) from error


def is_healthy(url: str) -> bool:
    """Whether the server's health endpoint answers 200."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url + ENGINE.health_path, timeout=2, allow_redirects=False)
            return answer.status_code == 200
    except requests.RequestException:
        return False


def check_not_stopped(watch: StopWatch, tree: ProcessTree) -> None:
    """Raise ServerFailed when a process of the server stays stopped: its requests would only time out."""
    stopped = watch.stopped_too_long(tree.members)
    if stopped is not None:
        raise ServerFailed(
            f"a process of the server was stopped by a signal (pid {stopped.pid}; SIGCONT continues it)"
        )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
