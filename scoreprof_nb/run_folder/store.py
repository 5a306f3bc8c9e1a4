"""Loading runs, and the tables of their phases: requests and threads as parquet, the server's log.

Capture writes them; everything else only reads them, on another machine and years later.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scoreprof_nb.run_folder import files
from scoreprof_nb.run_folder.folder import (
    RunFolder,
    file_sha256,
    log_damage_of,
    parse_record,
    read_json,
    write_json,
)
from scoreprof_nb.run_folder.records import (
    Block,
    Manifest,
    PhaseRecord,
    RunFolderError,
)

REQUESTS_SCHEMA = pa.schema(
    [
        ("request", pa.int32()),  # number within the phase, in the order of sending
        ("warmup", pa.bool_()),
        ("kind", pa.string()),  # single, small, large or file
        ("items", pa.int32()),
        ("payload", pa.int32()),  # number within the phase and kind: equal bytes; -1: of the warm-up
        ("prompt_tokens", pa.int32()),  # of all items together, null if unknown
        ("shared_tokens", pa.int32()),  # of these, the query's in every item but the first; null if unknown
        ("repeat", pa.bool_()),  # sent once more after the blocks, only to compare its scores
        ("worker", pa.int32()),
        ("intended_ns", pa.int64()),  # when it should have been sent, epoch nanoseconds
        ("sent_ns", pa.int64()),
        ("done_ns", pa.int64()),  # when the response body had been read completely
        ("client_cpu_ns", pa.int64()),  # CPU time of the client's thread between sent and done
        ("status", pa.int32()),  # HTTP status, 0 without a response
        ("error", pa.string()),  # kind of failure, null for a success
        ("scores", pa.list_(pa.list_(pa.float64()))),  # items x labels, null for a failure
    ]
)

THREADS_SCHEMA = pa.schema(
    [
        ("block", pa.int32()),
        ("pid", pa.int32()),
        ("tid", pa.int32()),  # OS thread id
        ("name", pa.string()),  # the kernel's name of the thread (15 characters)
        ("cpu_before_s", pa.float64()),  # null: the thread did not exist yet
        ("cpu_after_s", pa.float64()),  # null: the thread had ended
        ("runnable_before_s", pa.float64()),  # time spent waiting for a CPU, null if unknown
        ("runnable_after_s", pa.float64()),
    ]
)

SCHEDSTAT_SCHEMA = pa.schema(
    [
        ("block", pa.int32()),
        ("time_ns", pa.int64()),  # when the counters were read, epoch nanoseconds
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("on_cpu_ns", pa.int64()),  # time on a CPU since the thread began
        ("runnable_ns", pa.int64()),  # time waiting for a CPU since the thread began
    ]
)

MEMORY_SCHEMA = pa.schema(
    [
        ("time_ns", pa.int64()),  # epoch nanoseconds
        ("pid", pa.int32()),
        ("rss_bytes", pa.int64()),  # resident memory of the process, shared pages included
    ]
)

READS_SCHEMA = pa.schema(  # of the reads of py-spy's first thread, where the server has no clock
    [
        ("before_ns", pa.int64()),  # right before the reading of the count before this one, epoch nanoseconds
        ("at_ns", pa.int64()),  # right after this reading
        ("reads", pa.int64()),  # how often the thread had read; only changes are rows
    ]
)

LOG_LINE = re.compile(r"^(\d{10})\.(\d{6}) (.*)$")


@dataclass(frozen=True)
class Phase:
    """A loaded phase. Its tables have the columns of the schemas.

    ``memory`` and ``schedstat`` are empty where they were not recorded, as by older versions.
    """

    record: PhaseRecord
    requests: pd.DataFrame
    threads: pd.DataFrame
    memory: pd.DataFrame
    folder: Path
    schedstat: pd.DataFrame = field(default_factory=SCHEDSTAT_SCHEMA.empty_table().to_pandas)

    @property
    def name(self) -> str:
        return self.record.name

    def device_trace_path(self) -> Path | None:
        """The device trace; None without one."""
        trace = self.record.device_trace
        return self.folder / trace.file if trace is not None and trace.file is not None else None

    def device_requests(self) -> pd.DataFrame:
        """The requests of the device trace, columns of REQUESTS_SCHEMA; empty without a trace."""
        path = self.folder / files.DEVICE_REQUESTS
        return (
            read_table(path, REQUESTS_SCHEMA, _ADDED)
            if path.exists()
            else REQUESTS_SCHEMA.empty_table().to_pandas()
        )

    def reads(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """How often py-spy had read by when, by the number of the block: columns of READS_SCHEMA."""
        for block in self.record.blocks:
            if block.recording is not None and block.recording.reads is not None:
                yield block.number, read_table(self.folder / block.recording.reads, READS_SCHEMA)

    def recording_paths(self) -> Iterator[tuple[Block, Path]]:
        """The blocks that have a recording, each with its file."""
        for block in self.record.blocks:
            if block.recording is not None and block.recording.file is not None:
                yield block, self.folder / block.recording.file


@dataclass(frozen=True)
class Run:
    """A loaded run. ``log``: columns ``time_ns`` (int64, epoch) and ``text``."""

    folder: Path
    manifest: Manifest
    provenance: Mapping[str, Any]
    phases: Mapping[str, Phase]
    log: pd.DataFrame


type Rows = Sequence[Mapping[str, Any]] | pa.Table  # of the table that they are written to


def write_phase(
    folder: Path,
    record: PhaseRecord,
    requests: Rows,
    threads: Rows,
    memory: Rows = (),
    device_requests: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a phase's tables, and phase.json last. ``device_requests``: those of the device trace."""
    _write_table(memory, MEMORY_SCHEMA, folder / files.MEMORY)
    _write_table(requests, REQUESTS_SCHEMA, folder / files.REQUESTS)
    _write_table(threads, THREADS_SCHEMA, folder / files.THREADS)
    if device_requests:
        _write_table(device_requests, REQUESTS_SCHEMA, folder / files.DEVICE_REQUESTS)
    write_json(folder / files.PHASE, asdict(record))


