"""Whether runs may be compared: what must be alike, and what is being compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.parameters import MEASURED

_MACHINE = ("chip", "cpu", "cpus", "memory_gb")
_SAME_MEMORY = 1.05  # two nodes of one machine type: what firmware and kernel keep differs
_VERSIONS = ("python", "jax", "jaxlib", "libtpu", "py_spy", "kit")
_COMPARED_PARAMETERS = ("server_python", "server_flags", "server_environment")
# What decides what is measured, but for what is compared and where the model lies.
_CAPTURE = tuple(name for name in MEASURED if name not in (*_COMPARED_PARAMETERS, "model_path", "server_url"))
LIKENESS_COLUMNS = ("what", "kind", "control", "test")
COMPARED, UNLIKE = "compared", "unlike"


def likeness(control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]) -> pd.DataFrame:
    """What differs between the sides or within one: columns LIKENESS_COLUMNS.

    ``kind``: ``compared`` for what a comparison is about (commit, branch, flags), ``unlike`` for what
    must be the same on all runs and is not. Several values of one side are joined by " / ".
    """
    rows = []
    for kind, facts in ((UNLIKE, _must_be_alike), (COMPARED, _compared)):
        sides = [[facts(run) for run in runs] for runs in (control, test)]
        for what in dict.fromkeys(name for side in sides for run in side for name in run):
            values = [list(dict.fromkeys(run.get(what, "none") for run in side)) for side in sides]
            if not _alike(what, {*values[0], *values[1]}):
                rows.append((what, kind, " / ".join(values[0]), " / ".join(values[1])))
    return pd.DataFrame(rows, columns=list(LIKENESS_COLUMNS))


def _alike(what: str, values: set[str]) -> bool:
    if what == "memory_gb" and "none" not in values:
        sizes = [float(value) for value in values]
        return max(sizes) <= _SAME_MEMORY * min(sizes)
    return len(values) == 1


def _must_be_alike(analysis: RunAnalysis) -> Mapping[str, str]:
    parameters, provenance = analysis.run.manifest.parameters, analysis.run.provenance
    facts = {name: _text(parameters.get(name)) for name in _CAPTURE}
    facts |= {name: _text(provenance.get(name)) for name in (*_MACHINE, *_VERSIONS)}
    packages = provenance.get("server_packages") or {}
    facts |= {
        f"package {name}": _text(version)
        for name, version in packages.items()
        if name not in ("sglang-jax", *_VERSIONS)
    }
    facts["model"] = _text(str(parameters.get("model_path", "")).rstrip("/").rpartition("/")[2])
    for phase in analysis.phases:
        facts[f"requests of phase {phase.name}"] = _workload(phase)
    return facts


def _workload(phase: PhaseAnalysis) -> str:
    """The bodies that were to be sent. A run that does not say so has those that were, without their
    number: a faster server gets further down the list."""
    if phase.phase.record.workload is not None:
        return phase.phase.record.workload
    sent = phase.requests.table[["kind", "items"]].drop_duplicates().sort_values(["kind", "items"])
    return ", ".join(f"{row['kind']} x {row['items']}" for _, row in sent.iterrows())


def _compared(analysis: RunAnalysis) -> Mapping[str, str]:
    parameters, provenance = analysis.run.manifest.parameters, analysis.run.provenance
    source = provenance.get("sglang_jax_source") or {}
    facts = {"label": analysis.run.manifest.label, "sglang-jax": _text(provenance.get("sglang_jax"))}
    facts |= {name: _text(source.get(name)) for name in ("repo", "branch", "commit")}
    facts |= {name: _text(parameters.get(name)) for name in _COMPARED_PARAMETERS}
    return facts


def _text(value: Any) -> str:
    return "none" if value in (None, "", []) else str(value)
