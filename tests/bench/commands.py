"""A command of the kit in a process of its own: its wall time and the processor time of all that it starts."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.support.paths import PROFILE_NOTEBOOK, ROOT


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_s: float
    code: int
    last_line: str


def profile(output: Path, *parameters: str) -> Run:
    """``python -m scoreprof_nb profile_score_api.ipynb OUTPUT ...``, with byte code kept as ``make`` keeps it."""
    command = [sys.executable, "-m", "scoreprof_nb", str(PROFILE_NOTEBOOK), str(output), *parameters]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    wall_s = time.monotonic() - started_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_s, cpu_s, done.returncode, (done.stdout + done.stderr).strip().rpartition("\n")[2])


def median_run(runs: Sequence[Run], code: int = 0) -> Run:
    """The medians of several runs of one command. Raises RuntimeError if one ended with another code."""
    for run in runs:
        if run.code != code:
            raise RuntimeError(f"exit code {run.code}, not {code}: {run.last_line}")
    return Run(median(run.wall_s for run in runs), median(run.cpu_s for run in runs), code, runs[0].last_line)
