"""Section ``own``: what of a run's time is the kit's own, and what the same run takes when it is analysed again."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import Manifest, PhaseRecord
from scoreprof_nb.run_folder.store import load_phase
from tests.bench.commands import median_run, profile

ANALYSED_AGAIN = 3


@dataclass(frozen=True)
class Part:
    """A part of a run's wall time. ``whose``: "kit", or what the kit waits for."""

    name: str
    whose: str
    seconds: float


def measure() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch, "run")
        output = run_dir / "out.ipynb"
        started_s = time.time()
        run = median_run([profile(output, "-p", "run_dir", str(run_dir))])
        folder = RunFolder(run_dir)
        manifest = folder.read_manifest()
        records = [load_phase(folder.phase_path(name)).record for name in manifest.phases]
        parts = parts_of(manifest, records, started_s, started_s + run.wall_s)
        again = median_run([profile(output, "-p", "run_dir", str(run_dir)) for _ in range(ANALYSED_AGAIN)])
    return written(parts, len(records), (again.wall_s, again.cpu_s))


def parts_of(
    manifest: Manifest, records: Sequence[PhaseRecord], started_s: float, ended_s: float
) -> tuple[Part, ...]:
    """The parts of a run of finished phases, by its records; they add up to ``ended_s - started_s`` (epoch s).

    The load is from the first block of a phase to its last: it goes on between the blocks.
    """
    first, last = records[0], records[-1]
    warm_up = sum(record.blocks[0].start_s - record.started_s for record in records)
    load = sum(record.blocks[-1].stop_s - record.blocks[0].start_s for record in records)
    traced = sum(_traced_s(record) for record in records)
    ends = sum(record.finished_s - record.blocks[-1].stop_s for record in records) - traced
    between = sum(after.started_s - before.finished_s for before, after in pairwise(records))
    assert manifest.finished_s is not None
    return (
        Part("imports; checking parameters, model and permissions", "kit", manifest.started_s - started_s),
        Part("the server's start", "server", first.started_s - manifest.started_s),
        Part("warm-up", "server", warm_up),
        Part("load, with and without py-spy", "load", load),
        Part("device traces, and JAX writing them", "server", traced),
        Part("ends of phases, and between them: collecting and writing", "kit", ends + between),
        Part("the server's end", "server", manifest.finished_s - last.finished_s),
        Part("analysis, figures, report.html", "kit", ended_s - manifest.finished_s),
    )


def _traced_s(record: PhaseRecord) -> float:
    """From the last block until the trace is written: its requests, and the server's own work for it."""
    trace = record.device_trace
    return 0.0 if trace is None else trace.stopped_s + trace.write_s - record.blocks[-1].stop_s


def written(parts: Sequence[Part], phases: int, again_s: tuple[float, float]) -> str:
    """``again_s``: wall time and processor time of the analysis of the same run again."""
    own_s = sum(part.seconds for part in parts if part.whose == "kit")
    whole_s = sum(part.seconds for part in parts)
    rows = [{"part": part.name, "whose": part.whose, "wall s": f"{part.seconds:.1f}"} for part in parts]
    text = (
        f"The demo, `make report` with {phases} phases, by the times in its own records: of {whole_s:.0f} s, "
        f"**{own_s:.1f} s** are the kit's own. The rest is the server's, or the load that was asked for."
    )
    last = (
        f"The same run analysed again, with its device traces: {again_s[0]:.1f} s, of which {again_s[1]:.1f} s of "
        f"processor time in all processes; medians of {ANALYSED_AGAIN}."
    )
    return "\n".join([text, "", *markdown_table(rows), "", last])
