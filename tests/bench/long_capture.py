"""The memory of the kit and of the server over a long phase, minute by minute.

python -m tests.bench.long_capture RUN_DIR SECONDS        captures; a process of its own, whose memory is read
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean

import numpy as np
import psutil

from scoreprof_nb.capture.session import capture
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import PhaseRecord
from scoreprof_nb.run_folder.store import load_phase

MINUTES = float(os.environ.get("LONG_MINUTES", "6"))
PHASE = "single"
STEP_S, MINUTE_S, MB = 2.0, 60.0, 1e6
LAUNCHER = "launcher.py"
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
    return written(phase.record, len(phase.requests), size, samples)


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


def written(
    record: PhaseRecord, requests: int, size: int, samples: Sequence[tuple[float, dict[str, float]]]
) -> str:
    start_s, stop_s = record.blocks[0].start_s, record.blocks[-1].stop_s
    inside = [(at_s - start_s, resident) for at_s, resident in samples if start_s <= at_s <= stop_s]
    rows = []
    for minute in range(int((stop_s - start_s) / MINUTE_S)):
        of_minute = [r for at_s, r in inside if minute <= at_s / MINUTE_S < minute + 1]
        mean = {name: fmean(one.get(name, 0.0) for one in of_minute) for name in (KIT, SERVER, SAMPLER)}
        rows.append({"minute": str(minute + 1), **{f"{name}, MB": f"{mb:.0f}" for name, mb in mean.items()}})
    rate_hz = next(block.recording.rate_hz for block in record.blocks if block.recording is not None)
    longest_s = max(block.wall_s for block in record.blocks)
    kit = slope_mb_per_hour(inside, KIT)
    lines = [
        f"One phase of {(stop_s - start_s) / MINUTE_S:.0f} minutes: {requests:,} requests, py-spy at {rate_hz} Hz in "
        f"every other block. Its {len(record.blocks)} blocks of at most {longest_s:.0f} s were each on disk when they "
        f"ended; a capture that is killed loses the one that it measures. The phase takes {size / MB:.0f} MB on disk. "
        f"Over its second half the kit grows by {kit:+.0f} MB per hour.",
        "",
        "Resident memory, mean of each minute; the server's with the pages that its processes share counted for each:",
        "",
        *markdown_table(rows),
    ]
    return "\n".join(lines)


def slope_mb_per_hour(samples: Sequence[tuple[float, dict[str, float]]], name: str) -> float:
    later = samples[len(samples) // 2 :]
    at_s, mb = zip(*((at_s, resident.get(name, 0.0)) for at_s, resident in later), strict=True)
    return float(np.polyfit(at_s, mb, 1)[0]) * 3600


def main(run_dir: str, seconds: str) -> None:
    parameters = Parameters(
        run_dir=run_dir, phases=PHASE, phase_s=float(seconds), device_trace_s=0.0, prefix_cache="cold"
    )
    result = capture(parameters, lambda text: None)
    if result.failure is not None:
        sys.exit(result.failure)


if __name__ == "__main__":
    main(*sys.argv[1:])
