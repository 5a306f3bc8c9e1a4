"""The server's output, on disk and in memory.

It goes through a pipe, so that every line gets the kit's time stamp (the server's own have whole
seconds) and loses its secrets before it is written. Lines of a server that the kit did not launch come
from that server's own log.
"""

import threading
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from scoreprof_nb.capture.run_clock import now_ns
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.plain_text import plain_text

TAIL_LINES = 25
KEPT_LINES = 20_000  # in memory


class ServerLog:
    """The server's output: in memory for the warm-up, on disk for the report."""

    def __init__(self, path: Path, redact: Redactor) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._redact = redact
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._written = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, text: str) -> None:
        """Write a line of the kit's own."""
        self._write(f"scoreprof-nb: {text}")

    def follow(self, stream: Iterable[bytes]) -> None:
        """Read the stream's lines to its end in a thread of its own."""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True, name="server-log")
        self._thread.start()

    def lines(self, start: int = 0) -> list[str]:
        """The lines so far, from number ``start``; of a long log only the last KEPT_LINES."""
        with self._lock:
            dropped = self._written - len(self._lines)
            return list(islice(self._lines, max(start - dropped, 0), None))

    @property
    def written(self) -> int:
        """How many lines there were so far."""
        return self._written

    def tail(self) -> str:
        """The last lines, for a message."""
        return "\n".join(self.lines()[-TAIL_LINES:])

    def close(self) -> None:
        """Wait for the last lines, then close the file."""
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._file.close()

    def _read(self, stream: Iterable[bytes]) -> None:
        for raw in stream:
            text = raw.decode(errors="replace").rstrip("\r\n")
            self._write(text.rpartition("\r")[2])  # a progress bar: its last state

    def _write(self, text: str) -> None:
        text = plain_text(self._redact(text))
        now = now_ns()
        with self._lock:
            self._lines.append(text)
            self._written += 1
        if not self._file.closed:
            self._file.write(f"{now // 10**9}.{now // 1000 % 10**6:06d} {text}\n")
