"""Many runs over time, read from their summaries alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.files import SUMMARY
from scoreprof_nb.run_folder.seal import check_seal

SCHEMA_VERSION = 1
# What reading a damaged file raises, or one of another form.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
RUN_COLUMNS = ("label", "started_at", "run_id", "status", "phase", "p50_ms", "items_per_s", "folder")
PATH_COLUMNS = ("label", "started_at", "run_id", "phase", "component", "mean_ms")


@dataclass(frozen=True)
class History:
    """``runs``: RUN_COLUMNS, a row per run and phase, by start time (``started_at``: UTC timestamps;
    ``p50_ms``: NaN with too few requests). ``paths``: PATH_COLUMNS. ``unreadable``: the files that could
    not be read, each with the reason."""

    runs: pd.DataFrame
    paths: pd.DataFrame
    unreadable: tuple[str, ...]

    def latest(self, most: int) -> "History":
        """The history of the latest runs, at most ``most``."""
        started = self.runs.groupby("run_id", sort=False)["started_at"].first()
        kept = started.sort_values(kind="stable").index[-most:]
        runs, paths = (table[table["run_id"].isin(kept)] for table in (self.runs, self.paths))
        return History(runs.reset_index(drop=True), paths.reset_index(drop=True), self.unreadable)

    def table(self) -> pd.DataFrame:
        """A row per run and phase: RUN_COLUMNS, and ``<component>_ms``, the mean of each component, NaN
        when the run's request path does not have it."""
        wide = self.paths.pivot_table(index=["run_id", "phase"], columns="component", values="mean_ms")
        return self.runs.join(wide.add_suffix("_ms"), on=["run_id", "phase"])


def past_runs(parameters: CompareParameters) -> History | None:
    """All runs below the folder ``history``; None when the parameter is empty.

    Raises ParameterError (``history``) when the folder contains no run.
    """
    if not parameters.history:
        return None
    history = read_history(Path(parameters.history).expanduser())
    if history.runs.empty:
        raise ParameterError("history", parameters.history, "contains no run with a summary.json")
    return history


def read_history(folder: Path) -> History:
    """Read every summary.json below the folder, which may be a mounted bucket."""
    runs: list[tuple[Any, ...]] = []
    paths: list[tuple[Any, ...]] = []
    unreadable = []
    for path in sorted(folder.rglob(SUMMARY)):
        try:
            content = path.read_bytes()
            check_seal(content)
            of_run, of_paths = _rows(json.loads(content.decode("utf-8")), path.parent)
        except _DAMAGED as error:
            unreadable.append(f"{path}: {type(error).__name__}: {error}")
            continue
        runs += of_run
        paths += of_paths
    run_table = pd.DataFrame(runs, columns=list(RUN_COLUMNS))
    path_table = pd.DataFrame(paths, columns=list(PATH_COLUMNS))
    run_table = run_table.astype({"p50_ms": "float64", "items_per_s": "float64"})
    for table in (run_table, path_table):
        table["started_at"] = pd.to_datetime(table["started_at"], utc=True)
    return History(
        run_table.sort_values(["started_at", "run_id"], kind="stable", ignore_index=True),
        path_table.sort_values(["started_at", "run_id"], kind="stable", ignore_index=True),
        tuple(unreadable),
    )


def _rows(summary: dict[str, Any], folder: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    version = summary.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version {version!r}, this kit reads {SCHEMA_VERSION}")
    started_at = pd.Timestamp(summary["started_at"])
    label, run_id, status = (_text(summary[key]) for key in ("label", "run_id", "status"))
    runs, paths = [], []
    for name, phase in summary["phases"].items():
        p50_ms = _number(phase["latency_ms"]["p50"])
        items_per_s = _number(phase["throughput"]["items_per_s"])
        runs.append((label, started_at, run_id, status, _text(name), p50_ms, items_per_s, str(folder)))
        paths += [
            (label, started_at, run_id, name, _text(component), float(value["mean"]))
            for component, value in phase["request_path_ms"].items()
        ]
    return runs, paths


def _text(value: object) -> str:
    """Raises UnicodeEncodeError, a ValueError, for half a surrogate pair, which no table can hold."""
    text = str(value)
    text.encode()
    return text


def _number(value: object) -> float | None:
    """None where it is not known. Raises TypeError for anything but a number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.50} is not a number")
    return float(value)
