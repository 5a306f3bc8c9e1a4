"""Runs of the real notebook runner, for the integration tests: called, waited for, and cleaned up after."""

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
    """Skip on a user's machine, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {reason}")
    pytest.skip(reason)


def arguments(folder: Path, **parameters: object) -> list[str]:
    """The runner's command for a run in the folder."""
    command = [sys.executable, "-m", "scoreprof_nb", str(PROFILE_NOTEBOOK), str(folder / "out.ipynb")]
    for name, value in {"run_dir": folder / "run", **parameters}.items():
        command += ["-p", name, str(value)]
    return command


def run_in(folder: Path, environment: dict[str, str] | None = None, **parameters: object) -> Finished:
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
    """The processes that still run in a test's folder: all that the kit starts have their cwd there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(f"{process.pid} {process.name()} {' '.join(process.cmdline())[:100]}")
    return found
