"""When py-spy samples a server that has no clock: ``tick_reader.py`` as a process beside each recording."""

import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoreprof_nb.capture.reader_process import ReaderProcess
from scoreprof_nb.capture.run_clock import epoch_ns
from scoreprof_nb.run_folder.store import READS_SCHEMA

READER = Path(__file__).with_name("tick_reader.py")
STEP_S = 0.002  # between two readings
_RECORD = np.dtype([(name, "<i8") for name in READS_SCHEMA.names])  # as RECORD in tick_reader.py


class TickReading:
    """Counts py-spy's reads while it is entered. A reader that fails costs the times of the ticks only."""

    def __init__(self, output: Path) -> None:
        """``output``: the table to write, with the columns of READS_SCHEMA."""
        self._output = output
        self._reader = ReaderProcess(READER, output.with_suffix(".records"))
        self._ready_ns = 0

    def __enter__(self) -> Self:
        self._reader.start(str(STEP_S), str(epoch_ns()))
        self._ready_ns = time.monotonic_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        records = self._reader.stop()
        if kind is None:
            self._write(records)

    def follow(self, pid: int) -> None:
        """Count the reads of the py-spy with this pid, which was started after this was entered."""
        self._reader.send(b"%d %d\n" % (pid, self._ready_ns))

    @property
    def file(self) -> str | None:
        """The name of the table; None until it is written, and where reads cannot be counted."""
        return self._output.name if self._output.exists() else None

    def _write(self, records: bytes) -> None:
        rows = np.frombuffer(records, dtype=_RECORD, count=len(records) // _RECORD.itemsize)
        if len(rows):
            table = pa.table({name: rows[name] for name in READS_SCHEMA.names}).cast(READS_SCHEMA)
            with suppress(OSError):
                pq.write_table(table, self._output, compression="zstd")
