"""The phase that is being captured, on disk after each block."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scoreprof_nb.capture.memory import MemoryRecorder
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import StepWatch, now_s
from scoreprof_nb.capture.thread_states import CpuRecorder
from scoreprof_nb.run_folder.records import Block, PhaseRecord
from scoreprof_nb.run_folder.segments import PhaseSegments, SegmentRows

Row = Mapping[str, Any]


class PhaseWriter:
    """Moves what the recorders of a phase have in memory to disk.

    ``record``: of the phase so far; ``sent``, ``measured``, ``answered``: numbers of requests, the first with
    those of the warm-up, the last of measured ones that succeeded.
    """

    def __init__(
        self, folder: Path, record: PhaseRecord, load: RequestLog, warmup_rows: Sequence[Row]
    ) -> None:
        """``warmup_rows``: of a load that warmed the server up before ``load``."""
        self.record = record
        self.sent = self.measured = self.answered = 0
        self._load = load
        self._segments = PhaseSegments(folder)
        self._segments.add(record, SegmentRows(self._counted([*warmup_rows, *load.take_rows()])))
        self._warmup = len(warmup_rows)

    def add(
        self, block: Block, threads: Sequence[Row], memory: MemoryRecorder, cpu: CpuRecorder, clock: StepWatch
    ) -> None:
        """Write a finished block. ``threads``: its rows of threads.parquet."""
        clock.look()
        self.record = replace(
            self.record,
            finished_s=now_s(),
            blocks=(*self.record.blocks, block),
            clock_steps=tuple(clock.steps),
        )
        requests = self._counted(self._load.take_rows())
        rows = SegmentRows(requests, threads, memory.take_rows(), cpu.take_table())
        self._segments.add(self.record, rows)

    def end_of_load(self, memory: MemoryRecorder) -> None:
        """Write what was answered after the last block."""
        requests = self._counted(self._load.take_rows())
        self._segments.add(self.record, SegmentRows(requests, memory=memory.take_rows()))

    def finish(
        self, record: PhaseRecord, repeats: Sequence[Row], traced: Sequence[Row], client_cpu_s: float | None
    ) -> None:
        """Make the phase's tables; ``record`` is the whole one. ``traced``: requests of the device trace.

        ``client_cpu_s``: of the process that sent all requests of an open loop after its warm-up.
        """
        client_cpu_ns = round((client_cpu_s or 0.0) * 1e9 / max(self.sent - self._warmup, 1))
        self._segments.finish(record, SegmentRows(repeats), traced, client_cpu_ns)

    def _counted(self, rows: Sequence[Row]) -> Sequence[Row]:
        measured = [row for row in rows if not row["warmup"]]
        self.sent += len(rows)
        self.measured += len(measured)
        self.answered += sum(row["error"] is None for row in measured)
        return rows
