"""Lines of a file that another program writes, as they come."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

POLL_S = 0.002  # how late a line is read, at most; one look takes a few microseconds
LONGEST_LINE = 1 << 20  # bytes without a line's end, after which they are a line


class GrowingFile:
    """The lines that are added to a file from now on, until ``stop``.

    A file that is replaced or cut, as when logs are rotated, is read again from its beginning.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be read."""
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._file.seek(0, os.SEEK_END)
        self._stopped = False

    def stop(self) -> None:
        """Have the iteration end after the lines that are there."""
        self._stopped = True

    def __iter__(self) -> Iterator[bytes]:
        """Yield whole lines, ends included; at the end also one without its end."""
        rest = b""
        while True:
            stopped = self._stopped  # before the read: what was written by then is not lost
            new = self._file.read(LONGEST_LINE)
            *lines, rest = (rest + new).split(b"\n")
            yield from (line + b"\n" for line in lines)
            if rest and (len(rest) >= LONGEST_LINE or (stopped and not new)):
                yield rest
                rest = b""
            if not new:
                if stopped:
                    break
                self._follow_rotation()
                time.sleep(POLL_S)
        self._file.close()

    def _follow_rotation(self) -> None:
        with suppress(OSError):  # between two files there may be none
            if _differ(self._file, self._path):
                fresh = self._path.open("rb", buffering=0)
                self._file.close()
                self._file = fresh
            elif os.fstat(self._file.fileno()).st_size < self._file.tell():
                self._file.seek(0)


def _differ(file: BinaryIO, path: Path) -> bool:
    """Whether the path names another file by now."""
    mine, now = os.fstat(file.fileno()), path.stat()
    return (mine.st_dev, mine.st_ino) != (now.st_dev, now.st_ino)
