"""What the integration tests need: the real server's interpreter, the right to trace, a finished run.

Where the machine lacks something a test is skipped with the reason, but never in CI.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from scoreprof_nb.capture import pyspy
from scoreprof_nb.parameters import ParameterError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "profile_score_api.ipynb"
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


@pytest.fixture(scope="session")
def server_python() -> str:
    """The interpreter that has sglang-jax."""
    python = os.environ.get("SCOREPROF_SERVER_PYTHON", "")
    if not python or not Path(python).exists():
        lacking("no $SCOREPROF_SERVER_PYTHON: run `make test`")
    return python


@pytest.fixture(scope="session")
def may_trace() -> None:
    """py-spy may trace here."""
    try:
        pyspy.check_may_trace()
    except ParameterError as error:
        lacking(str(error))


def arguments(folder: Path, **parameters: object) -> list[str]:
    """The runner's command for a run in the folder."""
    command = [sys.executable, "-m", "scoreprof_nb", str(NOTEBOOK), str(folder / "out.ipynb")]
    for name, value in {"run_dir": folder / "run", **parameters}.items():
        command += ["-p", name, str(value)]
    return command


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Finished]:
    """Call the runner with parameters, in a folder of the test's own, and see that nothing is left."""

    def call(environment: dict[str, str] | None = None, **parameters: object) -> Finished:
        return run_in(tmp_path, environment, **parameters)

    return call


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


@pytest.fixture(scope="session")
def demo(server_python: str, may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The main job, once for all tests that look at its results: all phases, the real server."""
    return run_in(tmp_path_factory.mktemp("demo"), phase_s=8, warmup_s=30, label="demo run")
