"""A run folder on disk: its paths, its JSON files, and phases that appear only when they are whole.

A phase counts as done when its ``phase.json`` exists: that file is written last, so whatever it names
is complete. Importing this module is cheap; the tables are read and written by ``store``.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from scoreprof_nb.run_folder import files, seal
from scoreprof_nb.run_folder.plain_text import plain_json
from scoreprof_nb.run_folder.records import SCHEMA_VERSION, LogSeal, Manifest, RunFolderError


class FolderInUse(RunFolderError):
    """Another capture writes into the run folder."""


class RunFolder:
    """The paths in a run folder, and the only code that writes its JSON files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest_path(self) -> Path:
        return self.path / files.MANIFEST

    @property
    def log_path(self) -> Path:
        return self.path / files.SERVER_LOG

    @property
    def phases_path(self) -> Path:
        return self.path / files.PHASES

    def phase_path(self, name: str) -> Path:
        return self.phases_path / files.phase_folder(name)

    def has_manifest(self) -> bool:
        return self.manifest_path.exists()

    def has_phase(self, name: str) -> bool:
        """Whether the phase is finished."""
        return (self.phase_path(name) / files.PHASE).exists()

    def has_answers(self, name: str) -> bool:
        """Whether a request of this finished phase succeeded, as far as its record says. A phase without any
        is evidence of a failure, not a measurement."""
        return read_json_if_valid(self.phase_path(name) / files.PHASE).get("answered") != 0

    def read_manifest(self) -> Manifest:
        """Raises RunFolderError if it is missing, damaged, or of another schema version."""
        raw = read_json(self.manifest_path)
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise RunFolderError(
                f"{self.manifest_path}: schema_version {raw.get('schema_version')!r}, "
                f"this kit reads {SCHEMA_VERSION}"
            )
        return parse_record(Manifest, raw, self.manifest_path)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest with the finished phases, and the checksums of their files, of the provenance
        and of the log so far."""
        done = tuple(name for name in manifest.phases if self.has_phase(name))
        sha256 = {
            str(path.relative_to(self.path)): file_sha256(path)
            for name in done
            for path in sorted(self.phase_path(name).iterdir())
        }
        provenance = self.path / files.PROVENANCE
        if provenance.exists():
            sha256[files.PROVENANCE] = file_sha256(provenance)
        record = replace(manifest, phases_done=done, sha256=sha256, server_log=log_seal(self.log_path))
        write_text(self.manifest_path, seal.sealed_json(asdict(record)))

    def damage(self, manifest: Manifest, name: str) -> str | None:
        """Which file of a finished phase is missing or differs from its checksum; None if none does."""
        folder = Path(files.PHASES, files.phase_folder(name))
        for path, expected in manifest.sha256.items():
            if Path(path).parent == folder and not is_intact(self.path / path, expected):
                return f"{self.path / path}: missing, or differs from the checksum in the manifest"
        return None

    def set_aside(self, name: str) -> Path:
        """Move the folder of a damaged phase out of the way; returns where to."""
        aside = self.phases_path / f".{files.phase_folder(name)}-damaged"
        shutil.rmtree(aside, ignore_errors=True)
        return self.phase_path(name).rename(aside)

    def read_provenance(self) -> dict[str, Any]:
        """The provenance of the last capture; empty if it is missing or cannot be read."""
        return read_json_if_valid(self.path / files.PROVENANCE)

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        write_text(self.path / files.PROVENANCE, seal.sealed_json(dict(provenance)))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other captures out of the folder, which exists; the lock ends with the process that holds it.

        Raises FolderInUse. A file system without locks, such as a mounted bucket, goes without.
        """
        lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FolderInUse(f"{self.path}: another run is being captured into it") from error
            except OSError:
                pass
            yield
        finally:
            os.close(lock)

    @contextmanager
    def staged_phase(self, name: str) -> Iterator[Path]:
        """A scratch folder that becomes the phase's folder when the block ends without an error.

        After an error it stays if it holds finished blocks.
        """
        self.phases_path.mkdir(parents=True, exist_ok=True)
        staging = self.phases_path / files.scratch_folder(name)
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        try:
            yield staging
        except BaseException:
            if not (staging / files.UNFINISHED).exists():
                shutil.rmtree(staging, ignore_errors=True)
            raise
        final = self.phase_path(name)
        if final.exists():
            shutil.rmtree(final)
        staging.rename(final)


def parse_record[Record](record: type[Record], raw: Mapping[str, Any], path: Path) -> Record:
    """The record that a JSON file holds. Raises RunFolderError naming the file and the wrong field."""
    try:
        return TypeAdapter(record).validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunFolderError(f"{path}: not a file of scoreprof-nb: {place}: {first['msg']}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, without its own checksum. Raises RunFolderError naming a missing or damaged file."""
    try:
        content = path.read_bytes()
        value = json.loads(content.decode("utf-8"))
        seal.check_seal(content)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could never be written again
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: not a JSON object")
    value.pop(seal.KEY, None)
    return value


def read_json_if_valid(path: Path) -> dict[str, Any]:
    """A JSON object; empty if it is missing or cannot be read."""
    try:
        return read_json(path)
    except RunFolderError:
        return {}


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, plain_json(text) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(scratch).replace(path)  # readable by the user only, as mkstemp made it
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def log_seal(path: Path) -> LogSeal | None:
    """The length and the checksum of a server log as it is now; None without one."""
    if not path.exists():
        return None
    size = path.stat().st_size
    return LogSeal(size, _sha256_of_start(path, size))


def log_damage_of(path: Path, expected: LogSeal | None) -> str | None:
    """Why the log is not the one of the manifest, to which lines may have been added; None if it is.

    A log that is missing altogether is not damaged: what it would tell is not known.
    """
    if expected is None or not path.exists():
        return None
    if path.stat().st_size < expected.bytes:
        return f"{path}: is shorter than when the manifest was written: its end is missing"
    if _sha256_of_start(path, expected.bytes) != expected.sha256:
        return f"{path}: differs from the checksum in the manifest"
    return None


def _sha256_of_start(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (part := file.read(min(size, 1 << 20))):
            digest.update(part)
            size -= len(part)
    return digest.hexdigest()


def is_intact(path: Path, sha256: str) -> bool:
    """Whether a file exists and has this checksum."""
    try:
        return file_sha256(path) == sha256
    except FileNotFoundError:
        return False


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
