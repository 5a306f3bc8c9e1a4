"""The tables of a comparison's report."""

import pandas as pd

from scoreprof_nb.analysis.statistics import wilson_interval
from scoreprof_nb.comparison.attribution import only_one_side
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.parameters.compare import SIDES
from scoreprof_nb.report import format
from scoreprof_nb.report.comparison_verdict import agreement_text
from scoreprof_nb.report.what_if_marks import see

FUNCTIONS, STACKS, COMPONENTS = 12, 10, 8
_CUMULATIVE = ("cumulative_control_ms", "cumulative_test_ms")
_ENTRY_SHARE = 0.95
_COUNTED = {"compile_hit": "hit by a compile", "split": "split over batches"}


def guards_table(comparison: Comparison) -> pd.DataFrame:
    """What must hold before anything is called an improvement. Columns: guard, phase, result, reason."""
    table = comparison.guards
    return table.assign(
        phase=table["phase"].fillna("all"),
        blocks=[("passes", "BLOCKS")[blocks] for blocks in table["blocks"]],
    ).rename(columns={"blocks": "result"})


def metrics_table(comparison: Comparison) -> pd.DataFrame:
    """One row per phase and metric: the mean of each side, the change with its interval, and the verdict."""
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "metric": f"{row['metric']}, {row['unit']}",
                "control": row["control"],
                "test": row["test"],
                "change": _percent_change(row["ratio"], row["low"], row["high"]),
                "verdict": row["verdict"],
                "smallest change\nthat would show": format.percent(row["detectable"]),
            }
            for row in comparison.metrics.to_dict("records")
        ]
    )


def evidence_table(comparison: Comparison) -> pd.DataFrame:
    """What the verdicts rest on, a row per phase and metric whose ratio is known."""
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "metric": row["metric"],
                "test / control": format.ratio(row["ratio"], row["low"], row["high"]),
                "Hodges-Lehmann": format.number(row["hodges_lehmann"], 3),
                "pairs": agreement_text(row["agreeing"], row["pairs"]) if row["pairs"] > 1 else row["pairs"],
                "p": format.p_value(row["p"]),
                "pairs for the margin": format.number(row["pairs_needed"], 0),
            }
            for row in comparison.metrics[comparison.metrics["ratio"].notna()].to_dict("records")
        ]
    )


def _percent_change(ratio: float, low: float, high: float) -> str:
    """``+3.1% (+1.0% to +5.2%)`` of a ratio and its bounds."""
    changed = format.percent_change
    if changed(low) == format.NOT_KNOWN:
        return changed(ratio)
    return f"{changed(ratio)} ({changed(low)} to {changed(high)})"


def components_table(comparison: Comparison) -> pd.DataFrame:
    """The request path side by side, the largest changes of each phase first. What waits behind a component
    is part of its ms, and also in a column of its own if anything waits."""
    table = comparison.components.groupby("phase", sort=False).head(COMPONENTS)
    queued = table["queued_change_ms"].fillna(0).any()
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "component": row["component"] + see(comparison.of_phase(row["phase"]), row["component"]),
                "control ms": row["control_ms"],
                "test ms": row["test_ms"],
                "change ms": format.change(row["change_ms"], row["low"], row["high"]),
                **({"of it queued ms": row["queued_change_ms"]} if queued else {}),
                "p": format.p_value(row["p"]),
                "smallest that\nmatters, ms": row["margin_ms"],
                "verdict": row["verdict"],
            }
            for row in table.to_dict("records")
        ]
    )


def functions_table(comparison: Comparison) -> pd.DataFrame:
    """The functions whose self time changed most, then those whose cumulative time changed most.

    Columns: phase, thread, function, time (self or cumulative), control_ms, test_ms, change_ms, all per
    request: the rows of comparison.json. The second part leaves out the entry points of a thread: functions
    that are in nearly all of its stacks on both sides do not show where a change comes from.
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
    """Stacks that only one side has: phase, which (vanished or new), ms per request, samples, thread,
    stack."""
    stacks = only_one_side(comparison.stacks)
    largest = stacks.groupby(["phase", "which"], sort=False).head(STACKS)
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
            for row in largest.to_dict("records")
        ]
    )


def scores_table(comparison: Comparison) -> pd.DataFrame:
    """A row per phase: how many payloads both sides answered, how far their scores are apart, and whether
    they are the same (same, CHANGED or not checked)."""
    words = {True: "same", False: "CHANGED", None: "not checked"}
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "scores": words[row["same"]],
                "payloads that both\nsides answered": row["payloads"],
                "that one side\nanswered": row["only_one_side"],
                "other number\nof scores": row["shape_differs"],
                "other order\nof items": row["reordered"],
                "largest change\nof a score": row["largest_difference"],
                "of a logit\n(allowed)": f"{format.number(row['largest_logit_change'], 3)} "
                f"({format.number(row['logit_tolerance'], 3)})",
                **{
                    f"answers of {side}\nfar from control's": f"{row[f'{side}_deviating']:,} of "
                    f"{row[f'{side}_answers']:,}"
                    for side in SIDES
                },
            }
            for row in comparison.correctness.scores.to_dict("records")
        ]
    )


def counts_table(comparison: Comparison) -> pd.DataFrame:
    """Requests that failed, were hit by a compile, or were split: the share of each side with its
    interval."""
    rows = []
    for row in comparison.correctness.counts.to_dict("records"):
        known = row["control_of"] is not None and not pd.isna(row["control_of"])
        texts = [
            _count_text(int(row[side]), int(row[f"{side}_of"])) if known else format.NOT_KNOWN
            for side in SIDES
        ]
        changed = "not known" if not known else "changed" if row["changed"] else "no difference shown"
        rows.append(
            (row["phase"], _COUNTED.get(row["what"], row["what"]), *texts, format.p_value(row["p"]), changed)
        )
    return pd.DataFrame(rows, columns=["phase", "requests", *SIDES, "p (Fisher)", "result"])


def batching_table(comparison: Comparison) -> pd.DataFrame:
    """Compiles and prefill batches of a run: the mean of each side, and the change with its interval."""
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "mean of the runs": row["what"],
                "control": row["control"],
                "test": row["test"],
                "change": format.change(row["change"], row["low"], row["high"], digits=2),
                "p (paired t)": format.p_value(row["p"]),
            }
            for row in comparison.batching.to_dict("records")
        ]
    )


def _count_text(hits: int, n: int) -> str:
    return format.count(hits, n, *wilson_interval(hits, n))
