"""Whether runs may be compared: what must be alike, and what is being compared."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.parameters.profile import MEASURED

_MACHINE = ("chip", "cpu", "cpus", "memory_gb")
_SAME_MEMORY = 1.05  # two nodes of one machine type: what firmware and kernel keep differs
_VERSIONS = ("python", "jax", "jaxlib", "libtpu", "py_spy", "kit")
_COMPARED_PARAMETERS = ("server_python", "server_flags", "server_environment")
# What decides what is measured, but for what is compared, and where the model and the requests' file lie.
_PLACES = ("model_path", "requests_file", "server_url")
_CAPTURE = tuple(name for name in MEASURED if name not in (*_COMPARED_PARAMETERS, *_PLACES))
COMPARABILITY_COLUMNS = ("what", "kind", "control", "test")
COMPARED, UNLIKE = "compared", "unlike"


def comparability(
    control: Sequence[RunAnalysis], test: Sequence[RunAnalysis], compared: Collection[str] = ()
) -> pd.DataFrame:
    """What differs between the sides or within one: columns COMPARABILITY_COLUMNS.

    ``kind``: ``compared`` for what a comparison is about (commit, branch, flags, and what ``compared``
    names), ``unlike`` for what must be the same on all runs, or on those of one side, and is not. Several
    values of one side are joined by " / ".
    """
    sides = [
        [
            {
                **conditions_of(run.run.manifest.parameters, run.run.provenance),
                **{f"requests of phase {phase.name}": _workload(phase) for phase in run.phases},
                **_compared(run.run.manifest.parameters, run.run.provenance),
                "label": run.run.manifest.label,
            }
            for run in runs
        ]
        for runs in (control, test)
    ]
    return differences(sides, {*_compared({}, {}), "label", *compared})


def differences(sides: Sequence[Sequence[Mapping[str, str]]], compared: Collection[str]) -> pd.DataFrame:
    """The facts of the runs of control and of test that differ: columns COMPARABILITY_COLUMNS."""
    rows = []
    for what in dict.fromkeys(name for side in sides for run in side for name in run):
        values = [list(dict.fromkeys(run.get(what, "none") for run in side)) for side in sides]
        if _alike(what, {*values[0], *values[1]}):
            continue
        # Runs may be told apart by their label, but a side of two commits is no side.
        mixed = what != "label" and any(len(of_side) > 1 for of_side in values)
        kind = COMPARED if what in compared and not mixed else UNLIKE
        rows.append((what, kind, " / ".join(values[0]), " / ".join(values[1])))
    rows.sort(key=lambda row: row[1] == COMPARED)
    return pd.DataFrame(rows, columns=list(COMPARABILITY_COLUMNS))


def _alike(what: str, values: set[str]) -> bool:
    if what == "memory_gb" and "none" not in values:
        sizes = [float(value) for value in values]
        return max(sizes) <= _SAME_MEMORY * min(sizes)
    return len(values) == 1


def conditions_of(parameters: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, str]:
    """Of the parameters of a run and the provenance of its capture, what must be the same on all runs."""
    facts = {name: _text(parameters.get(name)) for name in _CAPTURE}
    facts |= {name: _text(provenance.get(name)) for name in (*_MACHINE, *_VERSIONS)}
    packages = provenance.get("server_packages") or {}
    facts |= {
        f"package {name}": _text(version)
        for name, version in packages.items()
        if name not in ("sglang-jax", *_VERSIONS)
    }
    return {**facts, "model": _text(str(parameters.get("model_path", "")).rstrip("/").rpartition("/")[2])}


def _workload(phase: PhaseAnalysis) -> str:
    """The bodies that were to be sent. A run that does not say so has those that were, without their
    number: a faster server gets further down the list."""
    if phase.phase.record.workload is not None:
        return phase.phase.record.workload
    sent = phase.requests.table[["kind", "items"]].drop_duplicates().sort_values(["kind", "items"])
    return ", ".join(f"{row['kind']} x {row['items']}" for _, row in sent.iterrows())


def _compared(parameters: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, str]:
    source = provenance.get("sglang_jax_source") or {}
    facts = {"sglang-jax": _text(provenance.get("sglang_jax"))}
    facts |= {name: _text(source.get(name)) for name in ("repo", "branch", "commit")}
    return facts | {name: _text(parameters.get(name)) for name in _COMPARED_PARAMETERS}


def _text(value: Any) -> str:
    return "none" if value in (None, "", []) else str(value)
