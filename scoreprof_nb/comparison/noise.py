"""The noise floor: the difference between two launches of the same server, from an A/A comparison."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scoreprof_nb.parameters.compare import FEWEST_PAIRS
from scoreprof_nb.parameters.schema import ParameterError

Noise = Mapping[tuple[str, str], float]  # (phase, metric or component) to a relative change


def read_noise(path: str) -> Noise:
    """The noise floor from the ``comparison.json`` of a server with itself; empty for an empty path.

    Raises ParameterError (``noise_from``) when the file cannot be read, has too few pairs, or compares
    sides that differ.
    """
    if not path:
        return {}
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        if raw["pairs"] < FEWEST_PAIRS:
            raise ValueError(f"{raw['pairs']} pairs, but at least {FEWEST_PAIRS} are needed")
        differing = [row["what"] for row in raw["differences"] if row["what"] != "label"]
        if differing:
            raise ValueError(f"not an A/A comparison: the sides differ in {', '.join(differing)}")
        tables = [pd.DataFrame(raw[name]) for name in ("metrics", "components")]
        return noise_of(*(table.astype({"low": float, "high": float}) for table in tables))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParameterError("noise_from", path, f"cannot be used: {error}") from error


def noise_of(metrics: pd.DataFrame, components: pd.DataFrame) -> dict[tuple[str, str], float]:
    """The largest relative change that an A/A comparison does not exclude, by phase and metric or component.

    ``metrics``, ``components``: tables of the comparison, columns METRIC_COLUMNS and COMPONENT_COLUMNS. The
    change of a component is relative to control's mean latency. Rows without an interval give no entry.
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
