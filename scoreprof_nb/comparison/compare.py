"""Control against test: a verdict per phase and metric, and where the difference comes from."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis, concat_tables
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
from scoreprof_nb.comparison.correctness import Correctness, compare_answers
from scoreprof_nb.comparison.metrics import PhasePairs, metric_changes, unknown_metrics
from scoreprof_nb.comparison.noise import Noise
from scoreprof_nb.comparison.paired import IMPROVEMENT, NOT_KNOWN, Effect, holm, verdict
from scoreprof_nb.comparison.pairing import pair_up
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.parameters.compare import CONTROL, FEWEST_PAIRS, MARGIN, SIDES, TEST

COMPONENT_MARGIN = 0.01  # of control's mean latency: a smaller change of a component is not meaningful
BLOCKED = "blocked"
COMPONENT_COLUMNS = (*CHANGE_COLUMNS, "p_corrected", "margin_ms", "verdict")
RUN_COLUMNS = ("phase", "side", "pair", "run_id", "started_s", "p50_ms", "mean_ms", "requests")
Stopped = Mapping[str, Sequence[str]]  # by side: each run that did not finish, and why
NONE_STOPPED: Stopped = MappingProxyType(dict.fromkeys(SIDES, ()))


@dataclass(frozen=True)
class Comparison:
    """The comparison of two sides.

    ``control``, ``test``: the runs that were compared; the runs of a pair have the same index. ``metrics``:
    columns METRIC_COLUMNS. ``components``: COMPONENT_COLUMNS, ms of the request path. ``batching``,
    ``functions``, ``stacks``: BATCH_COLUMNS, FUNCTION_COLUMNS, STACK_COLUMNS. ``comparability``:
    COMPARABILITY_COLUMNS. ``runs``: RUN_COLUMNS. ``noise``: the noise floor that the verdicts allow for.
    ``stopped``: by side, the runs that did not finish. ``excluded``: what could not be compared and why:
    runs without a counterpart, phases of one side, request paths and metrics that are not known.
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
    noise: Noise
    stopped: Stopped

    @property
    def pairs(self) -> int:
        return len(self.control)

    @property
    def sides(self) -> Mapping[str, tuple[RunAnalysis, ...]]:
        """The runs by side."""
        return {CONTROL: self.control, TEST: self.test}

    @property
    def catalog(self) -> Catalog:
        """The components of the rules that all runs were analysed with."""
        return self.control[0].catalog

    @property
    def incomparable(self) -> pd.DataFrame:
        """The conditions that must be the same for all runs and are not: columns COMPARABILITY_COLUMNS."""
        return self.comparability[self.comparability["kind"] == UNLIKE]

    @property
    def blocked(self) -> bool:
        """Whether improvements are blocked (see ``is_blocked``)."""
        return is_blocked(self.correctness, self.stopped)

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.metrics["phase"]))


def is_blocked(correctness: Correctness, stopped: Stopped) -> bool:
    """Whether no change may be called an improvement: test returns other scores, fails more requests, or
    more of its runs did not finish. The only definition: headline, tables, figures and JSON use it."""
    return correctness.changed or len(stopped[TEST]) > len(stopped[CONTROL])


def compare(
    control: Sequence[RunAnalysis],
    test: Sequence[RunAnalysis],
    seed: int,
    delta: float = MARGIN,
    noise: Noise = MappingProxyType({}),
    compared: Collection[str] = (),
    stopped: Stopped = NONE_STOPPED,
) -> Comparison:
    """Compare the runs of two sides. Runs are paired as ``pairing`` says.

    ``delta``: the smallest relative change that is meaningful. ``noise``: the noise floor, as ``noise_of``
    gives it. ``compared``: the conditions that may differ besides the server's code and flags (``model``).
    ``stopped``: the runs that did not finish. Raises ValueError when a side has no run, or the sides have no
    phase in common.
    """
    if not control or not test:
        raise ValueError("each side needs at least one run")
    before, after, without_partner = pair_up(control, test)
    phases, incomplete = _common_phases(before, after)
    if not phases:
        raise ValueError(f"no phase is common to all runs: {'; '.join((*without_partner, *incomplete))}")
    pairs = len(before)
    correctness = compare_answers(phases, dtype_of(before[0].run.provenance))
    blocked = is_blocked(correctness, stopped)
    paths = [path_change(name, *both) for name, both in phases.items()]
    changes = concat_tables([path.table for path in paths], CHANGE_COLUMNS)
    return Comparison(
        control=before,
        test=after,
        metrics=_block_improvements(metric_changes(phases, delta, noise, seed), blocked),
        components=_block_improvements(_component_verdicts(changes, pairs, noise), blocked),
        batching=_each_phase(batch_changes, phases, BATCH_COLUMNS),
        functions=_each_phase(function_changes, phases, FUNCTION_COLUMNS),
        stacks=_each_phase(stack_changes, phases, STACK_COLUMNS),
        correctness=correctness,
        comparability=comparability(before, after, compared),
        runs=_runs_table(before, after),
        excluded=(
            *without_partner,
            *incomplete,
            *(path.excluded for path in paths if path.excluded is not None),
            *unknown_metrics(phases),
        ),
        noise=noise,
        stopped=stopped,
    )


