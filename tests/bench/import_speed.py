"""Section ``import``: reading and classifying a recording, beside other readers of the same file."""

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.report.markdown import markdown_table
from tests.bench.recordings import RATE_HZ, write_recording
from tests.support.paths import ROOT

MB = 1e6
ROUNDS = 5
SAMPLES, STACKS, THREADS = 360_000, 3_000, 12
GROWTH = (90_000, 180_000, 360_000, 720_000)
HOUR_S = 3600
READERS = {
    "kit": "this kit: read and classify",
    "orjson": "orjson.loads",
    "json": "json.loads",
}


@dataclass(frozen=True)
class Cost:
    """The median of several readings, each in a process of its own."""

    cpu_s: float
    peak_bytes: float


def read(reader: str, file: Path) -> Cost:
    """One reading. Raises RuntimeError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.read_once", reader, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{reader}: {done.stderr.strip().splitlines()[-1:]}")
    return Cost(**json.loads(done.stdout))


def in_turn(readers: list[str], file: Path, rounds: int = ROUNDS) -> dict[str, Cost]:
    """The readers one after another, again and again, so that a busy machine is busy for all of them."""
    costs: dict[str, list[Cost]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            costs[reader].append(read(reader, file))
    return {
        reader: Cost(
            statistics.median(cost.cpu_s for cost in several),
            statistics.median(cost.peak_bytes for cost in several),
        )
        for reader, several in costs.items()
    }


def measure() -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = write_recording(Path(folder) / "recording.json", samples=SAMPLES, stacks=STACKS)
        size = file.stat().st_size
        costs = in_turn(list(READERS), file)
        beside = [_row(READERS[reader], cost, costs["orjson"], size) for reader, cost in costs.items()]
        growth = [_growth_row(Path(folder), samples) for samples in GROWTH]
        hour = _hour(Path(folder))
    ratio = costs["kit"].cpu_s / costs["orjson"].cpu_s
    lines = [
        f"A recording of {size / MB:.0f} MB: {SAMPLES:,} samples of {THREADS} threads, {STACKS:,} distinct stacks. "
        f"Reading and classifying it takes **{ratio:.2f} x** the processor time of `orjson.loads`, which only parses "
        f"it, and {costs['kit'].peak_bytes / size:.1f} x its size in memory. Medians of {ROUNDS} readings each, in "
        "turn, each in a new process.",
        "",
        *markdown_table(beside),
        "",
        "Growth with the file, and an hour of a server:",
        "",
        *markdown_table([*growth, hour]),
    ]
    return "\n".join(lines)


def _row(name: str, cost: Cost, orjson: Cost, size: int) -> dict[str, str]:
    return {
        "reader": name,
        "CPU s": f"{cost.cpu_s:.2f}",
        "x orjson": f"{cost.cpu_s / orjson.cpu_s:.2f}",
        "MB at most": f"{cost.peak_bytes / MB:.0f}",
        "x file": f"{cost.peak_bytes / size:.1f}",
    }


def _growth_row(folder: Path, samples: int, name: str = "") -> dict[str, str]:
    file = write_recording(folder / "growth.json", samples=samples, stacks=STACKS)
    size, cost = file.stat().st_size, in_turn(["kit"], file, rounds=3)["kit"]
    file.unlink()
    return {
        "recording": name or f"{samples:,} samples",
        "MB": f"{size / MB:.0f}",
        "CPU s": f"{cost.cpu_s:.2f}",
        "ms per MB": f"{cost.cpu_s * 1e3 / (size / MB):.1f}",
        "MB at most": f"{cost.peak_bytes / MB:.0f}",
    }


def _hour(folder: Path) -> dict[str, str]:
    name = f"an hour, {RATE_HZ} Hz x {THREADS} threads"
    return _growth_row(folder, HOUR_S * RATE_HZ * THREADS, name)
