"""What the integration tests need: the real server's interpreter, permission to trace, a finished run.

On a machine that lacks something, the tests that need it are skipped with the reason; in CI they fail.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoreprof_nb.capture import pyspy
from scoreprof_nb.parameters.schema import ParameterError
from tests.support.browser import chromium_path
from tests.support.executed_report import executed_report
from tests.support.paths import ROOT
from tests.support.server_runs import Finished, lacking, run_in

# Programs that one server compiled, and all later ones load. They count as compiled in the server's log.
JAX_CACHE = ROOT / "build" / "jax-cache"


@pytest.fixture(scope="session", autouse=True)
def shared_jax_cache() -> Iterator[None]:
    """Let the servers of all tests share JAX's cache of compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(JAX_CACHE))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="session")
def server_python() -> str:
    """The interpreter that has sglang-jax."""
    python = os.environ.get("SCOREPROF_SERVER_PYTHON", "")
    if not python or not Path(python).exists():
        lacking("no $SCOREPROF_SERVER_PYTHON: run `make test`")
    return python


@pytest.fixture(scope="session")
def may_trace() -> None:
    """Require permission to trace processes with py-spy."""
    try:
        pyspy.check_may_trace()
    except ParameterError as error:
        lacking(str(error))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Finished]:
    """A function that runs the profiling notebook with parameters, in the test's own folder."""

    def call(environment: dict[str, str] | None = None, **parameters: object) -> Finished:
        return run_in(tmp_path, environment, **parameters)

    return call


@pytest.fixture(scope="session")
def demo(server_python: str, may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of the main job with the real server and all phases, for all tests that look at its results."""
    return run_in(tmp_path_factory.mktemp("demo"), phase_s=8, warmup_s=30, label="demo run")


@pytest.fixture(scope="session")
def synthetic_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html of a synthetic run, for the tests that open it in a browser."""
    chromium_path()
    return executed_report(tmp_path_factory.mktemp("browser") / "run")
