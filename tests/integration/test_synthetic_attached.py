"""A server whose costs are known exactly, and that the kit did not launch: the joint path is the truth too."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
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
def phases(
    may_trace: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[int, PhaseAnalysis]]:
    """By requests in flight: phases of a server that was running already, and of whose log the kit is told."""
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("attached")
    log = folder / "own.log"
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, str(SERVER), str(port)], stdout=output)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_healthy(url), "its health")
        attached = AttachedServer(url, Redactor())
        run = capture_program(
            SERVER,
            folder / "run",
            attached,
            phases="single",
            phase_s=PHASE_S,
            concurrency="1,4",
            server_url=url,
            server_log=str(log),
        )
        yield {phase.load.concurrency or 0: phase for phase in run.phases}
    finally:
        for process in psutil.Process(server.pid).children(recursive=True):  # it does not end them itself
            process.kill()
        server.kill()
        server.wait()


@pytest.mark.parametrize("in_flight", [1, 4])
def test_path_is_joint(phases: Mapping[int, PhaseAnalysis], in_flight: int) -> None:
    """Broken: an attached server gets the marginal path, which cannot show what overlaps; or none with several
    requests in flight, although its log is known."""
    phase = phases[in_flight]
    assert phase.path.method == "joint", phase.path.reason
    assert all(block.timed for block in phase.ticks.blocks)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_path_is_the_truth(phases: Mapping[int, PhaseAnalysis], in_flight: int) -> None:
    """Broken: samples are put into the moments before or after, and stages take each other's time."""
    phase = phases[in_flight]
    path = phase.path.as_mapping()
    for stage, truth in STAGES.items():
        mean, low, high = path[stage]
        assert mean >= truth - WIDE * (mean - low), (stage, truth, path[stage])
        assert mean <= (1 + BUSY) * truth + WIDE * (high - mean), (stage, truth, path[stage])
    latency = float(phase.path.table["latency_ms"].iloc[0])
    queued = sum(mean for mean, _, _ in phase.path.queued_mapping().values())
    assert (queued > 0) == (in_flight > 1)
    elsewhere = latency - queued - sum(path[stage][0] for stage in STAGES)
    assert elsewhere <= MOST_ELSEWHERE * latency, path
