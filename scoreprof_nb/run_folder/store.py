"""The run folder: its layout, what its files say, saving and loading them.

Capture writes it, everything else only reads it, on another machine and years later. A phase
counts as done when its ``phase.json`` is there: it is written last, so what it names is complete.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 1

REQUESTS_SCHEMA = pa.schema(
    [
        ("request", pa.int32()),  # number within the phase, in the order of sending
        ("warmup", pa.bool_()),
        ("kind", pa.string()),  # single, small, large or file
        ("items", pa.int32()),
        ("payload", pa.int32()),  # number of the body: equal bodies have equal numbers
        ("worker", pa.int32()),
        ("intended_ns", pa.int64()),  # when it should have been sent, epoch nanoseconds
        ("sent_ns", pa.int64()),
        ("done_ns", pa.int64()),  # the answer's body is read completely
        ("client_cpu_ns", pa.int64()),  # CPU time of the client's thread from sent to done
        ("status", pa.int32()),  # HTTP status, 0 when there was no answer
        ("error", pa.string()),  # kind of failure, null when it succeeded
        ("scores", pa.list_(pa.list_(pa.float64()))),  # items x labels, null when it failed
    ]
)

THREADS_SCHEMA = pa.schema(
    [
        ("block", pa.int32()),
        ("pid", pa.int32()),
        ("tid", pa.int32()),  # OS thread id
        ("name", pa.string()),  # the kernel's name of the thread (15 characters)
        ("cpu_before_s", pa.float64()),  # null: the thread was not there yet
        ("cpu_after_s", pa.float64()),  # null: the thread had ended
        ("runnable_before_s", pa.float64()),  # time spent waiting for a CPU, null if unknown
        ("runnable_after_s", pa.float64()),
    ]
)


class RunFolderError(ValueError):
    """A run folder that cannot be read as one; the message names the file."""


@dataclass(frozen=True)
class Recording:
    """What py-spy said of one recording. Times are epoch seconds of this machine's clock."""

    file: str | None
    started_s: float  # py-spy said that it samples
    stopped_s: float  # it was asked to stop
    rate_hz: int
    samples: int | None = None  # thread stacks, all threads together, as py-spy counts them
    errors: int | None = None  # (process, tick) pairs that could not be read
    behind_s: float = 0.0  # the most it said to be behind
    lost: tuple[tuple[float, int, int], ...] = ()  # (epoch seconds, pid, tid or 0) of each error
    failure: str | None = None  # why there is no file


@dataclass(frozen=True)
class Block:
    """A stretch of a phase, with py-spy on when there is a recording.

    Its requests are those that are sent until ``until_s`` (``stop_s`` when None) and answered until
    ``stop_s``: what was in flight when its time was up belongs to it, what other clients sent while it
    waited for that does not, as only the quickest would.
    """

    number: int
    start_s: float
    stop_s: float
    recording: Recording | None = None
    until_s: float | None = None

    @property
    def plain(self) -> bool:
        """Whether py-spy was off."""
        return self.recording is None

    @property
    def profiled(self) -> bool:
        """Whether py-spy recorded it. A block in which it failed is neither plain nor profiled."""
        return self.recording is not None and self.recording.failure is None

    @property
    def wall_s(self) -> float:
        return self.stop_s - self.start_s


@dataclass(frozen=True)
class Warmup:
    """How the warm-up of a phase went; ``ended`` says in words why it was enough, or was not."""

    requests: int
    wall_s: float
    compiles: int | None  # None: no server log, so not known
    warm: bool
    ended: str


@dataclass(frozen=True)
class ServerProcess:
    """One process of the server. ``command`` has its secrets redacted."""

    pid: int
    parent: int
    command: str


@dataclass(frozen=True)
class PhaseRecord:
    """phase.json: one finished phase."""

    name: str
    started_s: float
    finished_s: float
    warmup: Warmup
    blocks: tuple[Block, ...]
    processes: tuple[ServerProcess, ...]
    notes: tuple[str, ...] = ()
    workload: str | None = None  # the bodies that were to be sent: how many, their sizes, their checksum


@dataclass(frozen=True)
class Manifest:
    """manifest.json. ``status``: capturing, complete, partial or failed; ``failure`` says why."""

    run_id: str
    label: str
    parameters: Mapping[str, Any]
    phases: tuple[str, ...]  # asked for, in order
    started_s: float
    finished_s: float | None = None
    status: str = "capturing"
    failure: str | None = None
    phases_done: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Phase:
    """A finished phase as loaded. ``requests`` and ``threads`` have the columns of the schemas."""

    record: PhaseRecord
    requests: pd.DataFrame
    threads: pd.DataFrame
    folder: Path

    @property
    def name(self) -> str:
        return self.record.name

    def recording_paths(self) -> Iterator[tuple[Block, Path]]:
        """The blocks that have a recording, each with its file."""
        for block in self.record.blocks:
            if block.recording is not None and block.recording.file is not None:
                yield block, self.folder / block.recording.file


@dataclass(frozen=True)
class Run:
    """A run folder as loaded. ``log``: columns ``time_ns`` (int64, epoch) and ``text``."""

    folder: Path
    manifest: Manifest
    provenance: Mapping[str, Any]
    phases: Mapping[str, Phase]
    log: pd.DataFrame


