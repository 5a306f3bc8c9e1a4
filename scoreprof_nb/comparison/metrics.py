"""The metrics of a phase that are compared, and the change of each over the pairs of runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Floats, Units
from scoreprof_nb.analysis.device import BUSY
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.analysis.statistics import percentile_floor
from scoreprof_nb.comparison.claims import INSUFFICIENT, NOT_KNOWN, Judged, judge, log_margin, moments
from scoreprof_nb.comparison.paired import (
    Effect,
    Sample,
    log_ratios,
    paired_effect,
    suggested,
    within_run_effect,
)
from scoreprof_nb.comparison.power import pairs_for, smallest_detectable_change
from scoreprof_nb.parameters.compare import FEWEST_PAIRS

HEADLINE, BESIDE = "headline", "beside"  # the roles of a metric: two families of claims
METRIC_COLUMNS = (
    *(
        "phase",
        "metric",
        "role",
        "unit",
        "lower_is_better",
        "control",
        "test",
        "ratio",
        "low",
        "high",
        "hodges_lehmann",
    ),
    *("pairs", "agreeing", "p", "detectable", "pairs_needed", "launch_noise", "delta", "not_worse"),
    "verdict",
)
_NUMBERS = (
    *("control", "test", "ratio", "low", "high", "hodges_lehmann", "p", "detectable", "pairs_needed"),
    *("launch_noise", "delta"),
)
PhasePairs = tuple[list[PhaseAnalysis], list[PhaseAnalysis]]  # a phase in the runs of control and of test


@dataclass(frozen=True)
class Metric:
    """A metric of a phase of a run. ``value`` returns None when it is unknown; ``lacking`` states why."""

    name: str
    unit: str
    value: Callable[[PhaseAnalysis], float | None]
    lacking: str
    lower_is_better: bool = True
    kind: str | None = None

    @property
    def role(self) -> str:
        """The mean of a kind of request is the headline."""
        return BESIDE if self.kind is None else HEADLINE


def latencies_ms(phase: PhaseAnalysis, kind: str) -> Sample:
    """The latencies of one kind of request without py-spy and without a compile, in the order of sending."""
    plain = phase.requests.plain()
    chosen = plain[(plain["kind"] == kind) & ~plain["compile_hit"].fillna(False).astype(bool)]
    return chosen["latency_ms"].to_numpy(dtype=np.float64), Units.of_requests(chosen)


def kinds_of(sides: PhasePairs) -> tuple[str, ...]:
    """The kinds of requests that any run of a phase sent."""
    tables = [phase.requests.table for side in sides for phase in side]
    return tuple(dict.fromkeys(str(kind) for table in tables for kind in table["kind"]))


def headline_metrics(sides: PhasePairs) -> list[Metric]:
    """The mean latency of each kind of request of a phase."""
    kinds = kinds_of(sides)
    return [_mean("mean" if len(kinds) == 1 else f"mean of {kind}", kind) for kind in kinds]


def _mean(name: str, kind: str) -> Metric:
    def value(phase: PhaseAnalysis) -> float | None:
        latencies, _ = latencies_ms(phase, kind)
        return float(latencies.mean()) if len(latencies) else None

    return Metric(name, "ms", value, "no request without py-spy and without a compile", kind=kind)


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


METRICS = (
    _percentile("p50", 0.5),
    _percentile("p90", 0.9),
    Metric("throughput", "items/s", _throughput, "no request answered without py-spy", lower_is_better=False),
    Metric("CPU per request", "ms", _cpu, "no CPU time of a block with py-spy"),
    Metric("device busy per request", "ms", _device_busy, "no device trace that can be used"),
)


@dataclass(frozen=True)
class _Row:
    """A metric of a phase with its value in each run; ``effect``: None when a run lacks it."""

    phase: str
    metric: Metric
    control: Floats
    test: Floats
    effect: Effect | None


def metric_changes(phases: Mapping[str, PhasePairs], delta: float, level: float) -> pd.DataFrame:
    """One row per phase and metric: METRIC_COLUMNS, the headlines of a phase first.

    ``delta``: the margin, relative. ``level``: the error that this look at the comparison may spend. A metric
    that any run lacks is not known.
    """
    rows = [
        _row(name, metric, sides)
        for name, sides in phases.items()
        for metric in (*headline_metrics(sides), *METRICS)
    ]
    table = pd.DataFrame(_with_verdicts(rows, delta, level), columns=list(METRIC_COLUMNS))
    return table.astype(dict.fromkeys(_NUMBERS, float))


def _row(name: str, metric: Metric, sides: PhasePairs) -> _Row:
    control, test = (_values(metric, side) for side in sides)
    effect = None
    if len(control) and len(test):
        logs = log_ratios(control, test)
        if len(logs) == 1 and metric.kind is not None:
            before, after = (latencies_ms(side[0], metric.kind) for side in sides)
            effect = within_run_effect(before, after)
        else:
            effect = paired_effect(logs)
    return _Row(name, metric, control, test, effect)


def _with_verdicts(rows: Sequence[_Row], delta: float, level: float) -> list[dict[str, Any]]:
    """The columns of each row. Each role is a family of claims."""
    verdicts: dict[int, tuple[str, float, bool]] = {}
    members: dict[str, int] = {}
    for role in (HEADLINE, BESIDE):
        family = [row for row in rows if row.metric.role == role and _can_be_judged(row)]
        members[role] = max(len(family), 1)
        if family:
            judged = _judge(family, delta, level)
            for row, word, p, fine in zip(family, judged.verdict, judged.p, judged.not_worse, strict=True):
                verdicts[id(row)] = str(word), float(p), bool(fine)
    return [
        _columns(
            row,
            delta,
            level / members[row.metric.role],
            verdicts.get(id(row), (_without_claim(row, delta), math.nan, False)),
        )
        for row in rows
    ]


def _can_be_judged(row: _Row) -> bool:
    return row.effect is not None and row.effect.pairs >= FEWEST_PAIRS


def _judge(family: Sequence[_Row], delta: float, level: float) -> Judged:
    logs = np.array([log_ratios(row.control, row.test) for row in family])
    lower_is_better = np.array([row.metric.lower_is_better for row in family])
    return judge(moments(logs), log_margin(delta), level, lower_is_better)


def _without_claim(row: _Row, delta: float) -> str:
    """The verdict on a row with too few pairs for a claim."""
    if row.effect is None:
        return NOT_KNOWN
    return suggested(row.effect, delta) if row.effect.pairs == 1 else INSUFFICIENT


def _columns(row: _Row, delta: float, level: float, verdict: tuple[str, float, bool]) -> dict[str, Any]:
    metric, effect = row.metric, row.effect
    word, p, not_worse = verdict
    columns: dict[str, Any] = {
        **{"phase": row.phase, "metric": metric.name, "role": metric.role, "unit": metric.unit},
        "lower_is_better": metric.lower_is_better,
        **{"delta": delta, "verdict": word, "p": p, "not_worse": not_worse, "pairs": 0, "agreeing": 0},
    }
    if effect is None:
        return columns
    known = math.isfinite(effect.spread)
    return {
        **columns,
        "control": float(np.mean(row.control)),
        "test": float(np.mean(row.test)),
        "ratio": effect.ratio,
        "low": effect.low,
        "high": effect.high,
        "hodges_lehmann": effect.hodges_lehmann,
        "pairs": effect.pairs,
        "agreeing": effect.agreeing,
        "launch_noise": effect.spread / math.sqrt(2),
        "detectable": smallest_detectable_change(effect.spread, effect.pairs, level, delta)
        if known
        else math.nan,
        "pairs_needed": pairs_for(effect.spread, level, delta) if known else None,
    }


def unknown_metrics(phases: Mapping[str, PhasePairs]) -> list[str]:
    """A sentence for each metric of a phase that is not known: in how many runs, and why."""
    sentences = []
    for name, sides in phases.items():
        runs = [*sides[0], *sides[1]]
        for metric in (*headline_metrics(sides), *METRICS):
            lacking = sum(not _known(metric.value(phase)) for phase in runs)
            if lacking:
                share = f"{lacking} of {len(runs)} runs have none"
                sentences.append(f"{metric.name} of phase {name} is not known: {share} ({metric.lacking})")
    return sentences


def _known(value: float | None) -> bool:
    """Whether a ratio can be made of it."""
    return value is not None and value > 0


def _values(metric: Metric, side: Sequence[PhaseAnalysis]) -> Floats:
    """The metric of each run; empty when a run lacks it."""
    values = [metric.value(phase) for phase in side]
    known = [value for value in values if value is not None and _known(value)]
    return np.array(known if len(known) == len(values) else [], dtype=np.float64)
