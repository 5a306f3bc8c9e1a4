"""One word and one sentence for a whole comparison, out of the verdicts on its phases and metrics."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scoreprof_nb.comparison import paired
from scoreprof_nb.parameters.compare import FEWEST_PAIRS

MIXED = "mixed"
_WEAK = (paired.NOT_KNOWN, paired.INSUFFICIENT, paired.SIZE_UNCERTAIN, paired.INCONCLUSIVE)


def overall(metrics: pd.DataFrame) -> str:
    """regression, improvement, mixed, or as analysis/paired.py has it; suggestive for one run a side.

    ``metrics``: columns METRIC_COLUMNS. A regression of any metric counts. An improvement is one of p50, and
    only where no other phase's p50 could be worse by more than the margin: else the comparison is mixed
    (another p50 is worse by an uncertain size), or what is said of that other phase.
    """
    p50 = metrics[metrics["metric"] == "p50"].to_dict("records")
    said_p50 = [row["verdict"] for row in p50]
    perhaps_worse = any(row["verdict"] == paired.SIZE_UNCERTAIN and row["ratio"] > 1 for row in p50)
    for prefix in ("", paired.SUGGESTIVE):
        worse, better = (
            prefix + paired.REGRESSION in set(metrics["verdict"]),
            prefix + paired.IMPROVEMENT in said_p50,
        )
        if worse:
            return MIXED if better else prefix + paired.REGRESSION
        if better and perhaps_worse:
            return MIXED
        if better and not any(map(_could_be_worse, p50)):
            return prefix + paired.IMPROVEMENT
    for weak in _WEAK:
        if weak in said_p50:
            return weak
    return paired.NO_CHANGE if said_p50 else paired.NOT_KNOWN


def _could_be_worse(row: Mapping[Any, Any]) -> bool:
    """Whether a p50 that is not known to be as fast or faster may be slower by more than the margin."""
    fine = row["verdict"] == paired.NO_CHANGE or row["verdict"].endswith(paired.IMPROVEMENT)
    return not fine and not row["high"] <= 1 + row["delta"]


def changes_text(metrics: pd.DataFrame, pairs: int) -> str:
    """What changed and what is open, such as "better in p50 of small -9.0%; inconclusive: p50 of large (could
    have seen 12.0%)"; empty when no p50 changed in any phase. ``metrics``: columns METRIC_COLUMNS."""
    rows = metrics.to_dict("records")
    p50 = [row for row in rows if row["metric"] == "p50"]
    parts = [
        f"{word} {', '.join(map(_change_text, found))}"
        for word, found in (
            ("worse in", [row for row in rows if row["verdict"].endswith(paired.REGRESSION)]),
            ("better in", [row for row in rows if row["verdict"].endswith(paired.IMPROVEMENT)]),
            ("changed, size uncertain:", [row for row in p50 if row["verdict"] == paired.SIZE_UNCERTAIN]),
            ("inconclusive:", [row for row in p50 if row["verdict"] == paired.INCONCLUSIVE]),
            (
                f"{pairs} pairs are insufficient for a verdict ({FEWEST_PAIRS} are needed, 6 are better):",
                [row for row in p50 if row["verdict"] == paired.INSUFFICIENT],
            ),
            ("not known:", [row for row in p50 if row["verdict"] == paired.NOT_KNOWN]),
        )
        if found
    ]
    return "; ".join(parts)


def _change_text(row: Mapping[Any, Any]) -> str:
    """Such as "p50 of small +3.1% (+1.0% to +5.2%)"."""
    text = f"{row['metric']} of {row['phase']}"
    if row["verdict"] in (paired.INCONCLUSIVE, paired.INSUFFICIENT):
        seen = row["detectable"]
        return f"{text} (could have seen {seen:.1%})" if math.isfinite(seen) else text
    if not math.isfinite(row["ratio"]):
        return text
    text += f" {_percent(row['ratio'])}"
    if row["verdict"] != paired.SIZE_UNCERTAIN:
        return text
    return f"{text} ({_percent(row['low'])} to {_percent(row['high'])})"


def _percent(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"
