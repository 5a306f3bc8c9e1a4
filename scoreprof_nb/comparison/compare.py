"""Control against test: a verdict per phase and metric, and where the difference comes from."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from scoreprof_nb.analysis.run_analysis import RunAnalysis, concat_tables
from scoreprof_nb.analysis.scores import dtype_of
from scoreprof_nb.comparison.attribution import (
    BATCH_COLUMNS,
    CHANGE_COLUMNS,
    FUNCTION_COLUMNS,
    STACK_COLUMNS,
    batch_changes,
    function_changes,
    path_change,
    stack_changes,
)
from scoreprof_nb.comparison.comparability import UNLIKE, comparability
from scoreprof_nb.comparison.correctness import (
    COUNT_COLUMNS,
    SCORE_COLUMNS,
    Correctness,
    compare_counts,
    compare_scores,
    over_phases,
)
from scoreprof_nb.comparison.metrics import Noise, Sides, metric_changes, unknown_metrics
from scoreprof_nb.comparison.paired import IMPROVEMENT, NOT_KNOWN, Effect, holm, verdict
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.parameters.compare import FEWEST_PAIRS, MARGIN

COMPONENT_MARGIN = 0.01  # of control's mean latency: a smaller change of a component is not meaningful
BLOCKED = "blocked"
COMPONENT_COLUMNS = (*CHANGE_COLUMNS, "p_corrected", "margin_ms", "verdict")
RUN_COLUMNS = ("phase", "side", "pair", "run_id", "started_s", "p50_ms", "mean_ms", "requests")


@dataclass(frozen=True)
class Comparison:
    """``control`` and ``test``: the runs that were compared, those of a pair at the same place.

    ``metrics``: columns METRIC_COLUMNS; ``components``: COMPONENT_COLUMNS (request path, ms);
    ``batching``, ``functions``, ``stacks``: as in attribution.py; ``comparability``: as in
    comparability.py; ``runs``: RUN_COLUMNS; ``excluded``: run ids without a partner, phases that only
    one side has, and request paths and metrics that are not known, or not comparable, in some run.
    """

    control: tuple[RunAnalysis, ...]
    test: tuple[RunAnalysis, ...]
    metrics: pd.DataFrame
    components: pd.DataFrame
    batching: pd.DataFrame
    functions: pd.DataFrame
    stacks: pd.DataFrame
    correctness: Correctness
    comparability: pd.DataFrame
    runs: pd.DataFrame
    excluded: tuple[str, ...]

    @property
    def pairs(self) -> int:
        return len(self.control)

    @property
    def catalog(self) -> Catalog:
        """The components of the rules that all runs were analysed with."""
        return self.control[0].catalog

    @property
    def incomparable(self) -> pd.DataFrame:
        """What must be the same on all runs and is not."""
        return self.comparability[self.comparability["kind"] == UNLIKE]

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
    noise: Noise = MappingProxyType({}),
    compared: Collection[str] = (),
) -> Comparison:
    """Compare runs of two sides; the n-th run of a side, by its start, is paired with the other's n-th.

    ``delta``: the smallest relative change that is meaningful; ``noise``: by phase and metric or component,
    the change that two launches of the same server were measured to show, as ``noise_of`` gives it;
    ``compared``: what may differ between the sides besides the server's code and flags (``model``). Raises
    ValueError when a side has no run, or no phase is on both sides.
    """
    if not control or not test:
        raise ValueError("each side needs at least one run")
    sides = [sorted(runs, key=lambda run: run.run.manifest.started_s) for runs in (control, test)]
    pairs = min(map(len, sides))
    excluded = [f"run {run.run.manifest.run_id} has no partner" for side in sides for run in side[pairs:]]
    before, after = (tuple(side[:pairs]) for side in sides)
    complete: dict[str, Sides] = {}
    for name in dict.fromkeys(phase.name for run in (*before, *after) for phase in run.phases):
        left, right = (
            [phase for run in side for phase in run.phases if phase.name == name] for side in (before, after)
        )
        if len(left) == len(right) == pairs:
            complete[name] = left, right
        else:
            excluded.append(f"phase {name} is not in every run")
    if not complete:
        raise ValueError(f"no phase is in every run: {'; '.join(excluded)}")
    scores = [
        compare_scores(name, *both, dtype_of(before[0].run.provenance)) for name, both in complete.items()
    ]
    counts = [row for name, both in complete.items() for row in compare_counts(name, *both)]
    correctness = Correctness(
        pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        over_phases(pd.DataFrame(counts, columns=list(COUNT_COLUMNS))),
    )
    blocked = correctness.changed
    paths = [path_change(name, *both) for name, both in complete.items()]
    excluded += [path.excluded for path in paths if path.excluded is not None]
    changes = concat_tables([path.table for path in paths], CHANGE_COLUMNS)
    batches = [batch_changes(name, *both) for name, both in complete.items()]
    functions = [function_changes(name, *both) for name, both in complete.items()]
    stacks = [stack_changes(name, *both) for name, both in complete.items()]
    return Comparison(
        control=before,
        test=after,
        metrics=_unless_blocked(metric_changes(complete, delta, noise, seed), blocked),
        components=_unless_blocked(_components(changes, pairs, noise), blocked),
        batching=concat_tables(batches, BATCH_COLUMNS),
        functions=concat_tables(functions, FUNCTION_COLUMNS),
        stacks=concat_tables(stacks, STACK_COLUMNS),
        correctness=correctness,
        comparability=comparability(before, after, compared),
        runs=_runs(before, after),
        excluded=(*excluded, *unknown_metrics(complete)),
    )


def _components(changes: pd.DataFrame, pairs: int, noise: Noise) -> pd.DataFrame:
    """The change of each component, judged relative to control's mean latency, which its path sums to.

    The margin is COMPONENT_MARGIN, or the noise of that component where it is larger. A verdict needs
    FEWEST_PAIRS pairs with a path, unless there are no more runs than that.
    """
    latency_ms = changes.groupby("phase")["control_ms"].sum()
    corrected = holm([None if math.isnan(p) else p for p in changes["p"]])
    margins, said = [], []
    for row, p in zip(changes.to_dict("records"), corrected, strict=True):
        whole = float(latency_ms[row["phase"]])
        margin = max(COMPONENT_MARGIN, noise.get((row["phase"], row["component"]), 0.0))
        margins.append(margin * whole if row["pairs"] else math.nan)
        if row["pairs"] < min(FEWEST_PAIRS, pairs):
            said.append(NOT_KNOWN)
            continue
        ratio, low, high = (1 + float(row[key]) / whole for key in ("change_ms", "low", "high"))
        said.append(verdict(Effect(ratio, low, high, row["pairs"]), p, margin))
    p_corrected = [math.nan if p is None else p for p in corrected]
    table = changes.assign(p_corrected=p_corrected, margin_ms=margins, verdict=said)
    return table[list(COMPONENT_COLUMNS)]


def _unless_blocked(table: pd.DataFrame, blocked: bool) -> pd.DataFrame:
    """A change that breaks what is returned is no improvement."""
    said = [BLOCKED if blocked and word.endswith(IMPROVEMENT) else word for word in table["verdict"]]
    return table.assign(verdict=said)


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


def noise_of(metrics: pd.DataFrame, components: pd.DataFrame) -> dict[tuple[str, str], float]:
    """What a comparison of a server with itself could not exclude, by phase and metric or component.

    ``metrics``, ``components``: of such a comparison, columns METRIC_COLUMNS and COMPONENT_COLUMNS. Gives
    relative changes, a component's relative to control's mean latency; what has no interval is left out.
    """
    known = metrics[(metrics["low"] > 0) & metrics["high"].notna()]
    noise = {
        (str(row["phase"]), str(row["metric"])): max(1 / row["low"], row["high"]) - 1
        for row in known.to_dict("records")
    }
    latency_ms = components.groupby("phase")["control_ms"].sum()
    for row in components[components["low"].notna()].to_dict("records"):
        largest_ms = max(abs(row["low"]), abs(row["high"]))
        noise[str(row["phase"]), str(row["component"])] = largest_ms / float(latency_ms[row["phase"]])
    return noise
