"""A stand-alone program of the kit that reads the kernel's counters beside a block, as a process."""

import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

START_S, STOP_S = 5.0, 5.0


class ReaderProcess:
    """It prints a line when it reads, and ends when its standard input is closed.

    A reader that cannot be started, or fails, costs its own records only. ``process``: None before ``start``,
    after ``stop``, and where it could not be started.
    """

    def __init__(self, program: Path, scratch: Path) -> None:
        """``program``: its first argument is ``scratch``, where its records go; ``stop`` removes it."""
        self._program = program
        self._scratch = scratch
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it reads or has failed."""
        with suppress(OSError):
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(self._program), str(self._scratch), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self.process.stdout is not None
            select.select([self.process.stdout], [], [], START_S)

    def send(self, line: bytes) -> None:
        """Write a line to its standard input, if it runs."""
        if self.process is not None:
            assert self.process.stdin is not None
            with suppress(OSError):
                self.process.stdin.write(line)
                self.process.stdin.flush()

    def stop(self) -> bytes:
        """End it; its records, as many as it wrote."""
        process, self.process = self.process, None
        records = b""
        if process is None:
            return records
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        with suppress(OSError):
            records = self._scratch.read_bytes()
        self._scratch.unlink(missing_ok=True)
        return records
