"""The memory of the kit and of the server over a long phase, minute by minute.

python -m tests.bench.long_capture RUN_DIR SECONDS        captures; a process of its own, whose memory is read
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean

import psutil
from matplotlib.figure import Figure

from scoreprof_nb.capture.session import capture
from scoreprof_nb.components import palette
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.plots.layout import SMALL, new_figure, write_after
from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import PhaseRecord
from scoreprof_nb.run_folder.store import load_phase
from tests.support.paths import ROOT

MINUTES = float(os.environ.get("LONG_MINUTES", "6"))
PHASE, RATE_HZ = "single", "100"
STEP_S, MINUTE_S, MB = 2.0, 60.0, 1e6
LAUNCHER = "launcher.py"
SHOWN_MINUTES = 5  # of the table: the picture has all
STYLES = ("-", "--", ":")
PICTURE = ROOT / "docs" / "long-capture.png"
KIT, SERVER, SAMPLER = "kit", "server", "py-spy and reader"


def measure() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch, "run")
        command = [sys.executable, "-m", "tests.bench.long_capture", str(run_dir), str(MINUTES * MINUTE_S)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            samples = watch(psutil.Process(process.pid))
        if process.returncode:
            raise RuntimeError(f"the capture ended with {process.returncode}")
        folder = RunFolder(run_dir).phase_path(PHASE)
        phase = load_phase(folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
    minutes = by_minute(phase.record, samples)
    picture(minutes).savefig(PICTURE)
    return written(phase.record, len(phase.requests), size, minutes)


def watch(process: psutil.Process) -> list[tuple[float, dict[str, float]]]:
    """Epoch seconds and resident MB by part, until the process ends."""
    samples = []
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        samples.append((time.time(), resident_mb(process)))
        time.sleep(STEP_S)
    return samples


def resident_mb(capture_process: psutil.Process) -> dict[str, float]:
    """The capture's own process, the launcher with all below it, and the capture's other children."""
    resident: dict[str, float] = defaultdict(float)
    with suppress(psutil.Error):
        resident[KIT] = capture_process.memory_info().rss / MB
        for child in capture_process.children():
            with suppress(psutil.Error):
                of_server = any(word.endswith(LAUNCHER) for word in child.cmdline())
                below = child.children(recursive=True) if of_server else []
                resident[SERVER if of_server else SAMPLER] += sum(
                    one.memory_info().rss / MB for one in (child, *below)
                )
    return dict(resident)


def by_minute(
    record: PhaseRecord, samples: Sequence[tuple[float, dict[str, float]]]
) -> list[Mapping[str, float]]:
    """The mean of each whole minute of the phase, in resident MB by part."""
    start_s, stop_s = record.blocks[0].start_s, record.blocks[-1].stop_s
    minutes = []
    for minute in range(int((stop_s - start_s) / MINUTE_S)):
        of_minute = [one for at_s, one in samples if minute <= (at_s - start_s) / MINUTE_S < minute + 1]
        minutes.append(
            {name: fmean(one.get(name, 0.0) for one in of_minute) for name in (KIT, SERVER, SAMPLER)}
        )
    return minutes


def picture(minutes: Sequence[Mapping[str, float]]) -> Figure:
    """The resident memory of each part over the minutes."""
    figure = new_figure(
        f"Resident memory over a phase of {len(minutes)} minutes",
        f"resident MB, mean of each minute; pages that processes share count in each; n = {len(minutes)} minutes",
        3.2,
    )
    axes = figure.add_subplot()
    for name, colour, style in zip((SERVER, KIT, SAMPLER), palette.DEFAULT_COLOURS, STYLES, strict=False):
        values = [minute[name] for minute in minutes]
        axes.plot(range(1, len(minutes) + 1), values, color=colour, linestyle=style, linewidth=1.5)
        write_after(axes, values[-1], len(minutes), name)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, len(minutes) * 1.12)
    axes.set_xlabel("minute of the phase", fontsize=SMALL)
    axes.set_ylabel("resident memory (MB)", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["bottom"].set_bounds(0, len(minutes))
    return figure


def written(record: PhaseRecord, requests: int, size: int, minutes: Sequence[Mapping[str, float]]) -> str:
    """The section. ``size``: of the phase on disk, in bytes."""
    rows = [
        {"minute": str(number), **{f"{name}, MB": f"{mb:.0f}" for name, mb in mean.items()}}
        for number, mean in enumerate(minutes, 1)
        if number in (1, 2) or number % SHOWN_MINUTES == 0
    ]
    rate_hz = next(block.recording.rate_hz for block in record.blocks if block.recording is not None)
    longest_s = max(block.wall_s for block in record.blocks)
    settled = minutes[min(1, len(minutes) - 1)]
    lines = [
        f"One phase of {len(minutes)} minutes: {requests:,} requests, py-spy at {rate_hz} Hz in "
        f"every other block. Its {len(record.blocks)} blocks of at most {longest_s:.0f} s were each on disk when they "
        f"ended; a capture that is killed loses the one that it measures. The phase takes {size / MB:.0f} MB on disk. "
        f"From the second minute to the last, the kit's memory goes from {settled[KIT]:.0f} to {minutes[-1][KIT]:.0f} MB, "
        f"and the server's from {settled[SERVER]:,.0f} to {minutes[-1][SERVER]:,.0f} MB.",
        "",
        f"![Resident memory of the kit, the server, and py-spy with its reader]({PICTURE.name})",
        "",
        "Resident memory, mean of a minute; the server's with the pages that its processes share counted for each:",
        "",
        *markdown_table(rows),
    ]
    return "\n".join(lines)


def main(run_dir: str, seconds: str) -> None:
    parameters = Parameters(
        run_dir=run_dir, phases=PHASE, phase_s=float(seconds), rate_hz=RATE_HZ, device_trace_s=0.0
    )
    result = capture(parameters, lambda text: None)
    if result.failure is not None:
        sys.exit(result.failure)


if __name__ == "__main__":
    main(*sys.argv[1:])
