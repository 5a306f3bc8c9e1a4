"""One of JAX's traces as tables: what the device did, and what the host's threads did in JAX's runtime.

The reader runs in processes of its own (``extract``): a damaged file ends that process, not this one.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scoreprof_nb.device.events import Chip, chips, device_events, host_calls

READER = ("-m", "scoreprof_nb.device.extract")
READ_S = 120.0  # for one trace
# As ``extract`` writes them; it is not imported, so that it stays a program.
_EVENTS, _PROGRAMS, _PLANES = "events.parquet", "programs.parquet", "planes.parquet"


@dataclass(frozen=True)
class TraceTables:
    """A trace that was read. All times are epoch nanoseconds, by the clock of the server's machine.

    ``events``: what the devices did, columns of ``events.EVENT_COLUMNS``; ``calls``: what the host's threads
    did in JAX's runtime, columns of ``events.CALL_COLUMNS``; ``programs``: columns program, inputs (number of
    arrays), shapes (text).
    """

    events: pd.DataFrame
    calls: pd.DataFrame
    programs: pd.DataFrame
    chips: tuple[Chip, ...]

    def earlier_by(self, seconds: float) -> "TraceTables":
        """The same on a clock that is behind the machine's by some seconds."""
        shift_ns = round(seconds * 1e9)
        times = ("start_ns", "end_ns")
        return replace(
            self,
            events=self.events.assign(**{name: self.events[name] - shift_ns for name in times}),
            calls=self.calls.assign(**{name: self.calls[name] - shift_ns for name in times}),
        )


@dataclass(frozen=True)
class Unreadable:
    """A trace that could not be read: why, on one line."""

    reason: str


def read_traces(paths: Sequence[Path]) -> list[TraceTables | Unreadable]:
    """Read the traces (``.xplane.pb``, or packed with gzip), in order. Never raises for what is in a file.

    One process reads them all, since starting it takes a second; after a crash another one goes on with the
    next trace.
    """
    results: list[TraceTables | Unreadable] = []
    if not paths:
        return results
    with tempfile.TemporaryDirectory(prefix="scoreprof-trace-") as scratch:
        folders = [Path(scratch, str(number)) for number in range(len(paths))]
        for folder in folders:
            folder.mkdir()
        while len(results) < len(paths):
            left = list(zip(paths, folders, strict=True))[len(results) :]
            answers, ending = _run(left)
            for (path, folder), answer in zip(left, answers, strict=False):
                read = _tables(folder) if answer == "done" else None
                results.append(read or Unreadable(f"{path.name} {answer}"))
            if len(results) < len(paths):
                results.append(Unreadable(f"{paths[len(results)].name} cannot be read: {ending}"))
    return results


def _run(traces: Sequence[tuple[Path, Path]]) -> tuple[list[str], str]:
    """The reader's answers, one for each trace that it got to, and how it ended in words."""
    arguments = [str(part) for pair in traces for part in pair]
    command = [sys.executable, *READER, *arguments]
    try:
        process = subprocess.run(command, capture_output=True, timeout=READ_S * len(traces))
    except subprocess.TimeoutExpired as error:
        ending = f"the reader did not finish within {READ_S:.0f} s"
        return (error.stdout or b"").decode(errors="replace").splitlines(), ending
    last = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
    ending = ": ".join([f"the reader ended with code {process.returncode}", *last])
    return process.stdout.decode(errors="replace").splitlines(), " ".join(ending.split())


def _tables(folder: Path) -> TraceTables | None:
    with suppress(OSError, pa.ArrowException):
        events, programs, planes = (
            pq.read_table(folder / name).to_pandas() for name in (_EVENTS, _PROGRAMS, _PLANES)
        )
        return TraceTables(device_events(events), host_calls(events), programs, chips(planes))
    return None
