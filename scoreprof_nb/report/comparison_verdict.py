"""The verdict on a comparison in words: one sentence, what was compared, and how it was measured."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.comparison import claims
from scoreprof_nb.comparison.comparability import COMPARED
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.parameters.compare import FEWEST_PAIRS, FIRST_LOOK, TEST
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.comparison_cause import cause_text
from scoreprof_nb.report.comparison_caveats import caveats
from scoreprof_nb.report.format import (
    SMALLEST_P,
    escape_markdown,
    number,
    one_line,
    p_value,
    percent,
    percent_change,
)

NO_COMPARISON = "No comparison: no pair of runs is complete, or only a history is requested."
_CONDITION_LENGTH = 80
_OPEN = (claims.INCONCLUSIVE, claims.INSUFFICIENT, claims.NOT_KNOWN)


def phases_markdown(comparison: Comparison) -> list[str]:
    """A Markdown list: the verdict on each phase."""
    return [
        f"- phase {escape_markdown(row['phase'])}: **{row['verdict']}**"
        for row in comparison.phase_verdicts.to_dict("records")
    ]


def conditions_markdown(report: ComparisonReport) -> list[str]:
    """A Markdown list: the conditions that differ, what is excluded, and the caveats."""
    comparison = report.comparison
    lines = [
        f"{row['kind']}: {row['what']}: control {row['control']}, test {row['test']}"
        for row in comparison.comparability.to_dict("records")
        if (row["kind"], row["what"]) != (COMPARED, "label")
    ]
    lines += [f"excluded: {text}" for text in comparison.excluded]
    return [f"- {escape_markdown(line)}" for line in (*lines, *caveats(comparison, report.missing))]


def sentence(report: ComparisonReport) -> str:
    """The verdict in plain text: what was shown, what is open, the cause, and what the sides differ in."""
    comparison = report.comparison
    parts = [f"{report.names[TEST]} against {report.names['control']}: {_what_was_shown(comparison)}"]
    cause = cause_text(comparison)
    if cause:
        parts.append(cause)
    parts.append(difference_text(comparison.comparability))
    return f"{'. '.join(parts)}."


def _what_was_shown(comparison: Comparison) -> str:
    changes = changes_text(comparison.metrics, comparison.pairs)
    weak = " (suggestive only: one run per side)" if comparison.pairs == 1 else ""
    if not comparison.blocked:
        return f"{changes}{weak}"
    reasons = "; ".join(
        f"{row['reason']}{f' in {row["phase"]}' if isinstance(row['phase'], str) else ''}"
        for row in comparison.guards[comparison.guards["blocks"]].to_dict("records")
    )
    return f"{reasons}: see 'Is test still correct?' first. Apart from that: {changes}{weak}"


def changes_text(metrics: pd.DataFrame, pairs: int) -> str:
    """What was shown and what is open, the worst first. ``metrics``: columns METRIC_COLUMNS.

    Such as "better in mean of small -9.0% (44.0 -> 40.0 ms, -10.1% to -7.9%, p < 0.001, all 6 pairs agree);
    open: mean of large (smallest detectable change 12.0%; ±5% would take 14 pairs)".
    """
    rows = metrics.to_dict("records")
    headlines = [row for row in rows if row["role"] == HEADLINE]
    too_few = f"too few pairs for a verdict ({pairs}; at least {FEWEST_PAIRS}, better {FIRST_LOOK}):"

    def of(word: str, chosen: Sequence[Mapping[Any, Any]] = headlines) -> list[Mapping[Any, Any]]:
        return [row for row in chosen if row["verdict"].endswith(word)]

    worse = of(claims.REGRESSION)
    slower = {row["phase"] for row in worse}  # the other metrics of these phases only repeat it
    beside = [row for row in rows if row["role"] != HEADLINE and row["phase"] not in slower]
    parts = (
        ("worse in", [*worse, *of(claims.REGRESSION, beside)]),
        ("better in", of(claims.IMPROVEMENT)),
        ("faster, but blocked:", of("blocked")),
        ("changed, size uncertain:", of(claims.SIZE_UNCERTAIN)),
        ("no meaningful change in", of(claims.NO_CHANGE)),
        ("open:", of(claims.INCONCLUSIVE)),
        (too_few, of(claims.INSUFFICIENT)),
        ("not known:", of(claims.NOT_KNOWN)),
    )
    return "; ".join(f"{words} {', '.join(map(_change_text, chosen))}" for words, chosen in parts if chosen)


def _change_text(row: Mapping[Any, Any]) -> str:
    name = row_name(row)
    if row["verdict"] == claims.NOT_KNOWN or not math.isfinite(row["ratio"]):
        return name
    if row["verdict"] in _OPEN:
        return f"{name} ({open_text(row)})" if math.isfinite(row["detectable"]) else name
    evidence = [f"{number(row['control'])} -> {number(row['test'])} {row['unit']}"]
    if math.isfinite(row["low"]):
        evidence.append(f"{percent_change(row['low'])} to {percent_change(row['high'])}")
    if math.isfinite(row["p"]):
        evidence.append(f"p < {SMALLEST_P}" if row["p"] < SMALLEST_P else f"p = {p_value(row['p'])}")
    if row["pairs"] > 1 and row["verdict"] != claims.NO_CHANGE:
        evidence.append(agreement_text(row["agreeing"], row["pairs"]))
    return f"{name} {percent_change(row['ratio'])} ({', '.join(evidence)})"


def row_name(row: Mapping[Any, Any]) -> str:
    """Such as "mean of small", "p90 of large" or "mean of large in mixed"."""
    joined = "in" if " of " in row["metric"] else "of"
    return f"{row['metric']} {joined} {row['phase']}"


def open_text(row: Mapping[Any, Any]) -> str:
    """How much a row without a verdict could have shown, and what it would take."""
    return (
        f"smallest detectable change {percent(row['detectable'])}; "
        f"±{percent(row['delta'], 0)} would take {pairs_text(row['pairs_needed'])}"
    )


def pairs_text(pairs: float) -> str:
    """``14 pairs``, of a number that is NaN when even 400 would not do."""
    return f"{pairs:.0f} pairs" if math.isfinite(pairs) else "more than 400 pairs"


def agreement_text(agreeing: int, pairs: int) -> str:
    """``all 6 pairs agree``, or ``5 of 6 pairs agree``."""
    return f"all {pairs} pairs agree" if agreeing == pairs else f"{agreeing} of {pairs} pairs agree"


def difference_text(comparability: pd.DataFrame) -> str:
    """What the sides differ in by intent. ``comparability``: columns COMPARABILITY_COLUMNS."""
    rows = [
        row for row in comparability.to_dict("records") if row["kind"] == COMPARED and row["what"] != "label"
    ]
    if not rows:
        return "The sides are the same but for their labels"
    texts = [
        f"{row['what']} ({one_line(row['control'], _CONDITION_LENGTH)} -> "
        f"{one_line(row['test'], _CONDITION_LENGTH)})"
        for row in rows
    ]
    return f"The sides differ in {', '.join(texts)}"
