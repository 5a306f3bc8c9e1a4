"""An A/A comparison: the same server on both sides, which shows what launches alone differ by.

It gives the noise between launches, a bias (an effect of the order, a drift, a difference between sides that
are the same), and how many pairs and minutes a wanted effect takes. It never changes the margin: a margin of
the measured noise would shrink with more pairs, and count the noise twice.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.comparison.looks import ONE_LOOK
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.comparison.power import pairs_for
from scoreprof_nb.parameters.compare import FEWEST_PAIRS
from scoreprof_nb.parameters.schema import ParameterError

WANTED = (0.0, 0.1, 0.15, 0.2)  # relative changes to plan for; 0: to show that nothing changed
PLAN_COLUMNS = ("phase", "metric", "launch_noise", "low", "high", "wanted", "pairs", "minutes")
NODE = "a node of Kubernetes"
_MACHINE = ("host", "chip", "cpu", "cpus")  # of provenance.json


@dataclass(frozen=True)
class Noise:
    """``launch_noise``: by phase and metric, the relative standard deviation between launches. ``machine``:
    what it was measured on, as ``machine_of`` gives it. ``biased``: the headlines for which sides that are
    the same differed."""

    launch_noise: Mapping[tuple[str, str], float]
    machine: Mapping[str, str]
    biased: tuple[str, ...]


def machine_of(parameters: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, str]:
    """What the noise between launches depends on: machine, chip, model and phase length.

    A node of Kubernetes is made for a Job and gone after it, so its chip and its CPUs say what it is.
    """
    known = {**provenance, "host": NODE if provenance.get("node") else provenance.get("host")}
    facts = {name: str(known.get(name) or "not known") for name in _MACHINE}
    model = str(parameters.get("model_path") or "").rstrip("/").rpartition("/")[2]
    return {**facts, "model": model or "demo", "phase_s": str(parameters.get("phase_s"))}


def is_aa(differences: pd.DataFrame) -> bool:
    """Whether the sides are the same but for their labels. ``differences``: COMPARABILITY_COLUMNS."""
    return set(differences.loc[differences["kind"] != "noted", "what"]) <= {"label"}


def read_noise(path: str) -> Noise | None:
    """The noise from the ``comparison.json`` of a server with itself; None for an empty path.

    Raises ParameterError (``noise_from``) when the file cannot be read, has too few pairs, or compares
    sides that differ.
    """
    if not path:
        return None
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        if raw["schema_version"] < 2:
            raise ValueError("it is of an earlier version: make it again with make noise")
        if raw["pairs"] < FEWEST_PAIRS:
            raise ValueError(f"{raw['pairs']} pairs, but at least {FEWEST_PAIRS} are needed")
        differences = pd.DataFrame(raw["differences"], columns=["what", "kind"])
        if not is_aa(differences):
            names = ", ".join(sorted(set(differences["what"]) - {"label"}))
            raise ValueError(f"not an A/A comparison: the sides differ in {names}")
        known = [row for row in raw["metrics"] if row["launch_noise"] is not None]
        return Noise(
            {(row["phase"], row["metric"]): float(row["launch_noise"]) for row in known},
            {str(name): str(value) for name, value in raw["machine"].items()},
            tuple(
                f"{row['metric']} of {row['phase']}"
                for row in known
                if row["role"] == HEADLINE and not row["low"] <= 1 <= row["high"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParameterError("noise_from", path, f"cannot be used: {error}") from error


def check_noise(path: str, noise: Noise | None, machine: Mapping[str, str]) -> None:
    """Raise ParameterError (``noise_from``) when the noise was measured on something else than
    ``machine``."""
    if noise is None:
        return
    other = [
        f"{name} {noise.machine.get(name, 'not known')}, here {value}"
        for name, value in machine.items()
        if noise.machine.get(name) != value
    ]
    if other:
        raise ParameterError("noise_from", path, f"was measured on something else: {'; '.join(other)}")


def plan_table(metrics: pd.DataFrame, minutes_per_pair: float) -> pd.DataFrame:
    """What a wanted change takes, from the noise of a comparison: PLAN_COLUMNS.

    ``metrics``: columns METRIC_COLUMNS. ``launch_noise``: relative, between launches of one side, with its 95
    % interval (chi-square). ``pairs``: to show the wanted change beyond the margin (0: to show no meaningful
    change) with a power of 80 %, looked at once; NaN if 400 would not do.
    """
    rows = []
    headlines = metrics[(metrics["role"] == HEADLINE) & metrics["launch_noise"].notna()]
    for row in headlines.to_dict("records"):
        noise, freedom = row["launch_noise"], row["pairs"] - 1
        tails = stats.chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], freedom)
        low, high = (noise * math.sqrt(freedom / tail) for tail in tails)
        for wanted in WANTED:
            pairs = pairs_for(noise * math.sqrt(2), ONE_LOOK / len(headlines), row["delta"], wanted)
            number = math.nan if pairs is None else float(pairs)
            rows.append(
                (row["phase"], row["metric"], noise, low, high, wanted, number, number * minutes_per_pair)
            )
    return pd.DataFrame(rows, columns=list(PLAN_COLUMNS))


def minutes_per_pair(control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]) -> float:
    """The median time of a pair, launches included; NaN when no run has an end."""
    minutes = [
        (end - run.run.manifest.started_s) / 60
        for run in (*control, *test)
        if (end := run.run.manifest.finished_s) is not None
    ]
    return 2 * float(pd.Series(minutes, dtype=float).median())