def _common_phases(
    control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]
) -> tuple[dict[str, PhasePairs], list[str]]:
    """The phases that every run has, each with its analyses by side, and which phases some run lacks."""
    common: dict[str, PhasePairs] = {}
    incomplete = []
    for name in dict.fromkeys(phase.name for run in (*control, *test) for phase in run.phases):
        before, after = (
            [phase for run in side for phase in run.phases if phase.name == name] for side in (control, test)
        )
        if len(before) == len(after) == len(control):
            common[name] = before, after
        else:
            incomplete.append(f"phase {name} is missing from some runs")
    return common, incomplete


def _each_phase(
    changes: Callable[[str, Sequence[PhaseAnalysis], Sequence[PhaseAnalysis]], pd.DataFrame],
    phases: Mapping[str, PhasePairs],
    columns: Sequence[str],
) -> pd.DataFrame:
    return concat_tables([changes(name, *both) for name, both in phases.items()], columns)


def _component_verdicts(changes: pd.DataFrame, pairs: int, noise: Noise) -> pd.DataFrame:
    """The change of each component with its verdict, relative to control's mean latency: COMPONENT_COLUMNS.

    The margin is COMPONENT_MARGIN, or the noise of that component where it is larger. A verdict needs
    FEWEST_PAIRS pairs with a request path, or all pairs if there are fewer.
    """
    latency_ms = changes.groupby("phase")["control_ms"].sum()
    corrected = holm([None if math.isnan(p) else p for p in changes["p"]])
    margins_ms, verdicts = [], []
    for row, p in zip(changes.to_dict("records"), corrected, strict=True):
        whole_ms = float(latency_ms[row["phase"]])
        margin = max(COMPONENT_MARGIN, noise.get((row["phase"], row["component"]), 0.0))
        margins_ms.append(margin * whole_ms if row["pairs"] else math.nan)
        enough = row["pairs"] >= min(FEWEST_PAIRS, pairs)
        verdicts.append(_component_verdict(row, p, whole_ms, margin) if enough else NOT_KNOWN)
    p_corrected = [math.nan if p is None else p for p in corrected]
    table = changes.assign(p_corrected=p_corrected, margin_ms=margins_ms, verdict=verdicts)
    return table[list(COMPONENT_COLUMNS)]


def _component_verdict(row: Mapping[Any, Any], p: float | None, whole_ms: float, margin: float) -> str:
    ratio, low, high = (1 + float(row[key]) / whole_ms for key in ("change_ms", "low", "high"))
    return verdict(Effect(ratio, low, high, row["pairs"]), p, margin)


def _block_improvements(table: pd.DataFrame, blocked: bool) -> pd.DataFrame:
    """The table with BLOCKED in place of each improvement, if the comparison is blocked."""
    verdicts = [BLOCKED if blocked and word.endswith(IMPROVEMENT) else word for word in table["verdict"]]
    return table.assign(verdict=verdicts)


def _runs_table(control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]) -> pd.DataFrame:
    rows = []
    for side, runs in ((CONTROL, control), (TEST, test)):
        for pair, run in enumerate(runs, start=1):
            manifest = run.run.manifest
            for phase in run.phases:
                plain_ms = phase.requests.plain()["latency_ms"]
                rows.append(
                    (
                        *(phase.name, side, pair, manifest.run_id, manifest.started_s),
                        *(float(plain_ms.median()), float(plain_ms.mean()), len(plain_ms)),
                    )
                )
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))
