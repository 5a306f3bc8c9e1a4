"""Where a change comes from: components, functions and stacks of both sides, in ms per request."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.breakdown import working_stacks
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.comparison.paired import t_interval
from scoreprof_nb.stacks.table import short_path

CHANGE_COLUMNS = (
    *("phase", "component", "control_ms", "test_ms", "change_ms", "queued_change_ms"),
    *("low", "high", "p", "pairs", "method"),
)
METHODS = ("joint", "marginal")  # of a request path
WHOLE_PATH = "request path"  # in place of a component, where no pair has a path
BATCH_COLUMNS = ("phase", "what", "control", "test", "change", "low", "high", "p", "pairs")
FUNCTION_COLUMNS = (
    *("phase", "process", "thread", "function", "file"),
    *(f"{which}_{side}_ms" for which in ("self", "cumulative") for side in ("control", "test", "change")),
)
STACK_COLUMNS = ("phase", "stack", "control_ms", "test_ms", "control_samples", "test_samples")
_NOTHING = (0.0, 0.0, 0.0, 0.0)
FEWEST_SAMPLES = 5  # of a stack that only one side has: fewer may be chance


@dataclass(frozen=True)
class PathChange:
    """``table``: columns CHANGE_COLUMNS, the largest change first. ``excluded``: which runs could not be
    used and why; None when all were used."""

    table: pd.DataFrame
    excluded: str | None


def path_change(phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]) -> PathChange:
    """The change of each component of the request path, over the pairs that have a path on both sides.

    With several pairs the interval is Student's over the differences of the pairs. With one pair it follows
    from the intervals of the two runs (variation within a run only), and ``p`` is NaN. Joint and marginal
    paths come from two methods, so their difference would not be the server's: only pairs of the method
    that more pairs have are used. Without any such pair the table is one row of NaN for the whole path
    (WHOLE_PATH).

    With several requests in flight a component has its own time and what requests wait behind it. Both count,
    so that the components sum to the latency; ``queued_change_ms`` is the part of the change that is queued.
    """
    method, pairs = comparable_paths(control, test)
    used = [[_own_and_queued(path) for path in pair] for pair in pairs]
    excluded = None
    if len(used) < len(control):
        lacking = _lacking(phase, [run.path for run in (*control, *test)])
        excluded = f"{lacking}; {len(used)} of {len(control)} pairs used"
    if not used:
        row = (phase, WHOLE_PATH, *[math.nan] * 7, 0, None)
        return PathChange(pd.DataFrame([row], columns=list(CHANGE_COLUMNS)), excluded)
    rows = []
    for component in dict.fromkeys(name for pair in used for path in pair for name in path):
        left, right = (np.array([pair[side].get(component, _NOTHING) for pair in used]) for side in (0, 1))
        low, high, p = change_interval(left, right)
        means = float(left[:, 0].mean()), float(right[:, 0].mean())
        queued = float((right[:, 3] - left[:, 3]).mean())
        rows.append((phase, component, *means, means[1] - means[0], queued, low, high, p, len(used), method))
    table = pd.DataFrame(rows, columns=list(CHANGE_COLUMNS))
    order = table["change_ms"].abs().sort_values(ascending=False, kind="stable").index
    return PathChange(table.loc[order].reset_index(drop=True), excluded)


def comparable_paths(
    control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> tuple[str, list[tuple[RequestPath, RequestPath]]]:
    """The method that more pairs have on both sides, and the paths of these pairs, control's first."""
    pairs = [(before.path, after.path) for before, after in zip(control, test, strict=True)]
    of_method = {
        method: [pair for pair in pairs if all(path.method == method for path in pair)] for method in METHODS
    }
    method = max(METHODS, key=lambda name: len(of_method[name]))
    return method, of_method[method]


def _own_and_queued(path: RequestPath) -> dict[str, tuple[float, float, float, float]]:
    """Component to the mean of its own and queued ms, the interval (low, high), and the queued ms.

    The bounds of the two parts are added: they are of the same requests, and how they vary together is not
    known.
    """
    own, queued = path.as_mapping(), path.queued_mapping()
    parts = {
        name: (own.get(name, _NOTHING[:3]), queued.get(name, _NOTHING[:3]))
        for name in dict.fromkeys((*own, *queued))
    }
    return {
        name: (first[0] + second[0], first[1] + second[1], first[2] + second[2], second[0])
        for name, (first, second) in parts.items()
    }