class RunFolder:
    """Paths in a run folder, and the only code that writes its JSON files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def log_path(self) -> Path:
        return self.path / "server.log"

    def phase_path(self, name: str) -> Path:
        return self.path / "phases" / name

    def has_manifest(self) -> bool:
        return self.manifest_path.exists()

    def read_manifest(self) -> Manifest:
        """Raises RunFolderError when it is not there, not JSON, or of another schema version."""
        raw = _read_json(self.manifest_path)
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise RunFolderError(
                f"{self.manifest_path}: schema_version {raw.get('schema_version')!r}, "
                f"this kit reads {SCHEMA_VERSION}"
            )
        try:
            manifest = Manifest(
                **{**raw, "phases": tuple(raw["phases"]), "phases_done": tuple(raw["phases_done"])}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self.manifest_path}: not a manifest of this kit: {error}") from error
        wrong = _wrong_manifest(manifest)
        if wrong:
            raise RunFolderError(f"{self.manifest_path}: not a manifest of this kit: {wrong}")
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Write it with the phases that are done and the checksums of their files."""
        done = tuple(name for name in manifest.phases if (self.phase_path(name) / "phase.json").exists())
        sha256 = {
            str(path.relative_to(self.path)): file_sha256(path)
            for name in done
            for path in sorted(self.phase_path(name).iterdir())
        }
        write_json(self.manifest_path, asdict(replace(manifest, phases_done=done, sha256=sha256)))

    def read_provenance(self) -> dict[str, Any]:
        """Of the last capture; empty when there is none that can be read."""
        try:
            found = json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        write_json(self.path / "provenance.json", provenance)

    @contextmanager
    def staged_phase(self, name: str) -> Iterator[Path]:
        """A scratch folder that becomes the phase's folder when the block ends without an error."""
        phases = self.path / "phases"
        phases.mkdir(parents=True, exist_ok=True)
        for stale in phases.glob(".*-unfinished"):
            shutil.rmtree(stale)
        staging = phases / f".{name}-unfinished"
        staging.mkdir()
        try:
            yield staging
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        final = self.phase_path(name)
        if final.exists():
            shutil.rmtree(final)
        staging.rename(final)


def write_phase(
    folder: Path, record: PhaseRecord, requests: list[dict[str, Any]], threads: list[dict[str, Any]]
) -> None:
    """Write a phase's tables, and phase.json last."""
    pq.write_table(pa.Table.from_pylist(requests, schema=REQUESTS_SCHEMA), folder / "requests.parquet")
    pq.write_table(pa.Table.from_pylist(threads, schema=THREADS_SCHEMA), folder / "threads.parquet")
    write_json(folder / "phase.json", asdict(record))


def load_run(path: Path) -> Run:
    """Load a run folder; raises RunFolderError naming the file that is missing or damaged."""
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    phases = {
        name: load_phase(folder.phase_path(name))
        for name in manifest.phases
        if (folder.phase_path(name) / "phase.json").exists()
    }
    for name, expected in manifest.sha256.items():
        if not (path / name).exists():
            raise RunFolderError(f"{path / name}: named in the manifest, but missing")
        if file_sha256(path / name) != expected:
            raise RunFolderError(f"{path / name}: differs from the checksum in the manifest")
    provenance = path / "provenance.json"
    return Run(
        folder=path,
        manifest=manifest,
        provenance=_read_json(provenance) if provenance.exists() else {},
        phases=phases,
        log=read_log(folder.log_path),
    )


def load_phase(folder: Path) -> Phase:
    """Load one finished phase; raises RunFolderError."""
    raw = _read_json(folder / "phase.json")
    try:
        record = PhaseRecord(
            **{
                **raw,
                "warmup": Warmup(**raw["warmup"]),
                "blocks": tuple(_block(block) for block in raw["blocks"]),
                "processes": tuple(ServerProcess(**process) for process in raw["processes"]),
                "notes": tuple(raw["notes"]),
            }
        )
        requests = pq.read_table(folder / "requests.parquet").to_pandas()
        threads = pq.read_table(folder / "threads.parquet").to_pandas()
    except (KeyError, TypeError, ValueError, OverflowError, OSError, pa.ArrowException) as error:
        raise RunFolderError(f"{folder}: not a phase of this kit: {error}") from error
    return Phase(record=record, requests=requests, threads=threads, folder=folder)


LOG_LINE = re.compile(r"^(\d{10})\.(\d{6}) (.*)$")


def read_log(path: Path) -> pd.DataFrame:
    """The server's log, one row a line: ``time_ns`` when the kit read the line, ``text``.

    Lines without the kit's time stamp (the log of no server of ours) have the time 0.
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


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: missing") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: not a JSON object")
    return value


def _wrong_manifest(manifest: Manifest) -> str | None:
    """The first field that has not the type it must have, or None."""
    texts = (manifest.run_id, manifest.label, manifest.status, *manifest.phases, *manifest.phases_done)
    if not all(isinstance(text, str) for text in texts):
        return "run_id, label, status and phases must be texts"
    if not isinstance(manifest.parameters, dict) or not isinstance(manifest.sha256, dict):
        return "parameters and sha256 must be objects"
    if not all(isinstance(text, str) for text in manifest.sha256.values()):
        return "sha256 must hold texts"
    if not all(isinstance(at, int | float) for at in (manifest.started_s, manifest.finished_s or 0.0)):
        return "started_s and finished_s must be numbers"
    if not isinstance(manifest.failure, str | None):
        return "failure must be a text"
    return None


def _block(raw: dict[str, Any]) -> Block:
    recording = raw["recording"]
    if recording is not None:
        recording = Recording(
            **{
                **recording,
                "lost": tuple((float(at), int(pid), int(tid)) for at, pid, tid in recording["lost"]),
            }
        )
    return Block(**{**raw, "recording": recording})


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
