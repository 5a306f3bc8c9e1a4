"""The memory of each process of the server, once a second while a phase is captured.

sglang-jax's log-probability path was seen to grow until the kernel killed the process (issue 1176 of its
repository), so every run records the host's memory.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psutil

from scoreprof_nb.capture.run_clock import now_ns

INTERVAL_S = 1.0


class MemoryRecorder:
    """Records the resident memory of processes from entering to leaving, in a thread of its own.

    ``rows``: the rows of memory.parquet. A process that has ended has no further rows.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self.rows: list[dict[str, Any]] = []
        self._processes = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                self._processes.append(psutil.Process(pid))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True, name="memory")

    def take_rows(self) -> list[dict[str, Any]]:
        """The rows so far, which are then forgotten here."""
        taken, self.rows = self.rows, []
        return taken

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _record(self) -> None:
        while True:
            for process in self._processes:
                with suppress(psutil.Error):
                    rss = process.memory_info().rss
                    self.rows.append({"time_ns": now_ns(), "pid": process.pid, "rss_bytes": rss})
            if self._stop.wait(INTERVAL_S):
                return