def _write_table(rows: Rows, schema: pa.Schema, path: Path) -> None:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, path)


def write_schedstat(folder: Path, tables: Iterable[pa.Table]) -> None:
    """Write schedstat.parquet, unless no counter was read; one table after the other, as an hour has many.

    ``tables``: with the columns of the schema.
    """
    with ExitStack() as stack:
        writer = None
        for table in filter(len, tables):
            if writer is None:
                path = folder / files.SCHEDSTAT
                writer = stack.enter_context(pq.ParquetWriter(path, SCHEDSTAT_SCHEMA, compression="zstd"))
            writer.write_table(table)


def load_run(path: Path) -> Run:
    """Load a run folder. Raises RunFolderError naming the file that is missing or damaged."""
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    phases = {name: load_phase(folder.phase_path(name)) for name in manifest.phases if folder.has_phase(name)}
    for name, phase in phases.items():
        if phase.name != name:
            raise RunFolderError(f"{phase.folder / files.PHASE}: the record of another phase, {phase.name!r}")
    provenance = path / files.PROVENANCE
    versions = read_json(provenance) if provenance.exists() else {}
    for name, expected in manifest.sha256.items():
        if path / name == provenance and (manifest.status == "capturing" or not provenance.exists()):
            continue  # it may just have been written anew; without it, versions and host are not known
        if not (path / name).exists():
            raise RunFolderError(f"{path / name}: named in the manifest, but missing")
        if file_sha256(path / name) != expected:
            raise RunFolderError(f"{path / name}: differs from the checksum in the manifest")
    log_damage = log_damage_of(folder.log_path, manifest.server_log)
    if log_damage is not None:
        raise RunFolderError(log_damage)
    return Run(
        folder=path,
        manifest=manifest,
        provenance=versions,
        phases=phases,
        log=read_log(folder.log_path),
    )


def load_phase(folder: Path) -> Phase:
    """Load one finished phase. Raises RunFolderError naming the file that is damaged."""
    path = folder / files.PHASE
    record = parse_record(PhaseRecord, read_json(path), path)
    requests = read_table(folder / files.REQUESTS, REQUESTS_SCHEMA, _ADDED)
    threads = read_table(folder / files.THREADS, THREADS_SCHEMA)
    for column, missing in _ADDED.items():
        if column not in requests:  # a run of an older version
            requests[column] = missing
    requests = requests.assign(
        prompt_tokens=requests["prompt_tokens"].astype("Int64"),
        shared_tokens=requests["shared_tokens"].astype("Int64"),
        repeat=requests["repeat"].eq(True),
    )
    memory_path = folder / files.MEMORY
    memory = read_table(memory_path, MEMORY_SCHEMA) if memory_path.exists() else _NO_MEMORY
    phase = Phase(record=record, requests=requests, threads=threads, memory=memory, folder=folder)
    schedstat = folder / files.SCHEDSTAT
    if not schedstat.exists():
        return phase
    return replace(phase, schedstat=read_table(schedstat, SCHEDSTAT_SCHEMA))


_ADDED: Mapping[str, Any] = {
    "prompt_tokens": pd.NA,
    "shared_tokens": pd.NA,
    "repeat": False,
}  # columns that old runs lack
_NO_MEMORY = MEMORY_SCHEMA.empty_table().to_pandas()


def read_table(path: Path, schema: pa.Schema, optional: Collection[str] = ()) -> pd.DataFrame:
    """The table with the columns of the schema, but those ``optional`` ones that the file lacks."""
    try:
        read = pq.read_table(path)
        lacking = [name for name in schema.names if name not in read.column_names and name not in optional]
        if lacking:
            raise ValueError(
                f"no column {', '.join(lacking)}: of another version of the kit, or no such table"
            )
        fields = [field for field in schema if field.name in read.column_names]
        table: pd.DataFrame = (
            read.select([field.name for field in fields]).cast(pa.schema(fields)).to_pandas()
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError, pa.ArrowException) as error:
        raise RunFolderError(f"{path}: cannot be read as a table: {error}") from error
    return table


def read_log(path: Path) -> pd.DataFrame:
    """The server's log, one row per line: ``time_ns`` when the kit read the line, ``text``.

    Lines without the kit's time stamp (the kit did not launch the server) have time 0.
    """
    rows = []
    if path.exists():
        # Not splitlines: a line of the server may hold any other separator.
        for line in path.read_bytes().decode(errors="replace").removesuffix("\n").split("\n"):
            match = LOG_LINE.match(line)
            if match:
                rows.append((int(match[1]) * 10**9 + int(match[2]) * 1000, match[3]))
            else:
                rows.append((0, line))
    return pd.DataFrame(rows, columns=["time_ns", "text"]).astype({"time_ns": "int64", "text": "object"})
