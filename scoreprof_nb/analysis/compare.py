"""Control against test: a verdict per phase and metric, and where the difference comes from."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.correctness import (
    COUNT_COLUMNS,
    SCORE_COLUMNS,
    Correctness,
    compare_counts,
    compare_scores,
    over_phases,
)
from scoreprof_nb.analysis.difference import (
    CHANGE_COLUMNS,
    FUNCTION_COLUMNS,
    STACK_COLUMNS,
    function_changes,
    path_change,
    stack_changes,
)
from scoreprof_nb.analysis.likeness import UNLIKE, likeness
from scoreprof_nb.analysis.paired import (
    IMPROVEMENT,
    MARGIN,
    NOT_KNOWN,
    Effect,
    holm,
    paired_effect,
    verdict,
    within_run_effect,
)
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis, below_each_other
from scoreprof_nb.analysis.statistics import percentile_floor

COMPONENT_MARGIN = 0.01  # of control's mean latency: a smaller change of a component is not meaningful
BLOCKED = "blocked"
METRIC_COLUMNS = (
    *("phase", "metric", "unit", "control", "test", "ratio", "low", "high", "pairs"),
    *("p_sign_flip", "p_corrected", "detectable", "delta", "verdict"),
)
COMPONENT_COLUMNS = (*CHANGE_COLUMNS, "p_corrected", "verdict")
RUN_COLUMNS = ("phase", "side", "pair", "run_id", "started_s", "p50_ms", "mean_ms", "requests")


@dataclass(frozen=True)
class Metric:
    """A number of a phase of a run; None where it is not known."""

    name: str
    unit: str
    value: Callable[[PhaseAnalysis], float | None]
    lower_is_better: bool = True


def _percentile(name: str) -> Callable[[PhaseAnalysis], float | None]:
    def value(phase: PhaseAnalysis) -> float | None:
        found: float = phase.latency.set_index("which")[f"{name}_ms"]["all"]
        return float(found) if math.isfinite(found) else None

    return value


def _throughput(phase: PhaseAnalysis) -> float | None:
    return phase.throughput[1] if phase.throughput is not None else None


def _cpu(phase: PhaseAnalysis) -> float | None:
    return None if phase.cpu.empty else float(phase.cpu["cpu_ms"].sum())


P50 = Metric("p50", "ms", _percentile("p50"))
METRICS = (
    P50,
    Metric("p90", "ms", _percentile("p90")),
    Metric("throughput", "items/s", _throughput, lower_is_better=False),
    Metric("CPU per request", "ms", _cpu),
)


@dataclass(frozen=True)
class Comparison:
    """``control`` and ``test``: the runs that were compared, those of a pair at the same place.

    ``metrics``: columns METRIC_COLUMNS; ``components``: COMPONENT_COLUMNS (request path, ms);
    ``functions``, ``stacks``: as in analysis/difference.py; ``likeness``: as in analysis/likeness.py;
    ``runs``: RUN_COLUMNS; ``left_out``: run ids without a partner, phases that only one side has, and
    phases whose p50 is not known in some run.
    """

    control: tuple[RunAnalysis, ...]
    test: tuple[RunAnalysis, ...]
    metrics: pd.DataFrame
    components: pd.DataFrame
    functions: pd.DataFrame
    stacks: pd.DataFrame
    correctness: Correctness
    likeness: pd.DataFrame
    runs: pd.DataFrame
    left_out: tuple[str, ...]

    @property
    def pairs(self) -> int:
        return len(self.control)

    @property
    def unlike(self) -> pd.DataFrame:
        """What must be the same on all runs and is not."""
        return self.likeness[self.likeness["kind"] == UNLIKE]

    @property
    def blocked(self) -> bool:
        """Whether scores or failures changed: nothing is called an improvement then."""
        return self.correctness.changed

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.metrics["phase"]))


def compare(
    control: Sequence[RunAnalysis],
    test: Sequence[RunAnalysis],
    seed: int,
    delta: float = MARGIN,
    noise: Mapping[str, float] | None = None,
    compared: Collection[str] = (),
) -> Comparison:
    """Compare runs of two sides; the n-th run of a side, by its start, is paired with the other's n-th.

    ``delta``: the smallest relative change that is meaningful; ``noise``: by phase, the change that two
    launches of the same server were measured to show, where it is larger than delta it is taken;
    ``compared``: what may differ between the sides besides the server's code and flags (``model``). Raises
    ValueError when a side has no run, or no phase is on both sides.
    """
    if not control or not test:
        raise ValueError("each side needs at least one run")
    sides = [sorted(runs, key=lambda run: run.run.manifest.started_s) for runs in (control, test)]
    pairs = min(map(len, sides))
    left_out = [f"run {run.run.manifest.run_id} has no partner" for side in sides for run in side[pairs:]]
    before, after = (tuple(side[:pairs]) for side in sides)
    complete: dict[str, tuple[list[PhaseAnalysis], list[PhaseAnalysis]]] = {}
    for name in dict.fromkeys(phase.name for run in (*before, *after) for phase in run.phases):
        left, right = (
            [phase for run in side for phase in run.phases if phase.name == name] for side in (before, after)
        )
        if len(left) == len(right) == pairs:
            complete[name] = left, right
        else:
            left_out.append(f"phase {name} is not in every run")
    if not complete:
        raise ValueError(f"no phase is in every run: {'; '.join(left_out)}")
    scores = [compare_scores(name, *both, dtype_of(before[0])) for name, both in complete.items()]
    counts = [row for name, both in complete.items() for row in compare_counts(name, *both)]
    correctness = Correctness(
        pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        over_phases(pd.DataFrame(counts, columns=list(COUNT_COLUMNS))),
    )
    blocked = correctness.changed
    margins = {name: max(delta, (noise or {}).get(name, 0.0)) for name in complete}
    functions = [function_changes(name, *both) for name, both in complete.items()]
    stacks = [stack_changes(name, *both) for name, both in complete.items()]
    return Comparison(
        control=before,
        test=after,
        metrics=_metrics(complete, margins, blocked, seed),
        components=_components(complete, blocked),
        functions=below_each_other(functions, FUNCTION_COLUMNS),
        stacks=below_each_other(stacks, STACK_COLUMNS),
        correctness=correctness,
        likeness=likeness(before, after, compared),
        runs=_runs(before, after),
        left_out=(*left_out, *_unknown(complete)),
    )


_Both = Mapping[str, tuple[list[PhaseAnalysis], list[PhaseAnalysis]]]


def _metrics(complete: _Both, margins: Mapping[str, float], blocked: bool, seed: int) -> pd.DataFrame:
    """One row per phase and metric; the p-values are corrected over all of them together.

    A metric that some run lacks has no row, but for p50: its row says that it is not known.
    """
    found = [
        (name, metric, left, right, _effect(metric, left, right, before, after, seed))
        for name, (before, after) in complete.items()
        for metric in METRICS
        if (left := _values(metric, before)) and (right := _values(metric, after))
    ]
    corrected = holm([effect.p for *_, effect in found])
    rows: list[tuple[Any, ...]] = []
    for (name, metric, left, right, effect), p in zip(found, corrected, strict=True):
        said = verdict(effect, p, margins[name], metric.lower_is_better)
        rows.append(
            (
                *(name, metric.name, metric.unit, np.mean(left), np.mean(right), effect.ratio),
                *(_nan(effect.low), _nan(effect.high), effect.pairs, _nan(effect.p_sign_flip), _nan(p)),
                *(_nan(effect.detectable), margins[name], _unless_blocked(said, blocked)),
            )
        )
    rows += [
        (name, P50.name, P50.unit, *[math.nan] * 5, len(before), *[math.nan] * 3, margins[name], NOT_KNOWN)
        for name, (before, after) in complete.items()
        if not (_values(P50, before) and _values(P50, after))
    ]
    order = list(complete)
    rows.sort(key=lambda row: order.index(row[0]))
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS))


def _unknown(complete: _Both) -> list[str]:
    return [
        f"p50 of phase {name} is not known: a run has fewer than {percentile_floor(0.5)} plain requests"
        for name, both in complete.items()
        if not all(_values(P50, side) for side in both)
    ]


def _values(metric: Metric, side: Sequence[PhaseAnalysis]) -> list[float]:
    """The metric of each run; empty when a run lacks it, or it is 0 and has no ratio."""
    values = [metric.value(phase) for phase in side]
    known = [value for value in values if value is not None and value > 0]
    return known if len(known) == len(values) else []


def _effect(
    metric: Metric,
    left: Sequence[float],
    right: Sequence[float],
    before: Sequence[PhaseAnalysis],
    after: Sequence[PhaseAnalysis],
    seed: int,
) -> Effect:
    """Over pairs of runs; with one run a side only p50 has an interval, of the variation within them."""
    if len(left) == 1 and metric.name == "p50":
        control, test = (
            side[0].requests.plain()["latency_ms"].to_numpy(dtype=np.float64) for side in (before, after)
        )
        return within_run_effect(control, test, seed)
    return paired_effect(left, right)


def _components(complete: _Both, blocked: bool) -> pd.DataFrame:
    """The change of each component, judged relative to control's mean latency."""
    changes = [path_change(name, *both) for name, both in complete.items()]
    table = below_each_other(changes, CHANGE_COLUMNS)
    latency_ms = {
        name: np.mean([phase.path.table["latency_ms"].iloc[0] for phase in before])
        for name, (before, _) in complete.items()
        if name in set(table["phase"])
    }
    corrected = holm([None if math.isnan(p) else p for p in table["p"]])
    said = []
    for row, p in zip(table.to_dict("records"), corrected, strict=True):
        ratio, low, high = (
            1 + float(row[key]) / latency_ms[row["phase"]] for key in ("change_ms", "low", "high")
        )
        pairs = len(complete[row["phase"]][0])
        said.append(_unless_blocked(verdict(Effect(ratio, low, high, pairs), p, COMPONENT_MARGIN), blocked))
    return table.assign(p_corrected=list(map(_nan, corrected)), verdict=said)[list(COMPONENT_COLUMNS)]


