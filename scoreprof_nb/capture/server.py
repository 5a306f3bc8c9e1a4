"""The server under test: launched and watched, or found running; never left behind.

Its output goes through a pipe, so that every line gets the kit's time stamp (the server's own have
whole seconds) and loses its secrets before it is on disk.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

import psutil
import requests

from scoreprof_nb.parameters.profile import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.store import ServerProcess

TAIL_LINES = 25
STOP_S = 2.0
EXIT_CODE_S = 0.5

LAUNCHER = Path(__file__).with_name("launcher.py")


class ServerFailed(RuntimeError):
    """The server did not get healthy, or died. The message says how and shows the end of its log."""


class ServerLog:
    """The server's output: kept in memory for the warm-up, on disk for the report."""

    def __init__(self, path: Path, redact: Redactor) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._redact = redact
        self._lines: list[str] = []
        self._thread: threading.Thread | None = None

    def note(self, text: str) -> None:
        """Write a line of the kit's own."""
        self._write(f"scoreprof-nb: {text}")

    def follow(self, stream: BinaryIO) -> None:
        """Read the stream to its end in a thread of its own."""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True, name="server-log")
        self._thread.start()

    def lines(self, start: int = 0) -> list[str]:
        """The lines so far, from number ``start``."""
        return self._lines[start:]

    def tail(self) -> str:
        return "\n".join(self._lines[-TAIL_LINES:])

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._file.close()

    def _read(self, stream: BinaryIO) -> None:
        for raw in stream:
            text = raw.decode(errors="replace").rstrip("\r\n")
            self._write(text.rpartition("\r")[2])  # a progress bar: its last state

    def _write(self, text: str) -> None:
        text = self._redact(text)
        now = time.time_ns()
        self._lines.append(text)
        if not self._file.closed:
            self._file.write(f"{now // 10**9}.{now // 1000 % 10**6:06d} {text}\n")


