"""All tables about the launches of a comparison, and the times that they took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.comparison.launches import launches, observer_difference, stability
from scoreprof_nb.comparison.loud_launches import loud_launches
from scoreprof_nb.comparison.metrics import PhasePairs
from scoreprof_nb.comparison.noise import minutes_per_pair, plan_table
from scoreprof_nb.parameters.compare import SIDES

RUN_COLUMNS = ("phase", "side", "pair", "run_id", "started_s", "p50_ms", "mean_ms", "requests")
OBSERVER_COLUMNS = ("phase", "ratio", "p")


@dataclass(frozen=True)
class Launches:
    """The launches one by one. ``values``: columns LAUNCH_COLUMNS; ``stability``: STABILITY_COLUMNS;
    ``loud``: LOUD_COLUMNS, those that stand out; ``runs``: RUN_COLUMNS; ``observer``: OBSERVER_COLUMNS,
    py-spy's effect on test against that on control; ``plan``: PLAN_COLUMNS."""

    values: pd.DataFrame
    stability: pd.DataFrame
    loud: pd.DataFrame
    runs: pd.DataFrame
    observer: pd.DataFrame
    plan: pd.DataFrame


def _runs_table(phases: Mapping[str, PhasePairs], sides: Sequence[Sequence[RunAnalysis]]) -> pd.DataFrame:
    rows = []
    for at, (side, runs) in enumerate(zip(SIDES, sides, strict=True)):
        for pair, run in enumerate(runs):
            manifest = run.run.manifest
            for name, both in phases.items():
                plain_ms = both[at][pair].requests.plain()["latency_ms"]
                rows.append(
                    (
                        *(name, side, pair + 1, manifest.run_id, manifest.started_s),
                        *(float(plain_ms.median()), float(plain_ms.mean()), len(plain_ms)),
                    )
                )
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def launch_tables(
    phases: Mapping[str, PhasePairs],
    control: Sequence[RunAnalysis],
    test: Sequence[RunAnalysis],
    metrics: pd.DataFrame,
) -> Launches:
    """The tables of the launches that were compared. ``metrics``: columns METRIC_COLUMNS."""
    values = launches(phases, control, test)
    differences = {name: observer_difference(sides) for name, sides in phases.items()}
    observer = [(name, *found) for name, found in differences.items() if found is not None]
    return Launches(
        values=values,
        stability=stability(values),
        loud=loud_launches(values),
        runs=_runs_table(phases, (control, test)),
        observer=pd.DataFrame(observer, columns=list(OBSERVER_COLUMNS)),
        plan=plan_table(metrics, minutes_per_pair(control, test)),
    )
