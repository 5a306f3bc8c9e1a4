"""What fewer ticks do to the answers: simulated phases with known truth, and a recording of the real server that is
thinned at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoreprof_nb.capture.sampling_rate import CPU_S, MOST_SHARE, sampling_rate
from scoreprof_nb.capture.session import capture
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.run_folder.store import load_run
from tests.support.simulated_phase import Case, coverage
from tests.support.thinned import recorded, thinned_path

RECORDED_HZ = 100
RATES_HZ = (100, 60, 25)
SIMULATED, THINNED = 100, 30  # repeats
LENGTHS = (1.0, 10.0)  # of the simulated requests, times 27 ms
COMPONENT = "tokenize"  # 15 % of the simulated latency
LARGE = 0.02  # of the latency: components whose intervals are looked at


@dataclass(frozen=True)
class Thinning:
    """A recording with fewer ticks, against itself: ``shift``: the largest difference of a component's mean, of the
    latency; ``covered``: how often an interval of a component holds the value with all ticks; ``wider``: the intervals,
    against those with all ticks. ``chance``: two standard errors of the shift."""

    rate_hz: int
    shift: float
    chance: float
    covered: float
    wider: float


def record(folder: Path) -> None:
    """A minute of single items, half of it recorded, unless it is there already."""
    if not folder.exists():
        capture(
            Parameters(
                run_dir=str(folder),
                phases="single",
                phase_s=60.0,
                rate_hz=str(RECORDED_HZ),
                device_trace_s=0.0,
            ),
            lambda text: None,
        )


def thinnings(folder: Path, rates_hz: Sequence[int]) -> list[Thinning]:
    """What is left of the path of a recorded run at lower rates."""
    run = load_run(folder)
    (phase,) = run.phases.values()
    blocks = recorded(phase)
    whole = thinned_path(run, phase, blocks, 1.0, np.random.default_rng(0)).as_mapping()
    latency_ms = sum(mean for mean, _, _ in whole.values())
    found = []
    for rate_hz in rates_hz:
        paths = [
            thinned_path(run, phase, blocks, rate_hz / RECORDED_HZ, np.random.default_rng(seed)).as_mapping()
            for seed in range(THINNED)
        ]
        shifts, covered, wider = [], [], []
        for name, (mean, low, high) in whole.items():
            values = np.array([path.get(name, (0.0, 0.0, 0.0)) for path in paths])
            chance = 2 * values[:, 0].std(ddof=1) / THINNED**0.5
            shifts.append((abs(values[:, 0].mean() - mean) / latency_ms, chance / latency_ms))
            if mean > LARGE * latency_ms:
                covered.append(((values[:, 1] <= mean) & (mean <= values[:, 2])).mean())
                wider.append((values[:, 2] - values[:, 1]).mean() / (high - low))
        found.append(Thinning(rate_hz, *max(shifts), float(np.mean(covered)), float(np.median(wider))))
    return found


def simulated_rows() -> list[dict[str, str]]:
    """One row per length of requests and rate: how wide an interval is, and how often it holds the truth."""
    rows = []
    for times in LENGTHS:
        for rate_hz in RATES_HZ:
            case = Case(0.3, 0.01, rate_hz=rate_hz, times=times)
            table = coverage(case, SIMULATED)
            (row,) = (table.loc[name] for name in table.index if str(name).startswith(COMPONENT))
            latency_ms = sum(case.components_ms.values())
            rows.append(
                {
                    "latency, ms": f"{latency_ms:.0f}",
                    "rate, Hz": str(rate_hz),
                    "ticks per request": f"{latency_ms * rate_hz / 1e3:.1f}",
                    "a component of 15 %": f"within {row['width'] / 2:.0%} of itself",
                    "intervals that hold the truth": f"{row['covered']:.0%}",
                }
            )
    return rows


def written(found: Sequence[Thinning]) -> str:
    """The choice of the rate, and what speaks for it."""
    automatic = ", ".join(
        f"{sampling_rate(Parameters(), cpus)} Hz with {cpus} CPU{'s' if cpus > 1 else ''}"
        for cpus in (1, 2, 3, 4)
    )
    thinned = [
        {
            "rate, Hz": str(one.rate_hz),
            "largest shift of a component": f"{one.shift:.1%} +- {one.chance:.1%} of the latency",
            "intervals that hold the value of all ticks": f"{one.covered:.0%}",
            "intervals wider by": f"x {one.wider:.2f}",
        }
        for one in found
    ]
    return "\n".join(
        [
            f"`rate_hz` auto is the largest rate, of at most {sampling_rate(Parameters(), 1e6)} Hz, at which py-spy takes "
            f"{MOST_SHARE:.0%} of the server's CPUs, with {CPU_S * 1e3:.1f} ms of a core per tick: {automatic} and more.",
            "",
            "The rate does not follow the requests' length: simulated phases of 24 s with known truth have the same "
            "intervals for short requests as for long ones, since what counts is the number of ticks in the phase. So a "
            "lower rate costs long requests as much precision as short ones.",
            "",
            *markdown_table(simulated_rows()),
            "",
            "Ticks further apart shift no component of the request path by more than "
            f"{max(one.shift for one in found):.1%} of the latency: a recording of the server at {RECORDED_HZ} Hz, of "
            "which a part of the ticks, drawn at random, is taken away.",
            "",
            *markdown_table(thinned),
        ]
    )
