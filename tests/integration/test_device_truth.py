"""The device's side of a request in the real server: known work of the model, and a known cost on the host."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb import demo
from scoreprof_nb.analysis.dependence import Units, half_width
from scoreprof_nb.analysis.device import BUSY, IDLE
from scoreprof_nb.analysis.device_phase import DeviceWork
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, analyse
from scoreprof_nb.capture.session import capture
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.store import load_run
from tests.truth.truth import INJECT

pytestmark = [pytest.mark.server, pytest.mark.slow]
SPIN_MS = 10.0
SPIN = "sgl_jax.srt.managers.scheduler:Scheduler.handle_generate_request:spin:10:every_second"
MAKE = "import sys; sys.path.insert(0, sys.argv[1]); import tiny_model; from pathlib import Path; \
tiny_model.LAYERS = int(sys.argv[3]); tiny_model.write_model(Path(sys.argv[2]))"

Measure = Callable[[int], tuple[PhaseAnalysis, Path]]


@pytest.fixture(scope="module")
def measured(server_python: str, tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """A function that traces a model with some layers; every second request has a spin on the host."""
    folder = tmp_path_factory.mktemp("device")

    @cache
    def of(layers: int) -> tuple[PhaseAnalysis, Path]:
        model, run, calls = (folder / f"{name}-{layers}" for name in ("model", "run", "calls"))
        command = [server_python, "-c", MAKE, str(demo.TINY_MODEL.parent), str(model), str(layers)]
        subprocess.run(command, check=True, timeout=120)
        parameters = Parameters.from_mapping(
            {
                "run_dir": str(run),
                "model_path": str(model),
                "server_python": server_python,
                "server_flags": " ".join([*demo.FLAGS, demo.NO_PRECOMPILE["0.0.2"]]),
                "server_environment": (
                    f"PYTHONPATH={INJECT} SCOREPROF_INJECT={SPIN} SCOREPROF_INJECT_CALLS={calls}"
                ),
                "phases": "single",
                "phase_s": 2,
                "warmup_s": 30,
                "py_spy_mode": "off",
            }
        )
        result = capture(parameters, lambda text: None)
        assert result.failure is None
        return analyse(load_run(run), load_rules()).phases[0], calls

    return of


def work_of(measured: Measure, layers: int) -> DeviceWork:
    work = measured(layers)[0].device.work
    assert work is not None, measured(layers)[0].device.reason
    return work


def test_more_layers_are_more_device_time_and_no_more_host_time(measured: Measure) -> None:
    """Broken: a model's cost is taken for the host's, or is not seen at all."""
    times = {layers: work_of(measured, layers).time.times for layers in (1, 2, 4)}
    assert times[1][BUSY].mean < times[2][BUSY].mean < times[4][BUSY].mean
    assert times[4][BUSY].low > times[1][BUSY].high
    grown = times[4][BUSY].mean - times[1][BUSY].mean
    assert times[4][IDLE].low - times[1][IDLE].high < 0.2 * grown


def test_busy_is_within_the_request(measured: Measure) -> None:
    """Broken: work of several threads is added up, so that the device is busy for more than the request."""
    for layers in (1, 2, 4):
        windows = work_of(measured, layers).time.windows
        assert len(windows) >= 20
        assert (windows[BUSY] <= windows["wall"] + 1e-6).all()
        assert (windows[BUSY] > 0).all()
        assert (windows[BUSY] + windows[IDLE]).to_numpy() == pytest.approx(windows["wall"].to_numpy())


def test_a_cost_on_the_host_is_idle_time_of_the_device(measured: Measure) -> None:
    """Broken: the verdict blames the device for what the host does.

    Requests with and without the spin alternate, so each pair of neighbours gives a difference.
    """
    phase, calls_path = measured(1)
    assert phase.device.work is not None
    windows = phase.device.work.time.windows
    calls = np.loadtxt(calls_path, dtype=np.int64, ndmin=2)
    in_trace = (calls[:, 0] >= windows["start_ns"].iloc[0]) & (calls[:, 0] < windows["end_ns"].iloc[-1])
    calls = calls[in_trace]
    within = np.searchsorted(windows["end_ns"], calls[:, 0])
    spun_ms = pd.Series(calls[:, 1] / 1e6).groupby(within).sum().reindex(range(len(windows))).fillna(0)
    spun = spun_ms.to_numpy() > 0
    assert (spun[1:] != spun[:-1]).all(), "the spins do not alternate"
    pairs = len(windows) // 2 * 2
    sign = np.where(spun[:pairs], 1.0, -1.0)
    unexplained = {
        BUSY: _pairs(sign * windows[BUSY].to_numpy()[:pairs]),
        IDLE: _pairs(sign * (windows[IDLE].to_numpy() - spun_ms.to_numpy())[:pairs]),
    }
    for name, differences in unexplained.items():
        mean, half = differences.mean(), _half_width(differences)
        assert abs(mean) <= 2 * half, f"{name}: {mean:.2f} +- {half:.2f} ms besides the spin"
    growth = _pairs(sign * windows[IDLE].to_numpy()[:pairs])
    assert growth.mean() + _half_width(growth) > SPIN_MS
    assert growth.mean() - 2 * _half_width(growth) > 0, "the spin is not seen"


def _pairs(signed: "np.ndarray") -> "np.ndarray":
    return np.asarray(signed.reshape(-1, 2).sum(axis=1))


def _half_width(values: "np.ndarray") -> float:
    return float(half_width(values[:, None] / len(values), Units.of_blocks([len(values)]))[0])


def test_the_decode_step_and_its_programs_are_named(measured: Measure) -> None:
    """Broken: a change of the model function's name or inputs hides the decode step."""
    work = work_of(measured, 2)
    assert set(work.programs["step"]) == {"prefill", "decode", ""}
    assert work.decode_ms is not None
    assert 0 < work.decode_ms < work.time.times[BUSY].mean
    prefills = work.programs[work.programs["step"] == "prefill"]["count"].sum()
    assert prefills == pytest.approx(1, abs=0.1)
