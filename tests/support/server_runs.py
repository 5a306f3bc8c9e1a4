"""Calls of the real notebook runner for the integration tests, with a check that no process is left."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.paths import PROFILE_NOTEBOOK

RUN_S = 600


@dataclass(frozen=True)
class Finished:
    """A finished call of the runner."""

    code: int
    output: str
    folder: Path

    @property
    def last_line(self) -> str:
        return self.output.strip().splitlines()[-1]


def lacking(reason: str) -> None:
    """Skip the test on a contributor's machine; fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {reason}")
    pytest.skip(reason)


def arguments(folder: Path, **parameters: object) -> list[str]:
    """Return the runner's command for a run in the folder."""
    command = [sys.executable, "-m", "scoreprof_nb", str(PROFILE_NOTEBOOK), str(folder / "out.ipynb")]
    for name, value in {"run_dir": folder / "run", **parameters}.items():
        command += ["-p", name, str(value)]
    return command


def assert_refused(finished: Finished, *words: str) -> None:
    """Assert exit code 42 and one line with the parameter, its value and the fix."""
    assert finished.code == 42, finished.output[-2000:]
    lines = [line for line in finished.output.splitlines() if line.startswith("scoreprof-nb: ParameterError")]
    assert len(lines) == 1, finished.output[-2000:]
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in finished.output


def run_in(folder: Path, environment: dict[str, str] | None = None, **parameters: object) -> Finished:
    """Run the profiling notebook in the folder, with ``environment`` added to the test's own."""
    answer = subprocess.run(
        arguments(folder, **parameters),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_S,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )
    assert not left_behind(folder)
    return Finished(answer.returncode, answer.stdout, folder / "run")


def left_behind(folder: Path) -> list[str]:
    """Return the processes that still run in a test's folder. All that the kit starts work there."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                processes.append(f"{process.pid} {process.name()} {' '.join(process.cmdline())[:100]}")
    return processes
