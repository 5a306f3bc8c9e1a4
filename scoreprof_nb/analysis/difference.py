"""Where a difference comes from: components, functions and stacks of two sides, in ms per request."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.breakdown import working_stacks
from scoreprof_nb.analysis.paired import student
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.stacks.table import short_path

CHANGE_COLUMNS = ("phase", "component", "control_ms", "test_ms", "change_ms", "low", "high", "p")
FUNCTION_COLUMNS = (
    *("phase", "process", "thread", "function", "file"),
    *(f"{which}_{side}_ms" for which in ("self", "cumulative") for side in ("control", "test", "change")),
)
STACK_COLUMNS = ("phase", "stack", "control_ms", "test_ms", "control_samples", "test_samples")
FEWEST_SAMPLES = 5  # of a stack that only one side has: fewer may be chance


def path_change(phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]) -> pd.DataFrame:
    """The change of each component of the request path: columns CHANGE_COLUMNS, the largest first.

    Several pairs: Student's interval over the pairs' differences. One run a side: from the runs' own
    intervals, within-run variation only, and no ``p`` (NaN). Empty without a request path.
    """
    before = [side.path.as_mapping() for side in control]
    after = [side.path.as_mapping() for side in test]
    rows = []
    if all((*before, *after)):
        nothing = (0.0, 0.0, 0.0)
        for component in dict.fromkeys(name for path in (*before, *after) for name in path):
            left = np.array([path.get(component, nothing) for path in before])
            right = np.array([path.get(component, nothing) for path in after])
            low, high, p = _change_interval(left, right)
            means = float(left[:, 0].mean()), float(right[:, 0].mean())
            rows.append((phase, component, *means, means[1] - means[0], low, high, p))
    table = pd.DataFrame(rows, columns=list(CHANGE_COLUMNS))
    order = table["change_ms"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _change_interval(left: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float, float]:
    """``left``, ``right``: mean, low, high of each run, shape (runs, 3)."""
    if len(left) > 1:
        return student(right[:, 0] - left[:, 0])
    change = right[0, 0] - left[0, 0]
    below = np.hypot(right[0, 0] - right[0, 1], left[0, 2] - left[0, 0])
    above = np.hypot(right[0, 2] - right[0, 0], left[0, 0] - left[0, 1])
    return float(change - below), float(change + above), float("nan")


def function_changes(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> pd.DataFrame:
    """Functions by their change of self time: columns FUNCTION_COLUMNS, ms per request, mean over runs.

    Files are named from their package on, so that two installations of one package are the same.
    """
    keys = ["process", "thread", "function", "file"]
    sides = []
    for name, runs in (("control", control), ("test", test)):
        hot = pd.concat([run.hot for run in runs], ignore_index=True)
        hot = hot.assign(file=hot["file"].map(short_path))
        summed = hot.groupby(keys)[["self_ms", "cumulative_ms"]].sum() / len(runs)
        sides.append(summed.set_axis([f"self_{name}_ms", f"cumulative_{name}_ms"], axis=1))
    table = sides[0].join(sides[1], how="outer").fillna(0.0).reset_index()
    for which in ("self", "cumulative"):
        table[f"{which}_change_ms"] = table[f"{which}_test_ms"] - table[f"{which}_control_ms"]
    table.insert(0, "phase", phase)
    order = table["self_change_ms"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order, list(FUNCTION_COLUMNS)].reset_index(drop=True)


def stack_changes(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> pd.DataFrame:
    """Every stack of a thread at work: columns STACK_COLUMNS, ms per request, mean over runs.

    ``stack``: a tuple of labels, the thread's role first. No line numbers, ids or folders of an
    installation are in it, so that the same code is the same stack on both sides.
    """
    sides = []
    for name, runs in (("control", control), ("test", test)):
        found: dict[tuple[str, ...], tuple[float, int]] = {}
        served = [run for run in runs if run.served > 0]  # where all requests failed there is no mean
        for run in served:
            for stack in working_stacks(run.ticks):
                ms, samples = found.get(stack.labels(), (0.0, 0))
                ms += stack.wall_ms / run.served / len(served)
                found[stack.labels()] = (ms, samples + stack.samples)
        sides.append(
            pd.DataFrame(
                [(stack, *values) for stack, values in found.items()],
                columns=["stack", f"{name}_ms", f"{name}_samples"],
            ).set_index("stack")
        )
    table = sides[0].join(sides[1], how="outer").fillna(0.0).reset_index()
    table.insert(0, "phase", phase)
    return table[list(STACK_COLUMNS)].astype({"control_samples": int, "test_samples": int})


def only_one_side(stacks: pd.DataFrame) -> pd.DataFrame:
    """The stacks that vanished (only in control) or are new (only in test), the largest first.

    ``stacks``: as ``stack_changes`` gives them. A stack of fewer than FEWEST_SAMPLES is left out.
    """
    gone = stacks[(stacks["test_samples"] == 0) & (stacks["control_samples"] >= FEWEST_SAMPLES)]
    new = stacks[(stacks["control_samples"] == 0) & (stacks["test_samples"] >= FEWEST_SAMPLES)]
    both = pd.concat([gone.assign(which="vanished"), new.assign(which="new")], ignore_index=True)
    order = (both["control_ms"] + both["test_ms"]).sort_values(ascending=False, kind="stable").index
    return both.loc[order].reset_index(drop=True)
