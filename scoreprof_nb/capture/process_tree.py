"""The processes of a server: which exist, and which still run."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import psutil

from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.records import ServerProcess


@dataclass(frozen=True)
class ProcessTree:
    """A snapshot of a process and its descendants; a reused pid does not count as a member."""

    members: tuple[psutil.Process, ...] = ()

    @classmethod
    def of(cls, root: psutil.Process) -> Self:
        """Raises psutil.NoSuchProcess when the root has ended."""
        return cls((root, *root.children(recursive=True)))

    def records(self, redact: Redactor) -> tuple[ServerProcess, ...]:
        """The running members, in the form of phase.json."""
        records = []
        for process in self.members:
            try:
                command = " ".join(process.cmdline()).strip() or process.name()
                records.append(ServerProcess(process.pid, process.ppid(), redact(command)))
            except psutil.Error:
                continue
        return tuple(records)

    def first_dead(self) -> psutil.Process | None:
        """The first member that has ended, if any."""
        return next((process for process in self.members if not is_alive(process)), None)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening_pids(port: int) -> set[int]:
    """The processes that listen on a TCP port, as far as this user can see."""
    return {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
        and connection.pid
    }


def session_members(session: int) -> list[psutil.Process]:
    """The processes of a session. The server leads its own, so its orphans are among them."""
    members = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == session:
                members.append(process)
    return members
