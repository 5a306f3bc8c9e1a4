"""Control against test: a verdict per phase and metric, and where the difference comes from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis, concat_tables
from scoreprof_nb.analysis.scores import dtype_of
from scoreprof_nb.comparison import verdict
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
from scoreprof_nb.comparison.component_verdicts import component_verdicts
from scoreprof_nb.comparison.correctness import Correctness, compare_answers
from scoreprof_nb.comparison.group_changes import group_changes
from scoreprof_nb.comparison.guards import Stopped, block_improvements, guards
from scoreprof_nb.comparison.launch_tables import Launches, launch_tables
from scoreprof_nb.comparison.looks import ONE_LOOK
from scoreprof_nb.comparison.metrics import PhasePairs, metric_changes, unknown_metrics
from scoreprof_nb.comparison.noise import Noise, is_aa, machine_of, minutes_per_pair
from scoreprof_nb.comparison.pairing import pair_up
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.parameters.compare import CONTROL, MARGIN, SIDES, TEST

NONE_STOPPED: Stopped = MappingProxyType(dict.fromkeys(SIDES, ()))


@dataclass(frozen=True)
class Comparison:
    """The comparison of two sides.

    ``control``, ``test``: the runs that were compared; the runs of a pair have the same index.
    ``phase_verdicts``: columns PHASE_COLUMNS. ``metrics``: METRIC_COLUMNS. ``components``: COMPONENT_COLUMNS,
    ms of the request path; ``groups``: GROUP_COLUMNS, its sums. ``guards``: GUARD_COLUMNS. ``batching``,
    ``functions``, ``stacks``: BATCH_COLUMNS, FUNCTION_COLUMNS, STACK_COLUMNS. ``comparability``:
    COMPARABILITY_COLUMNS. ``level``: the error that this look may spend. ``stopped``: by side, the runs
    that did not finish. ``noise``: of an A/A comparison. ``excluded``: what could not be compared and why:
    runs without a counterpart, phases of one side, request paths and metrics that are not known.
    """

    control: tuple[RunAnalysis, ...]
    test: tuple[RunAnalysis, ...]
    phase_verdicts: pd.DataFrame
    metrics: pd.DataFrame
    components: pd.DataFrame
    groups: pd.DataFrame
    guards: pd.DataFrame
    batching: pd.DataFrame
    functions: pd.DataFrame
    stacks: pd.DataFrame
    correctness: Correctness
    comparability: pd.DataFrame
    launches: Launches
    excluded: tuple[str, ...]
    level: float
    stopped: Stopped
    noise: Noise | None

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
        """Whether a guard blocks."""
        return bool(self.guards["blocks"].any())

    @property
    def verdict(self) -> str:
        """The verdict on the whole: BLOCKED, or the worst that was shown."""
        return verdict.BLOCKED if self.blocked else verdict.overall(self.phase_verdicts, self.metrics)

    @property
    def not_worse(self) -> bool:
        """Whether every phase was shown not to be worse by more than the margin."""
        return bool(self.phase_verdicts["not_worse"].all()) and not self.blocked

    @property
    def settled(self) -> bool:
        """Whether further pairs could not change the verdict."""
        return verdict.is_settled(self.metrics, self.blocked)

    @property
    def machine(self) -> Mapping[str, str]:
        """What the noise between launches was measured on, of the first run."""
        first = self.control[0].run
        return machine_of(first.manifest.parameters, first.provenance)

    @property
    def is_aa(self) -> bool:
        """Whether a server was compared with itself."""
        return is_aa(self.comparability)

    @property
    def minutes_per_pair(self) -> float:
        """The median time of a pair, launches included; NaN when it is not known."""
        return minutes_per_pair(self.control, self.test)

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.metrics["phase"]))

    def of_phase(self, name: str) -> tuple[PhaseAnalysis, ...]:
        """The analyses of a phase, of all runs of both sides."""
        return tuple(
            phase for run in (*self.control, *self.test) for phase in run.phases if phase.name == name
        )


def compare(
    control: Sequence[RunAnalysis],
    test: Sequence[RunAnalysis],
    delta: float = MARGIN,
    level: float = ONE_LOOK,
    compared: Collection[str] = (),
    stopped: Stopped = NONE_STOPPED,
    noise: Noise | None = None,
) -> Comparison:
    """Compare the runs of two sides. Runs are paired as ``pairing`` says.

    ``delta``: the smallest relative change that is meaningful. ``level``: the error that this look at the
    comparison may spend. ``compared``: the conditions that may differ besides the server's code and flags
    (``model``). ``stopped``: the runs that did not finish. ``noise``: of an A/A comparison. Raises ValueError
    when a side has no run, or the sides have no phase in common.
    """
    if not control or not test:
        raise ValueError("each side needs at least one run")
    before, after, without_partner = pair_up(control, test)
    phases, incomplete = _common_phases(before, after)
    if not phases:
        raise ValueError(f"no phase is common to all runs: {'; '.join((*without_partner, *incomplete))}")
    correctness = compare_answers(phases, dtype_of(before[0].run.provenance))
    guarded = guards(phases, correctness, stopped)
    metrics = block_improvements(metric_changes(phases, delta, level), guarded)
    paths = [path_change(name, *both) for name, both in phases.items()]
    changes = concat_tables([path.table for path in paths], CHANGE_COLUMNS)
    return Comparison(
        control=before,
        test=after,
        phase_verdicts=verdict.phase_verdicts(metrics),
        metrics=metrics,
        components=block_improvements(component_verdicts(changes, len(before), level), guarded),
        groups=group_changes(phases, before[0].catalog),
        guards=guarded,
        batching=_each_phase(batch_changes, phases, BATCH_COLUMNS),
        functions=_each_phase(function_changes, phases, FUNCTION_COLUMNS),
        stacks=_each_phase(stack_changes, phases, STACK_COLUMNS),
        correctness=correctness,
        comparability=comparability(before, after, compared),
        launches=launch_tables(phases, before, after, metrics),
        excluded=(
            *without_partner,
            *incomplete,
            *(path.excluded for path in paths if path.excluded is not None),
            *unknown_metrics(phases),
        ),
        level=level,
        stopped=stopped,
        noise=noise,
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
