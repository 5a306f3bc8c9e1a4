"""A phase on disk while it is captured: a segment per block, so that a long one neither grows nor gets lost.

After each block, what it recorded becomes a segment in the phase's scratch folder, and the record so far is
written to UNFINISHED. At the end the segments become the phase's tables. A capture that was killed leaves the
segments of its finished blocks, and ``keep_unfinished`` makes a phase of them.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scoreprof_nb.run_folder import files
from scoreprof_nb.run_folder.folder import RunFolder, parse_record, read_json_if_valid, write_json
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import PhaseRecord, RunFolderError
from scoreprof_nb.run_folder.store import (
    MEMORY_SCHEMA,
    REQUESTS_SCHEMA,
    SCHEDSTAT_SCHEMA,
    THREADS_SCHEMA,
    write_phase,
    write_schedstat,
)

# What a phase that was cut off must hold to be kept. A shorter one is captured again: that takes as long as
# what would be kept, and makes it whole.
KEPT_S, KEPT_BLOCKS = 300.0, 4

_SCHEMAS = {
    files.REQUESTS: REQUESTS_SCHEMA,
    files.THREADS: THREADS_SCHEMA,
    files.SCHEDSTAT: SCHEDSTAT_SCHEMA,
    files.MEMORY: MEMORY_SCHEMA,
}
type Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class SegmentRows:
    """New rows of a phase's tables. ``schedstat``: columns of SCHEDSTAT_SCHEMA, None without any."""

    requests: Rows = ()
    threads: Rows = ()
    memory: Rows = ()
    schedstat: pa.Table | None = None

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """The tables that have rows, by the name of the phase's file."""
        rows = {files.REQUESTS: self.requests, files.THREADS: self.threads, files.MEMORY: self.memory}
        for name, of_table in rows.items():
            if of_table:
                yield name, pa.Table.from_pylist(list(of_table), schema=_SCHEMAS[name])
        if self.schedstat is not None and self.schedstat.num_rows:
            yield files.SCHEDSTAT, self.schedstat


class PhaseSegments:
    """The segments of a phase in its scratch folder."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        """``number``: of segments that it has already."""
        self._folder = folder
        self._number = number

    def add(self, record: PhaseRecord, rows: SegmentRows) -> None:
        """Write a segment. ``record``: of the phase so far, with the blocks whose rows are written."""
        self._write(rows)
        progress = {"segments": self._number, "record": asdict(record)}
        write_json(self._folder / files.UNFINISHED, progress)

    def finish(
        self,
        record: PhaseRecord,
        rows: SegmentRows | None = None,
        device_requests: Rows = (),
        client_cpu_ns: int = 0,
    ) -> None:
        """Write the last rows, and all segments as the tables of the phase; phase.json last.

        ``client_cpu_ns``: what each request of an open loop used, whose client serves all of them together.
        """
        if rows is not None:
            self._write(rows)
        write_schedstat(self._folder, map(pq.read_table, self._paths(files.SCHEDSTAT)))
        requests = self._table(files.REQUESTS).sort_by("request")
        if client_cpu_ns:
            requests = _with_client_cpu(requests, client_cpu_ns)
        threads, memory = self._table(files.THREADS), self._table(files.MEMORY)
        write_phase(self._folder, record, requests, threads, memory, list(device_requests))
        for path in self._folder.glob(files.segment_name("*", "*")):
            path.unlink()
        (self._folder / files.UNFINISHED).unlink(missing_ok=True)

    def answered(self) -> int:
        """The number of measured requests that succeeded."""
        requests = self._table(files.REQUESTS)
        measured = pc.and_(pc.invert(requests["warmup"]), pc.is_null(requests["error"]))
        return int(pc.sum(measured).as_py() or 0)

    def _write(self, rows: SegmentRows) -> None:
        for name, table in rows.tables():
            pq.write_table(table, self._folder / files.segment_name(self._number, name), compression="zstd")
        self._number += 1

    def _paths(self, name: str) -> list[Path]:
        paths = [self._folder / files.segment_name(number, name) for number in range(self._number)]
        return [path for path in paths if path.exists()]

    def _table(self, name: str) -> pa.Table:
        tables = [pq.read_table(path) for path in self._paths(name)]
        return pa.concat_tables([_SCHEMAS[name].empty_table(), *tables])


def keep_unfinished(folder: RunFolder, log_progress: LogProgress) -> tuple[str, ...]:
    """Make phases of what killed captures left; the names of those whose finished blocks hold enough.

    What holds less is removed. The folder must be locked, or another capture's blocks would be taken.
    """
    kept = []
    for scratch in sorted(folder.phases_path.glob(files.scratch_folder("*"))):
        record = _keep(folder, scratch)
        if record is None:
            shutil.rmtree(scratch)
            continue
        final = folder.phase_path(record.name)
        if final.exists():  # every request of it failed
            shutil.rmtree(final)
        scratch.rename(final)
        kept.append(record.name)
        log_progress(
            f"phase {record.name} was cut off: its {len(record.blocks)} finished blocks of "
            f"{record.planned_blocks} are kept. To capture it again, delete {final}"
        )
    return tuple(kept)


def _keep(folder: RunFolder, scratch: Path) -> PhaseRecord | None:
    """The record of a phase that was made of finished blocks; None where they hold too little."""
    path = scratch / files.UNFINISHED
    progress = read_json_if_valid(path)
    try:
        record = parse_record(PhaseRecord, progress.get("record", {}), path)
    except RunFolderError:
        return None
    if folder.has_phase(record.name) and folder.has_answers(record.name):
        return None
    if len(record.blocks) < KEPT_BLOCKS or sum(block.wall_s for block in record.blocks) < KEPT_S:
        return None
    segments = PhaseSegments(scratch, int(progress.get("segments", 0)))
    recordings = {block.recording.file for block in record.blocks if block.recording is not None}
    try:
        record = replace(record, answered=segments.answered())
        segments.finish(record)
    except (OSError, pa.ArrowException):  # a damaged segment
        return None
    for left in scratch.iterdir():
        if left.name not in {*_SCHEMAS, files.PHASE, *recordings}:
            left.unlink()
    return record


def _with_client_cpu(requests: pa.Table, client_cpu_ns: int) -> pa.Table:
    column = requests["client_cpu_ns"]
    of_open_loop = pc.and_(pc.equal(column, 0), pc.invert(requests["repeat"]))
    place = requests.schema.get_field_index("client_cpu_ns")
    filled = pc.if_else(of_open_loop, pa.scalar(client_cpu_ns, pa.int64()), column)
    return requests.set_column(place, REQUESTS_SCHEMA.field("client_cpu_ns"), filled)
