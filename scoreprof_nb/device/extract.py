"""Read one of JAX's traces with ``jax.profiler.ProfileData`` and write its events as parquet.

    python -m scoreprof_nb.device.extract [TRACE FOLDER]...

A process of its own, because the reader is native code that is given a file from outside, and because nothing
else in the kit needs JAX. It writes three tables of each trace into a folder and prints ``done``, or a line
that says why the trace cannot be read.
"""

import gzip
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoreprof_nb.device.metadata import Metadata, read_metadata

MOST_BYTES = 1 << 30
EPOCH_NS = 10**18  # a start later than this, in September 2001, counts from the epoch
EVENTS, PROGRAMS, PLANES = "events.parquet", "programs.parquet", "planes.parquet"
SKIPPED = ("$", "end: ", "ThreadpoolListener::")  # Python calls; marks without a duration

EVENTS_SCHEMA = pa.schema(
    [
        ("plane", pa.string()),
        ("line", pa.int32()),  # number within the plane
        ("line_name", pa.string()),
        ("name", pa.string()),
        ("start_ns", pa.int64()),  # epoch
        ("end_ns", pa.int64()),
        ("hlo_op", pa.string()),
        ("hlo_module", pa.string()),
        ("program_id", pa.string()),
        ("run_id", pa.string()),
        ("hlo_category", pa.string()),
        ("flops", pa.float64()),
        ("bytes_accessed", pa.float64()),
    ]
)
PROGRAMS_SCHEMA = pa.schema([("program", pa.string()), ("inputs", pa.int32()), ("shapes", pa.string())])
PLANES_SCHEMA = pa.schema([("plane", pa.string()), ("stat", pa.string()), ("value", pa.string())])
_TEXTS = ("hlo_op", "hlo_module", "program_id", "run_id", "hlo_category")
_NUMBERS = ("flops", "bytes_accessed")


class UnreadableTrace(ValueError):
    """The file is not a trace that can be read; the message says why, on one line."""


def content_of(path: Path) -> bytes:
    """The trace's bytes, unpacked. Raises UnreadableTrace."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            content: bytes = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableTrace(f"cannot be read: {error}") from error
    if not content:
        raise UnreadableTrace("is empty")
    if len(content) > MOST_BYTES:
        raise UnreadableTrace(f"is larger than {MOST_BYTES >> 20} MB; use a smaller device_trace_s")
    return content


def extract(path: Path, output: Path) -> None:
    """Write the three tables of a trace. Raises UnreadableTrace."""
    content = content_of(path)
    try:
        metadata = read_metadata(content)
        data = _read(content)
    except (ValueError, RuntimeError) as error:
        raise UnreadableTrace(f"is not one of JAX's traces, or is damaged: {error}") from error
    planes = [(plane, dict(plane.stats)) for plane in data.planes]
    started = [stats["profile_start_time"] for _, stats in planes if "profile_start_time" in stats]
    if not started:
        raise UnreadableTrace("does not state when it was started: it is damaged or incomplete")
    rows = [row for plane, _ in planes for row in _rows(plane, int(started[0]), metadata)]
    programs = [
        {"program": program.name, "inputs": program.inputs, "shapes": program.shapes}
        for program in metadata.programs
    ]
    stats = [
        {"plane": plane.name, "stat": str(stat), "value": str(value)}
        for plane, values in planes
        for stat, value in values.items()
    ]
    try:
        for name, table, schema in (
            (EVENTS, rows, EVENTS_SCHEMA),
            (PROGRAMS, programs, PROGRAMS_SCHEMA),
            (PLANES, stats, PLANES_SCHEMA),
        ):
            pq.write_table(pa.Table.from_pylist(table, schema=schema), output / name)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise UnreadableTrace(f"is damaged: {error}") from error


def _read(content: bytes) -> Any:
    """The trace's ``jax.profiler.ProfileData``. It is taken from where JAX has it: JAX takes half a second to
    import, and nothing else of it is needed."""
    try:
        from jaxlib._profile_data import ProfileData
    except ImportError:
        from jax.profiler import ProfileData
    return ProfileData.from_serialized_xspace(content)


def _rows(plane: Any, started_ns: int, metadata: Metadata) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(plane.lines):
        for event in line.events:
            name = event.name
            if name.startswith(SKIPPED):
                continue
            start_ns, duration_ns = int(event.start_ns), int(event.duration_ns)
            if duration_ns <= 0:
                continue
            if start_ns < EPOCH_NS:
                start_ns += started_ns
            stats = {**metadata.operations.get((plane.name, name), {}), **dict(event.stats)}
            row: dict[str, Any] = {
                "plane": plane.name,
                "line": number,
                "line_name": line.name,
                "name": name,
                "start_ns": start_ns,
                "end_ns": start_ns + duration_ns,
            }
            row |= {key: str(stats[key]) for key in _TEXTS if key in stats}
            row |= {key: _number(stats[key]) for key in _NUMBERS if key in stats}
            yield row


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def main(arguments: list[str]) -> None:
    """Pairs of arguments: a trace, and the folder for its tables."""
    warnings.simplefilter("ignore")  # the reader's types lack a module name
    for path, output in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            extract(Path(path), Path(output))
            print("done", flush=True)
        except UnreadableTrace as error:
            print(" ".join(str(error).split()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
