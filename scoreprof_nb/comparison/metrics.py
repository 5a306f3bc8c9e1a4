"""The metrics of a phase that are compared, and the change of each over the pairs of runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.device import BUSY
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.analysis.statistics import percentile_floor
from scoreprof_nb.comparison.noise import Noise
from scoreprof_nb.comparison.paired import (
    NOT_KNOWN,
    Effect,
    holm,
    paired_effect,
    sign_flip_p,
    verdict,
    within_run_effect,
)

METRIC_COLUMNS = (
    *("phase", "metric", "unit", "control", "test", "ratio", "low", "high", "pairs"),
    *("p_sign_flip", "p_corrected", "detectable", "delta", "verdict"),
)
_NUMBERS = ("control", "test", "ratio", "low", "high", "p_sign_flip", "p_corrected", "detectable", "delta")
PhasePairs = tuple[list[PhaseAnalysis], list[PhaseAnalysis]]  # a phase in the runs of control and of test


@dataclass(frozen=True)
class Metric:
    """A metric of a phase of a run. ``value`` returns None when it is unknown; ``lacking`` states why."""

    name: str
    unit: str
    value: Callable[[PhaseAnalysis], float | None]
    lacking: str
    lower_is_better: bool = True


def _percentile(name: str, quantile: float) -> Metric:
    def value(phase: PhaseAnalysis) -> float | None:
        latency_ms = float(phase.latency.table.set_index("which")[f"{name}_ms"]["all"])
        return latency_ms if math.isfinite(latency_ms) else None

    return Metric(name, "ms", value, f"fewer than {percentile_floor(quantile)} requests without py-spy")


def _throughput(phase: PhaseAnalysis) -> float | None:
    return phase.latency.throughput[1] if phase.latency.throughput is not None else None


def _cpu(phase: PhaseAnalysis) -> float | None:
    return None if phase.threads.cpu.empty else float(phase.threads.cpu["cpu_ms"].sum())


def _device_busy(phase: PhaseAnalysis) -> float | None:
    """Whether the model's work changed, and not the host's."""
    work = phase.device.work
    return None if work is None else work.time.times[BUSY].mean


P50 = _percentile("p50", 0.5)
METRICS = (
    P50,
    _percentile("p90", 0.9),
    Metric("throughput", "items/s", _throughput, "no request answered without py-spy", lower_is_better=False),
    Metric("CPU per request", "ms", _cpu, "no CPU time of a block with py-spy"),
    Metric("device busy per request", "ms", _device_busy, "no device trace that can be used"),
)


def metric_changes(phases: Mapping[str, PhasePairs], delta: float, noise: Noise, seed: int) -> pd.DataFrame:
    """One row per phase and metric: METRIC_COLUMNS. The p-values are corrected over all rows together.

    The margin is ``delta``, or the noise of that metric where it is larger. A metric that any run lacks is
    not known.
    """
    keys = [(name, metric) for name in phases for metric in METRICS]
    values = [[_values(metric, side) for side in phases[name]] for name, metric in keys]
    effects = [
        _effect(metric, both[0], both[1], phases[name], seed) if all(both) else None
        for (name, metric), both in zip(keys, values, strict=True)
    ]
    corrected = holm([None if effect is None else effect.p for effect in effects])
    rows: list[dict[str, Any]] = []
    for (name, metric), both, effect, p in zip(keys, values, effects, corrected, strict=True):
        margin = max(delta, noise.get((name, metric.name), 0.0))
        row = {"phase": name, "metric": metric.name, "unit": metric.unit, "delta": margin}
        if effect is None:
            rows.append({**row, "pairs": len(phases[name][0]), "verdict": NOT_KNOWN})
            continue
        rows.append(
            {
                **row,
                "control": float(np.mean(both[0])),
                "test": float(np.mean(both[1])),
                "ratio": effect.ratio,
                "low": effect.low,
                "high": effect.high,
                "pairs": effect.pairs,
                "p_sign_flip": sign_flip_p(*both),
                "p_corrected": p,
                "detectable": effect.minimum_detectable_effect,
                "verdict": verdict(effect, p, margin, metric.lower_is_better),
            }
        )
    table = pd.DataFrame(rows, columns=list(METRIC_COLUMNS))
    return table.astype(dict.fromkeys(_NUMBERS, float))


def unknown_metrics(phases: Mapping[str, PhasePairs]) -> list[str]:
    """A sentence for each metric of a phase that is not known: in how many runs, and why."""
    sentences = []
    for name, (before, after) in phases.items():
        for metric in METRICS:
            lacking = sum(not _known(metric.value(phase)) for phase in (*before, *after))
            if lacking:
                runs = f"{lacking} of {len(before) + len(after)} runs have none"
                sentences.append(f"{metric.name} of phase {name} is not known: {runs} ({metric.lacking})")
    return sentences


def _known(value: float | None) -> bool:
    """Whether a ratio can be made of it."""
    return value is not None and value > 0


def _values(metric: Metric, side: Sequence[PhaseAnalysis]) -> list[float]:
    """The metric of each run; empty when a run lacks it."""
    values = [metric.value(phase) for phase in side]
    known = [value for value in values if value is not None and _known(value)]
    return known if len(known) == len(values) else []


def _effect(
    metric: Metric, left: Sequence[float], right: Sequence[float], sides: PhasePairs, seed: int
) -> Effect:
    """The effect over pairs. With one run per side only p50 has an interval, of the variation within the
    runs."""
    if len(left) == 1 and metric is P50:
        control, test = (side[0].requests.plain()["latency_ms"].to_numpy(dtype=np.float64) for side in sides)
        return within_run_effect(control, test, seed)
    return paired_effect(left, right)
