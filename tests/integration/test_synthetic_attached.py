"""A server whose costs are known exactly, and that the kit did not launch: the joint path is the truth too."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.capture.attached_server import AttachedServer
from scoreprof_nb.capture.server import free_port, is_healthy
from scoreprof_nb.redact import Redactor
from tests.support.paths import ROOT
from tests.support.program_runs import capture_program
from tests.support.standin import wait_until
from tests.truth.synthetic_server import STAGES

pytestmark = pytest.mark.slow
SERVER = ROOT / "tests" / "truth" / "synthetic_server.py"
PHASE_S = 16.0  # half of it with py-spy
WIDE = 2.0  # half widths of a 95 % interval: hardly ever missed
BUSY = 0.35  # of a stage: while other programs have the cores, a stage takes longer than it is to
MOST_ELSEWHERE = 0.15  # of the latency: sockets, pipes and the client


@pytest.fixture(scope="module")
def phase(may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhaseAnalysis]:
    """One request in flight at a server that was running already."""
    port = free_port()
    server = subprocess.Popen([sys.executable, str(SERVER), str(port)], stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_healthy(url), "its health")
        folder: Path = tmp_path_factory.mktemp("attached") / "run"
        attached = AttachedServer(url, Redactor())
        run = capture_program(SERVER, folder, attached, phases="single", phase_s=PHASE_S)
        yield run.phases[0]
    finally:
        for process in psutil.Process(server.pid).children(recursive=True):  # it does not end them itself
            process.kill()
        server.kill()
        server.wait()


def test_path_is_joint(phase: PhaseAnalysis) -> None:
    """Broken: an attached server gets the marginal path, which cannot show what overlaps."""
    assert phase.path.method == "joint", phase.path.reason
    assert all(block.timed for block in phase.ticks.blocks)


def test_path_is_the_truth(phase: PhaseAnalysis) -> None:
    """Broken: samples are put into the moments before or after, and stages take each other's time."""
    path = phase.path.as_mapping()
    for stage, truth in STAGES.items():
        mean, low, high = path[stage]
        assert mean >= truth - WIDE * (mean - low), (stage, truth, path[stage])
        assert mean <= (1 + BUSY) * truth + WIDE * (high - mean), (stage, truth, path[stage])
    latency = float(phase.path.table["latency_ms"].iloc[0])
    elsewhere = latency - sum(path[stage][0] for stage in STAGES)
    assert elsewhere <= MOST_ELSEWHERE * latency, path
