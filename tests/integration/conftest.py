"""What the integration tests need: the real server's interpreter, the right to trace, a finished run.

Where the machine lacks something a test is skipped with the reason, but never in CI.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scoreprof_nb.capture import pyspy
from scoreprof_nb.parameters.profile import ParameterError
from tests.support.server_runs import Finished, lacking, run_in


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


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Finished]:
    """Call the runner with parameters, in a folder of the test's own, and see that nothing is left."""

    def call(environment: dict[str, str] | None = None, **parameters: object) -> Finished:
        return run_in(tmp_path, environment, **parameters)

    return call


@pytest.fixture(scope="session")
def demo(server_python: str, may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The main job, once for all tests that look at its results: all phases, the real server."""
    return run_in(tmp_path_factory.mktemp("demo"), phase_s=8, warmup_s=30, label="demo run")
