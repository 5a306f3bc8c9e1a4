"""Whether the server's threads ran, waited for a core, or neither: the kernel's counters over a block."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from scoreprof_nb.capture.cpu_quota import quota_between, read_quota
from scoreprof_nb.capture.launcher import SLOT_S
from scoreprof_nb.capture.reader_process import ReaderProcess
from scoreprof_nb.capture.run_clock import epoch_ns
from scoreprof_nb.run_folder.records import CpuQuota
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA

READER = Path(__file__).with_name("schedstat_reader.py")
SCRATCH = ".schedstat"  # the reader's records, until they are a table
_NOT_KNOWN: Mapping[int, Collection[int]] = {}
# As RECORD in schedstat_reader.py, which is stand-alone.
_RECORD = np.dtype(
    [("time_ns", "<i8"), ("pid", "<i4"), ("tid", "<i4"), ("on_cpu_ns", "<i8"), ("runnable_ns", "<i8")]
)


class CpuRecorder:
    """What the kernel says of the server's CPU time over the measured blocks of a phase.

    ``quota``: what its CPU quota did while this was entered, None if not known.
    """

    def __init__(
        self, pids: Sequence[int], folder: Path, python_threads: Mapping[int, Collection[int]] = _NOT_KNOWN
    ) -> None:
        """``folder``: for a file that exists while counters are read; ``python_threads``: by pid, those to
        read in every slot, where they are known."""
        self._pids = tuple(pids)
        self._python_threads = python_threads
        self._scratch = folder / SCRATCH
        self._quota_before: CpuQuota | None = None
        self.quota: CpuQuota | None = None
        self._table: pa.Table | None = None

    def __enter__(self) -> Self:
        self._quota_before = read_quota(self._pids[-1])
        return self

    def __exit__(self, *error: object) -> None:
        self.quota = quota_between(self._quota_before, read_quota(self._pids[-1]))

    @contextmanager
    def reading(self, block: int) -> Iterator[None]:
        """Read the counters of every thread, as rows of this block."""
        with ThreadStateReading(self._pids, self._scratch, self._python_threads) as reading:
            yield
        self._table = reading.table(block)

    def take_table(self) -> pa.Table | None:
        """What the last ``reading`` read, rows of schedstat.parquet, which is then forgotten here."""
        taken, self._table = self._table, None
        return taken


class ThreadStateReading:
    """A process that reads the counters of the threads of some processes, while it is entered.

    A reader that fails costs its own rows only: the states of the block are then not known.
    """

    def __init__(
        self, pids: Sequence[int], scratch: Path, python_threads: Mapping[int, Collection[int]] = _NOT_KNOWN
    ) -> None:
        """``scratch``: a file for the reader's records, removed when it ends."""
        self._processes = [f"{pid}:{','.join(map(str, python_threads.get(pid, ())))}" for pid in pids]
        self._reader = ReaderProcess(READER, scratch)
        self._records = b""

    def __enter__(self) -> Self:
        self._reader.start(str(SLOT_S), str(epoch_ns()), *self._processes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._records = self._reader.stop()

    def table(self, block: int) -> pa.Table:
        """The records as rows of schedstat.parquet; complete once the reader has ended."""
        return table_of(self._records, block)


def table_of(records: bytes, block: int) -> pa.Table:
    """Rows of schedstat.parquet from the reader's records; the last one may be cut off."""
    whole = np.frombuffer(records, dtype=_RECORD, count=len(records) // _RECORD.itemsize)
    whole = whole[np.lexsort((whole["time_ns"], whole["tid"], whole["pid"]))]  # a thread's rows together
    columns = {name: whole[name] for name in _RECORD.names or ()}
    return pa.table({"block": np.full(len(whole), block), **columns}).cast(SCHEDSTAT_SCHEMA)
