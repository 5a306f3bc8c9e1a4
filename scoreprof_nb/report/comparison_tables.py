"""The tables of a comparison's report, from what was computed."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.statistics import wilson_interval
from scoreprof_nb.comparison.attribution import only_one_side
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.parameters.compare import SIDES

FUNCTIONS, STACKS, COMPONENTS = 12, 10, 8
_CUMULATIVE = ("cumulative_control_ms", "cumulative_test_ms")
_ENTRY_SHARE = 0.95


def metrics_table(comparison: Comparison) -> pd.DataFrame:
    """Columns: phase, metric, control, test, ratio with interval, p, verdict."""
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "metric": f"{row['metric']}, {row['unit']}",
                "control": row["control"],
                "test": row["test"],
                "test / control": _ratio(row),
                "p (sign-flip)": row["p_sign_flip"],
                "p (paired t, corrected)": row["p_corrected"],
                "could have seen": _share(row["detectable"]),
                "margin": _share(row["delta"]),
                "verdict": row["verdict"],
            }
            for row in comparison.metrics.to_dict("records")
        ]
    )


def components_table(comparison: Comparison) -> pd.DataFrame:
    """The request path side by side, the largest changes of each phase first."""
    table = comparison.components.groupby("phase", sort=False).head(COMPONENTS)
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "component": row["component"],
                "control ms": row["control_ms"],
                "test ms": row["test_ms"],
                "change ms": _change(row["change_ms"], row, digits=1),
                "p (paired t, corrected)": row["p_corrected"],
                "margin ms": row["margin_ms"],
                "verdict": row["verdict"],
            }
            for row in table.to_dict("records")
        ]
    )


def functions_table(comparison: Comparison) -> pd.DataFrame:
    """The functions whose own time changed most, then those whose time with what they call did.

    Columns: phase, thread, function, time (self or cumulative), control_ms, test_ms, change_ms per
    request. Functions that are in nearly every stack of their thread on both sides (its entry points)
    tell nothing of where, and are left out of the second part.
    """
    rows = []
    for phase, of_phase in comparison.functions.groupby("phase", sort=False):
        of_thread = of_phase.groupby(["process", "thread"])[list(_CUMULATIVE)].transform("max")
        entry = (of_phase[list(_CUMULATIVE)] >= _ENTRY_SHARE * of_thread).all(axis=1)
        for time, of_part in (("self", of_phase), ("cumulative", of_phase[~entry])):
            changes = of_part[f"{time}_change_ms"].abs().sort_values(ascending=False, kind="stable")
            largest = of_part.loc[changes[changes > 0].index[: FUNCTIONS // 2]]
            rows += [
                {
                    "phase": phase,
                    "thread": f"{row['process']} / {row['thread']}",
                    "function": f"{row['function']} ({row['file']})",
                    "time": time,
                    **{f"{part}_ms": row[f"{time}_{part}_ms"] for part in (*SIDES, "change")},
                }
                for row in largest.to_dict("records")
            ]
    columns = ["phase", "thread", "function", "time", "control_ms", "test_ms", "change_ms"]
    return pd.DataFrame(rows, columns=columns)


def stacks_table(comparison: Comparison) -> pd.DataFrame:
    """Stacks that only one side has. Columns: phase, which, ms per request, samples, innermost frames."""
    found = only_one_side(comparison.stacks)
    found = found.groupby(["phase", "which"], sort=False).head(STACKS)
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "which": row["which"],
                "ms per request": row["control_ms"] + row["test_ms"],
                "samples": row["control_samples"] + row["test_samples"],
                "thread": row["stack"][0],
                "stack, innermost first": " < ".join(reversed(row["stack"][1:][-6:])),
            }
            for row in found.to_dict("records")
        ]
    )


def scores_table(comparison: Comparison) -> pd.DataFrame:
    words = {True: "same", False: "CHANGED", None: "not known"}
    table = comparison.correctness.scores
    return table.assign(same=[words[same] for same in table["same"]])


def counts_table(comparison: Comparison) -> pd.DataFrame:
    """Requests that failed, were compiled for, or were split: share of each side with its interval."""
    rows = []
    for row in comparison.correctness.counts.to_dict("records"):
        known = row["control_of"] is not None and not pd.isna(row["control_of"])
        texts = [_count_text(int(row[side]), int(row[f"{side}_of"])) if known else "n/a" for side in SIDES]
        changed = "not known" if not known else "changed" if row["changed"] else "no difference shown"
        rows.append((row["phase"], row["what"], *texts, row["p"], changed))
    return pd.DataFrame(rows, columns=["phase", "requests", *SIDES, "p (Fisher)", "result"])


def batching_table(comparison: Comparison) -> pd.DataFrame:
    """Compiles and prefill batches of a run: mean of each side, and the change with its interval."""
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "mean of the runs": row["what"],
                "control": row["control"],
                "test": row["test"],
                "change": _change(row["change"], row, digits=2),
                "p (paired t)": row["p"],
            }
            for row in comparison.batching.to_dict("records")
        ]
    )


def runs_table(comparison: Comparison) -> pd.DataFrame:
    """One row per run and phase, in the order of time."""
    table = comparison.runs.sort_values("started_s", kind="stable")
    started = [datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in table["started_s"]]
    return table.assign(started_at=started).drop(columns="started_s")


def _count_text(hits: int, n: int) -> str:
    low, high = wilson_interval(hits, n)
    return f"{hits} of {n} ({low:.1%} to {high:.1%})"


def _change(value: float, row: Mapping[Any, Any], digits: int) -> str:
    """Such as "+1.5 (+1.0 to +2.0)"."""
    if not math.isfinite(value):
        return "n/a"
    text = f"{value:+.{digits}f}"
    known = math.isfinite(row["low"])
    return f"{text} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})" if known else text


def _ratio(row: Mapping[Any, Any]) -> str:
    if not math.isfinite(row["low"]):
        return f"{row['ratio']:.3f}" if math.isfinite(row["ratio"]) else "n/a"
    return f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "n/a"
