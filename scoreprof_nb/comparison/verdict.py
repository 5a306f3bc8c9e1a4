"""The verdict on a whole comparison, in one word, and whether it fails the gate."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scoreprof_nb.comparison import paired
from scoreprof_nb.comparison.compare import BLOCKED, Comparison

MIXED = "mixed"
_WEAK = (paired.NOT_KNOWN, paired.INSUFFICIENT, paired.SIZE_UNCERTAIN, paired.INCONCLUSIVE)


def verdict_of(comparison: Comparison) -> str:
    """The verdict on the whole comparison: BLOCKED, or that of ``overall``."""
    return BLOCKED if comparison.blocked else overall(comparison.metrics)


def overall(metrics: pd.DataFrame) -> str:
    """MIXED or one of ``paired.VERDICTS``, out of the verdicts on all metrics.

    ``metrics``: columns METRIC_COLUMNS. A regression of any metric counts. An improvement must be one of p50,
    and no other phase's p50 may be worse by more than the margin. If another p50 may be worse, the comparison
    is mixed (when it is worse by an uncertain size) or gets the verdict on that phase.
    """
    p50 = metrics[metrics["metric"] == "p50"].to_dict("records")
    p50_verdicts = [row["verdict"] for row in p50]
    perhaps_worse = any(row["verdict"] == paired.SIZE_UNCERTAIN and row["ratio"] > 1 for row in p50)
    for prefix in ("", paired.SUGGESTIVE):
        worse, better = (
            prefix + paired.REGRESSION in set(metrics["verdict"]),
            prefix + paired.IMPROVEMENT in p50_verdicts,
        )
        if worse:
            return MIXED if better else prefix + paired.REGRESSION
        if better and perhaps_worse:
            return MIXED
        if better and not any(map(_could_be_worse, p50)):
            return prefix + paired.IMPROVEMENT
    for weak in _WEAK:
        if weak in p50_verdicts:
            return weak
    return paired.NO_CHANGE if p50_verdicts else paired.NOT_KNOWN


def _could_be_worse(row: Mapping[Any, Any]) -> bool:
    """Whether a p50 that is neither improved nor unchanged may be slower by more than the margin."""
    fine = row["verdict"] == paired.NO_CHANGE or row["verdict"].endswith(paired.IMPROVEMENT)
    return not fine and not row["high"] <= 1 + row["delta"]


def fails_gate(verdict: str, fail_on: str) -> bool:
    """Whether a verdict fails the gate ``fail_on``. A comparison that allows no verdict does not pass."""
    if fail_on == "regression":
        worse = (BLOCKED, MIXED, paired.REGRESSION, paired.SUGGESTIVE + paired.REGRESSION)
        return verdict in (*worse, paired.NOT_KNOWN, paired.INSUFFICIENT)
    return fail_on == "not_improved" and verdict != paired.IMPROVEMENT