def _lacking(phase: str, paths: Sequence[RequestPath]) -> str:
    """How many runs have no request path, or one by the other method, and why."""
    kinds: list[tuple[str | None, str, str]] = [(None, "none", "")]
    if {*METHODS} <= {path.method for path in paths}:
        kinds.append(("marginal", "a marginal path", ", which cannot be compared with a joint one"))
    parts = []
    for method, what, caveat in kinds:
        affected = [path for path in paths if path.method == method]
        reasons = "; ".join(dict.fromkeys(path.reason for path in affected if path.reason))
        because = f" ({reasons})" if reasons else ""
        if affected:
            parts.append(f"{len(affected)} of {len(paths)} runs have {what}{because}{caveat}")
    return f"request path of phase {phase}: {', '.join(parts)}"


def change_interval(left: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float, float]:
    """Low, high and p-value of a change; ``left``, ``right``: mean, low, high (and more) of each run, shape
    (runs, at least 3)."""
    if len(left) > 1:
        low, high, p = map(float, t_interval(right[:, 0] - left[:, 0]))
        return low, high, p
    change = right[0, 0] - left[0, 0]
    below = np.hypot(right[0, 0] - right[0, 1], left[0, 2] - left[0, 0])
    above = np.hypot(right[0, 2] - right[0, 0], left[0, 0] - left[0, 1])
    return float(change - below), float(change + above), float("nan")


def batch_changes(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> pd.DataFrame:
    """Compiles and prefill batches of a run, over the pairs: BATCH_COLUMNS, means over the runs.

    The interval is Student's over the differences of the pairs, NaN with one pair. Everything is NaN when a
    server log does not show the count.
    """
    rows = []
    for what, value in _BATCH_COUNTS.items():
        left, right = (
            np.array([math.nan if (count := value(run)) is None else count for run in side])
            for side in (control, test)
        )
        change = right - left
        known = len(change) > 1 and not np.isnan(change).any()
        low, high, p = map(float, t_interval(change)) if known else [math.nan] * 3
        rows.append((phase, what, left.mean(), right.mean(), change.mean(), low, high, p, len(change)))
    return pd.DataFrame(rows, columns=list(BATCH_COLUMNS))


_BATCH_COUNTS: Mapping[str, Callable[[PhaseAnalysis], Any]] = {
    "compiles in the warm-up": lambda run: run.phase.record.warmup.compiles,
    "compiles while measured": lambda run: run.batching.summary["compiles"],
    "prefill batches per request": lambda run: run.batching.summary["prefills_per_request"],
}


def function_changes(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> pd.DataFrame:
    """Functions by the change of their self time: FUNCTION_COLUMNS, ms per request, means over the runs.

    File names begin at the package, so that two installations of a package have the same names.
    """
    keys = ["process", "thread", "function", "file"]
    sides = []
    for name, runs in (("control", control), ("test", test)):
        hot = pd.concat([run.threads.hot_functions for run in runs], ignore_index=True)
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
    """Every stack of a working thread: STACK_COLUMNS, ms per request, means over the runs.

    ``stack``: a tuple of labels, the thread's role first. Labels have no line numbers, ids or installation
    folders, so that the same code has the same stack on both sides.
    """
    sides = []
    for name, runs in (("control", control), ("test", test)):
        totals: dict[tuple[str, ...], tuple[float, int]] = {}
        # A run whose requests all failed has no mean.
        served = [run for run in runs if run.threads.served > 0]
        for run in served:
            for stack in working_stacks(run.ticks):
                ms, samples = totals.get(stack.labels(), (0.0, 0))
                ms += stack.wall_ms / run.threads.served / len(served)
                totals[stack.labels()] = (ms, samples + stack.samples)
        sides.append(
            pd.DataFrame(
                [(stack, *values) for stack, values in totals.items()],
                columns=["stack", f"{name}_ms", f"{name}_samples"],
            ).set_index("stack")
        )
    table = sides[0].join(sides[1], how="outer").fillna(0.0).reset_index()
    table.insert(0, "phase", phase)
    return table[list(STACK_COLUMNS)].astype({"control_samples": int, "test_samples": int})


def only_one_side(stacks: pd.DataFrame) -> pd.DataFrame:
    """The stacks that vanished (only in control) or are new (only in test), the largest first.

    ``stacks``: columns STACK_COLUMNS; the result also has ``which``. Stacks of fewer than FEWEST_SAMPLES
    samples are not included.
    """
    gone = stacks[(stacks["test_samples"] == 0) & (stacks["control_samples"] >= FEWEST_SAMPLES)]
    new = stacks[(stacks["control_samples"] == 0) & (stacks["test_samples"] >= FEWEST_SAMPLES)]
    both = pd.concat([gone.assign(which="vanished"), new.assign(which="new")], ignore_index=True)
    order = (both["control_ms"] + both["test_ms"]).sort_values(ascending=False, kind="stable").index
    return both.loc[order].reset_index(drop=True)
