"""What a delay in each function really changes, and whether the request path says the same.

Three numbers of a function, each per millisecond that was put in (the delays that the server counted /
the requests answered meanwhile):

- **sensitivity**: the change of the mean latency, from blocks without py-spy. 1: a request waits for all of
  it; 0: it is hidden behind something else; more than 1: it disturbs others too.
- **path**: the change of the function's component in the request path, from blocks with py-spy.
- **found**: the change of the time that the threads spend in the component, by their samples. It is 1 if
  py-spy and the rules find what was put in, where it was put in.

If ``path`` differs from ``sensitivity``, the path attributes time to the component that nobody waits for, or
the other way round. If ``found`` is not 1, the component's numbers are wrong in any breakdown.

With ``busy`` the time that the server's threads spend in a component per request, sensitivity x busy is what
the component really costs a request: to first order, what would be gained without it. Mean latency is a
homogeneous function of all durations (run everything twice as slowly, and it is twice as long), so by Euler's
theorem these costs sum to the latency, if the device's is among them. The device cannot be slowed from
Python, but what the others leave is its own: that bounds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.analysis.requests import MeasuredRequests, measured_requests
from scoreprof_nb.analysis.what_if_device import DeviceBound
from scoreprof_nb.analysis.what_if_effects import DelayedBlocks, FunctionEffect
from scoreprof_nb.analysis.what_if_stacks import Components, phase_of, seen_by_round
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.run_folder.records import Load
from scoreprof_nb.run_folder.store import Phase
from scoreprof_nb.run_folder.what_if import Delayed, WhatIf, read_what_if


@dataclass(frozen=True)
class Felt:
    """What a component costs a request: ``busy_ms`` of work, of which ``felt_ms`` would be gained without it.

    ``path_ms``: what the request path of the phase says, None where it has none."""

    component: str
    busy_ms: float
    sensitivity: Estimate
    felt_ms: Estimate
    path_ms: float | None


@dataclass(frozen=True)
class WhatIfAnalysis:
    """The experiment of one phase. ``left_out``: the functions that were not delayed, and why;
    ``ranking``: largest felt cost first; ``device``: None where it cannot be bounded; ``compiles``: requests
    left out because a compile hit them; ``off_us``: what the wrappers cost a request while no delay is on."""

    record: WhatIf
    effects: tuple[FunctionEffect, ...]
    left_out: tuple[Delayed, ...]
    ranking: tuple[Felt, ...]
    device: DeviceBound | None
    compiles: int
    off_us: float
    failures: tuple[str, ...]

    def of_component(self, component: str) -> FunctionEffect | None:
        """The effect of the component's first function, which stands for it."""
        return next((one for one in self.effects if one.delayed.component == component), None)


@dataclass(frozen=True)
class PhaseNumbers:
    """What the phase's own blocks say: ``busy_ms`` of the threads and ``path_ms`` by component (empty: not
    known), and the mean latency in the blocks with py-spy."""

    busy_ms: Components
    path_ms: Components
    latency_ms: float


def analyse_what_if(
    phase: Phase, load: Load, log: pd.DataFrame, rules: RuleSet, numbers: PhaseNumbers
) -> WhatIfAnalysis | None:
    """The experiment of a phase; None if there was none. Raises RunFolderError for a damaged file."""
    stored = read_what_if(phase.folder)
    if stored is None:
        return None
    record, rows = stored
    experiment = phase_of(phase, record.blocks, rows)
    requests = measured_requests(experiment, log, load)
    hit = requests.table["compile_hit"].fillna(False).astype(bool)
    kept = MeasuredRequests(requests.table[~hit | requests.table["compile_hit"].isna()])
    seen, failures = seen_by_round(experiment, record.blocks, requests, load, log, rules)
    blocks = DelayedBlocks(
        record.blocks, kept, seen, several=load.loop != "closed" or (load.concurrency or 1) > 1
    )
    effects = tuple(
        blocks.effect(number, function)
        for number, function in enumerate(record.functions)
        if function.left_out is None
    )
    ranking = _ranking(effects, numbers)
    return WhatIfAnalysis(
        record=record,
        effects=effects,
        left_out=tuple(function for function in record.functions if function.left_out is not None),
        ranking=ranking,
        device=_device(ranking, numbers, load),
        compiles=int(hit.sum()),
        off_us=sum(function.calls or 0.0 for function in record.functions) * record.off_ns / 1e3,
        failures=(*record.notes, *failures),
    )


def _ranking(effects: Sequence[FunctionEffect], numbers: PhaseNumbers) -> tuple[Felt, ...]:
    """The components whose first function has a sensitivity, by what is felt of them."""
    felt: dict[str, Felt] = {}
    for effect in effects:
        name = effect.delayed.component
        busy = numbers.busy_ms.get(name, 0.0)
        if name not in felt and effect.sensitivity.known and busy > 0:
            felt[name] = Felt(
                component=name,
                busy_ms=busy,
                sensitivity=effect.sensitivity,
                felt_ms=effect.sensitivity.times(busy),
                path_ms=numbers.path_ms.get(name) if numbers.path_ms else None,
            )
    return tuple(sorted(felt.values(), key=lambda one: -one.felt_ms.value))


def _device(ranking: Sequence[Felt], numbers: PhaseNumbers, load: Load) -> DeviceBound | None:
    """None in an open loop: requests would have to arrive more slowly too."""
    if load.loop != "closed" or not ranking or not numbers.path_ms:
        return None
    return DeviceBound.of(
        numbers.latency_ms,
        {one.component: one.felt_ms for one in ranking},
        numbers.busy_ms,
        numbers.path_ms,
    )


def what_if_checks(phase: str, analysis: WhatIfAnalysis | None) -> tuple[Check, ...]:
    """Whether the samples find what was put in, and the path what it changed; none without an experiment."""
    if analysis is None:
        return ()
    known = [one for one in analysis.effects if one.calibrated is not None]
    lost = [one.delayed.component for one in known if not one.calibrated]
    wrong = [one.delayed.component for one in analysis.effects if one.path_is_wrong]
    compared = [one for one in analysis.effects if one.path.known and one.sensitivity.known]
    return (
        Check(
            phase,
            "known delays are found where they were put in",
            None if not known else not lost,
            f"off for {', '.join(lost)}" if lost else f"{len(known)} functions were delayed",
        ),
        Check(
            phase,
            "the request path agrees with the what-if experiment",
            None if not compared else not wrong,
            f"differs for {', '.join(wrong)}" if wrong else f"{len(compared)} functions were delayed",
        ),
    )