class Server(Protocol):
    """What the session needs of a server, launched or found."""

    url: str
    log: ServerLog | None  # None: not ours, its log is not known

    def pid(self) -> int: ...
    def enable_clock(self, on: bool) -> None: ...
    def processes(self) -> tuple[ServerProcess, ...]: ...
    def check_alive(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class _Tree:
    """The processes of a server, seen at one time; a pid that was reused is not one of them."""

    members: list[psutil.Process]

    @classmethod
    def of(cls, root: psutil.Process) -> "_Tree":
        return cls([root, *root.children(recursive=True)])

    def workload_fingerprint(self, redact: Redactor) -> tuple[ServerProcess, ...]:
        result = []
        for process in self.members:
            try:
                command = " ".join(process.cmdline()).strip() or process.name()
                result.append(ServerProcess(process.pid, process.ppid(), redact(command)))
            except psutil.Error:
                continue
        return tuple(result)

    def first_dead(self) -> psutil.Process | None:
        return next((process for process in self.members if not _lives(process)), None)


class LaunchedServer:
    """A server that the kit started, and ends with all of its processes.

    Its root process is ``launcher.py``, the clock of the recordings.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        port: int,
        log_path: Path,
        redact: Redactor,
        cwd: Path,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log: ServerLog | None = ServerLog(log_path, redact)
        self._log = self.log
        self._redact = redact
        self._log.note("launching " + " ".join(command))
        self._process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), *command],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._log.follow(self._process.stdout)  # type: ignore[arg-type]
        self._watched = _Tree([])  # those whose end is a failure
        self._seen: set[psutil.Process] = set()
        self._look()

    def pid(self) -> int:
        return self._process.pid

    def enable_clock(self, on: bool) -> None:
        """Switch the clock of the recordings on or off."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR2 if on else signal.SIGUSR1)

    def wait_healthy(self, timeout_s: float) -> None:
        """Poll /health until it answers 200; raises ServerFailed at once when the process dies."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check_alive()
            tree = self._look()
            if _healthy(self.url):
                self._watched = tree
                return
            time.sleep(0.2)
        raise ServerFailed(
            f"the server is not healthy after {timeout_s:.0f} s (parameter startup_s); "
            f"the end of its log:\n{self._log.tail()}"
        )

    def _look(self) -> _Tree:
        """The tree as it is now; what leaves it (a daemon) is kept in mind until the end."""
        try:
            tree = _Tree.of(psutil.Process(self._process.pid))
        except psutil.NoSuchProcess:
            return _Tree([])
        self._seen.update(tree.members)
        return tree

    def processes(self) -> tuple[ServerProcess, ...]:
        """Those that are there now, and were there before; raises ServerFailed when one has ended.

        One that only just began may be a helper that comes and goes: its end would be no failure.
        """
        self.check_alive()
        known = set(self._seen)
        tree = self._look()
        self._watched = _Tree([process for process in tree.members if process in known])
        return tree.workload_fingerprint(self._redact)

    def check_alive(self) -> None:
        """Raise ServerFailed when a process of the server has ended that was there when it got healthy."""
        dead = self._watched.first_dead()
        if dead is not None:  # the launcher ends a moment after the server, and knows how that ended
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_CODE_S)
        code = self._process.poll()
        if code is not None:
            self._log.close()
            raise ServerFailed(f"the server ended {_how(code)}; the end of its log:\n{self._log.tail()}")
        if dead is not None:
            raise ServerFailed(
                f"a process of the server ended (pid {dead.pid}); the end of the log:\n{self._log.tail()}"
            )

    def log_lines(self) -> list[str]:
        """The lines of its log so far."""
        return self._log.lines()

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        """End every process of the server: SIGTERM, and SIGKILL for what is left."""
        self._look()
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        left = [*self._seen, *_session_members(self._process.pid)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + STOP_S
        while any(map(_lives, left)) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._process.wait()
        self._log.close()


class AttachedServer:
    """A server that somebody else runs on this machine: profiled, never stopped."""

    log: ServerLog | None = None

    def __init__(self, url: str, redact: Redactor) -> None:
        self.url = url.rstrip("/")
        self._redact = redact
        self._root = psutil.Process(_listening_pid(url))
        self._tree = _Tree.of(self._root)

    def pid(self) -> int:
        return self._root.pid

    def enable_clock(self, on: bool) -> None:
        """Nothing: a server that is not a child of the launcher has no clock."""

    def command(self) -> list[str]:
        """The command line that started it."""
        return self._root.cmdline()

    def wait_healthy(self, timeout_s: float) -> None:
        """Raises ServerFailed when /health does not answer within the time."""
        deadline = time.monotonic() + timeout_s
        while not _healthy(self.url):
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.url}/health does not answer")
            time.sleep(0.2)

    def processes(self) -> tuple[ServerProcess, ...]:
        """Raises ServerFailed when the server has ended."""
        self.check_alive()
        with suppress(psutil.NoSuchProcess):
            self._tree = _Tree.of(self._root)
        return self._tree.workload_fingerprint(self._redact)

    def check_alive(self) -> None:
        dead = self._tree.first_dead()
        if dead is not None:
            raise ServerFailed(f"a process of the server at {self.url} ended (pid {dead.pid})")

    def stop(self) -> None:
        """Nothing: it is not ours."""


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that ended but was not waited for by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session_members(session: int) -> list[psutil.Process]:
    """The processes of a session: the server leads its own, so orphans of it are found too."""
    members = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == session:
                members.append(process)
    return members


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_port_free(port: int) -> None:
    """Raise ParameterError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ParameterError(
                "port", port, f"cannot be used ({os.strerror(error.errno or 0)}); 0 takes a free one"
            ) from error


def _healthy(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{url}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _listening_pid(url: str) -> int:
    parts = urlsplit(url)
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == parts.port
        and connection.pid
    }
    if parts.hostname not in ("127.0.0.1", "localhost", "::1") or not pids:
        raise ParameterError(
            "server_url",
            url,
            "no process of this machine that may be seen listens there; py-spy needs the server here",
        )
    # A forked child may hold the listening socket too: the server is the one that is nobody's child.
    return min(pids, key=lambda pid: psutil.Process(pid).create_time())


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