def _unless_blocked(said: str, blocked: bool) -> str:
    """A change that breaks what is returned is no improvement."""
    return BLOCKED if blocked and said.endswith(IMPROVEMENT) else said


def _runs(control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]) -> pd.DataFrame:
    rows = []
    for side, runs in (("control", control), ("test", test)):
        for pair, run in enumerate(runs, start=1):
            manifest = run.run.manifest
            for phase in run.phases:
                plain = phase.requests.plain()["latency_ms"]
                rows.append(
                    (
                        *(phase.name, side, pair, manifest.run_id, manifest.started_s),
                        *(float(plain.median()), float(plain.mean()), len(plain)),
                    )
                )
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def noise_of(metrics: pd.DataFrame) -> dict[str, float]:
    """By phase: the relative change of p50 that a comparison of a server with itself could not exclude.

    ``metrics``: of such a comparison, columns METRIC_COLUMNS. Phases without an interval are left out.
    """
    p50 = metrics[(metrics["metric"] == "p50") & (metrics["low"] > 0) & metrics["high"].notna()]
    return {
        str(row["phase"]): math.exp(max(abs(math.log(row["low"])), abs(math.log(row["high"])))) - 1
        for _, row in p50.iterrows()
    }


def dtype_of(analysis: RunAnalysis) -> str:
    """The number format the model is computed in: the server's --dtype, else the model's own."""
    words = str(analysis.run.provenance.get("command") or "").split()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--dtype" and following != "auto":
            return following
        if word.startswith("--dtype=") and not word.endswith("=auto"):
            return word.partition("=")[2]
    return str(analysis.run.provenance.get("model_dtype") or "not known")


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
