"""Whether runs may be compared: which conditions must be equal, and which are the subject."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.parameters.compare import SIDES, CompareParameters
from scoreprof_nb.parameters.profile import MEASURED
from scoreprof_nb.parameters.schema import ParameterError

_MACHINE = ("chip", "cpu", "cpus", "memory_gb")
_SAME_MEMORY = 1.05  # firmware and kernel reserve a little more on one node than on another of the same type
_VERSIONS = ("python", "jax", "jaxlib", "libtpu", "py_spy", "kit")
_COMPARED_PARAMETERS = ("server_python", "server_flags", "server_environment")
# Where the model, the requests and the server are: they do not change what is measured.
_PLACES = ("model_path", "requests_file", "server_url", "server_log")
_CAPTURE = tuple(name for name in MEASURED if name not in (*_COMPARED_PARAMETERS, *_PLACES))
COMPARABILITY_COLUMNS = ("what", "kind", "control", "test")
# compared: the subject of the comparison; unlike: it must be the same, and is not; noted: it may explain a
# difference, but both sides met it, or it cannot be controlled.
COMPARED, UNLIKE, NOTED = "compared", "unlike", "noted"
# What may vary from run to run as long as both sides meet the same: a side on a host of its own is confounded
# with the host.
_ENVIRONMENT = ("host", "kernel", "CPU quota", "memory limit")
_OF_EACH_RUN = ("image", "compile cache")
_LOAD = "load before the run"
_SAME_LOAD = 1.0  # processes, between the means of the sides


def comparability(
    control: Sequence[RunAnalysis], test: Sequence[RunAnalysis], compared: Collection[str] = ()
) -> pd.DataFrame:
    """The conditions that differ between the sides or within a side: columns COMPARABILITY_COLUMNS.

    ``kind`` is ``compared`` for what the comparison is about (commit, branch, flags, and the names in
    ``compared``), and ``unlike`` for conditions that must be the same for all runs, or for all runs of a
    side, and are not. A host, kernel or quota that only one side met is ``unlike``: it is confounded with the
    side. ``noted`` is what varied on both sides alike, and what only explains. Several values of one side are
    joined by " / ".
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
    """The conditions that differ, of the runs of control and of test: columns COMPARABILITY_COLUMNS."""
    rows = []
    for what in dict.fromkeys(name for side in sides for run in side for name in run):
        values = [list(dict.fromkeys(run.get(what, "none") for run in side)) for side in sides]
        if _same(what, {*values[0], *values[1]}):
            continue
        if what == _LOAD:
            rows += _load_row([[float(run[what]) for run in side if what in run] for side in sides])
            continue
        if (what in _ENVIRONMENT and set(values[0]) == set(values[1])) or what in _OF_EACH_RUN:
            rows.append((what, NOTED, " / ".join(values[0]), " / ".join(values[1])))
            continue
        # The runs of a side may have several labels, but not several commits.
        mixed = what != "label" and any(len(of_side) > 1 for of_side in values)
        kind = COMPARED if what in compared and not mixed else UNLIKE
        rows.append((what, kind, " / ".join(values[0]), " / ".join(values[1])))
    rows.sort(key=lambda row: (UNLIKE, COMPARED, NOTED).index(row[1]))
    return pd.DataFrame(rows, columns=list(COMPARABILITY_COLUMNS))


def _load_row(loads: Sequence[Sequence[float]]) -> list[tuple[str, str, str, str]]:
    """A row if one side was measured on a busier machine."""
    if not all(loads):
        return []
    control, test = (sum(of_side) / len(of_side) for of_side in loads)
    if abs(test - control) <= _SAME_LOAD:
        return []
    return [(_LOAD, NOTED, f"{control:.1f} on average", f"{test:.1f} on average")]


def _same(what: str, values: set[str]) -> bool:
    if what == "memory_gb" and "none" not in values:
        sizes = [float(value) for value in values]
        return max(sizes) <= _SAME_MEMORY * min(sizes)
    return len(values) == 1


def conditions_of(parameters: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, str]:
    """The conditions that must be equal for all runs, from a run's parameters and provenance."""
    facts = {name: _text(parameters.get(name)) for name in _CAPTURE}
    facts |= {name: _text(provenance.get(name)) for name in (*_MACHINE, *_VERSIONS)}
    packages = provenance.get("server_packages") or {}
    facts |= {
        f"package {name}": _text(version)
        for name, version in packages.items()
        if name not in ("sglang-jax", *_VERSIONS)
    }
    facts |= _environment(provenance)
    return {**facts, "model": _text(str(parameters.get("model_path", "")).rstrip("/").rpartition("/")[2])}


def _environment(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Where a run was made, as far as it is recorded."""
    limits, cache = provenance.get("limits") or {}, provenance.get("compile_cache") or {}
    facts = {
        "host": provenance.get("node") or provenance.get("host"),
        "kernel": provenance.get("kernel"),
        "CPU quota": limits.get("cgroup_cpu_max"),
        "memory limit": limits.get("cgroup_memory_max"),
        "image": json.dumps(provenance.get("image")) if provenance.get("image") else None,
        "compile cache": ("warm" if cache.get("entries") else "cold") if cache else None,
    }
    known = {name: _text(value) for name, value in facts.items()}
    load = provenance.get("load_average_before")
    return known if load is None else {**known, _LOAD: str(load)}


def _workload(phase: PhaseAnalysis) -> str:
    """The request bodies that were planned. For a run that did not record them: the bodies that were sent,
    without their number, since a faster server answers more."""
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


def check_comparability(parameters: CompareParameters, provenance: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ParameterError when the sides that are about to be captured must not be compared.

    ``provenance``: by side, of its server, model and machine.
    """
    conditions = [
        [conditions_of(parameters.of_run(side, Path("unused")).as_dict(), provenance[side])] for side in SIDES
    ]
    refuse_incomparable(parameters, differences(conditions, parameters.compared))


def refuse_incomparable(parameters: CompareParameters, differing: pd.DataFrame) -> None:
    """Raise ParameterError for conditions of kind ``unlike``, unless ``allow_unlike`` is set.

    ``differing``: columns COMPARABILITY_COLUMNS.
    """
    incomparable = differing[differing["kind"] == UNLIKE]
    if incomparable.empty or parameters.allow_unlike:
        return
    listed = "; ".join(
        f"{row['what']}: control {row['control']}, test {row['test']}"
        for row in incomparable.to_dict("records")
    )
    raise ParameterError(
        "allow_unlike",
        False,
        "the captures were made under different conditions (True compares them anyway and marks every "
        f"result): {listed}",
    )
