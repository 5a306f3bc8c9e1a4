"""What a what-if experiment says about a component, wherever its number is read."""

from collections.abc import Iterable

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.analysis.what_if import WhatIfAnalysis
from scoreprof_nb.report.format import number

_SEE = " (see what-if)"


def mark(experiment: WhatIfAnalysis | None, component: str) -> str:
    """What a reader must know of the component's numbers; empty if nothing, or without an experiment."""
    effect = experiment.of_component(component) if experiment is not None else None
    if effect is None:
        return ""
    if effect.calibrated is False:
        return f"what-if: of each ms put in here, the samples find {number(effect.found.value, 2)} ms"
    if effect.path_is_wrong:
        return f"what-if: 1 ms here really costs a request {number(effect.sensitivity.value, 2)} ms"
    return ""


def see(phases: Iterable[PhaseAnalysis], *components: str) -> str:
    """What a table writes after the number, or the name, of components of which any has a mark in any of the
    phases; empty if none has."""
    marked = any(mark(phase.what_if, name) for phase in phases for name in components)
    return _SEE if marked else ""
