"""The verdict on each phase and on the whole comparison, in one word, and whether it fails the gate."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.comparison.claims import (
    IMPROVEMENT,
    INCONCLUSIVE,
    INSUFFICIENT,
    NO_CHANGE,
    NOT_KNOWN,
    REGRESSION,
    SIZE_UNCERTAIN,
    SUGGESTIVE,
)
from scoreprof_nb.comparison.metrics import HEADLINE

BLOCKED, MIXED = "blocked", "mixed"
OPEN = (NOT_KNOWN, INSUFFICIENT, INCONCLUSIVE)  # nothing was shown; the least known first
PHASE_COLUMNS = ("phase", "verdict", "not_worse")
# The gates of the parameter fail_on, and the verdicts that each lets pass. "not_shown_equal" needs more than
# the word: see ``fails_gate``.
PASSES: Mapping[str, frozenset[str]] = {
    "never": frozenset(
        (
            *(IMPROVEMENT, NO_CHANGE, SIZE_UNCERTAIN, INCONCLUSIVE, SUGGESTIVE + IMPROVEMENT),
            *(BLOCKED, MIXED, REGRESSION, SUGGESTIVE + REGRESSION, NOT_KNOWN, INSUFFICIENT),
        )
    ),
    "regression": frozenset((IMPROVEMENT, NO_CHANGE, SIZE_UNCERTAIN, INCONCLUSIVE, SUGGESTIVE + IMPROVEMENT)),
    "not_improved": frozenset((IMPROVEMENT,)),
    "not_shown_equal": frozenset((IMPROVEMENT, NO_CHANGE, SIZE_UNCERTAIN, INCONCLUSIVE)),
}


def phase_verdicts(metrics: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each phase: PHASE_COLUMNS. ``metrics``: columns METRIC_COLUMNS.

    ``not_worse``: it was shown that no headline of the phase is worse by more than the margin, and no other
    metric seems so.
    """
    rows = [
        (phase, _of_phase(of_phase.to_dict("records")), _not_worse(of_phase))
        for phase, of_phase in metrics.groupby("phase", sort=False)
    ]
    return pd.DataFrame(rows, columns=list(PHASE_COLUMNS))


def _of_phase(rows: Sequence[Mapping[Any, Any]]) -> str:
    """The worst that was shown; without that, what is least known. An improvement of the headline does not
    count as one when another metric seems to be worse by more than the margin."""
    headlines = [row["verdict"] for row in rows if row["role"] == HEADLINE]
    suspect = any(row["role"] != HEADLINE and _seems_worse(row) for row in rows)
    perhaps_worse = any(row["role"] == HEADLINE and _slower(row) for row in rows)
    for prefix in ("", SUGGESTIVE):
        if prefix + REGRESSION in {row["verdict"] for row in rows}:
            return prefix + REGRESSION
        if prefix + IMPROVEMENT in headlines:
            return MIXED if suspect or perhaps_worse else prefix + IMPROVEMENT
    if BLOCKED in headlines:
        return BLOCKED
    if suspect or SIZE_UNCERTAIN in headlines:
        return SIZE_UNCERTAIN
    return next((word for word in OPEN if word in headlines), NO_CHANGE if headlines else NOT_KNOWN)


def _slower(row: Mapping[Any, Any]) -> bool:
    return bool(row["verdict"] == SIZE_UNCERTAIN and row["ratio"] > 1)


def _seems_worse(row: Mapping[Any, Any]) -> bool:
    """Whether the whole 95 % interval is worse than the margin. It is not corrected: a suspicion withholds an
    improvement, and no correction may weaken that."""
    if row["pairs"] < 2 or row["verdict"] == INSUFFICIENT:
        return False
    if row["lower_is_better"]:
        return bool(row["low"] > 1 + row["delta"])
    return bool(row["high"] < 1 - row["delta"])


def _not_worse(of_phase: pd.DataFrame) -> bool:
    rows = of_phase.to_dict("records")
    headlines = [row["not_worse"] for row in rows if row["role"] == HEADLINE]
    return bool(headlines) and all(headlines) and not any(map(_seems_worse, rows))


def overall(phases: pd.DataFrame, metrics: pd.DataFrame) -> str:
    """One word for the whole: the worst that was shown in any phase.

    A phase that is open does not hide what was shown in another; it is named beside the word. "No meaningful
    change" must be shown in every phase.
    """
    words = list(phases["verdict"])
    slower = {row["phase"] for row in metrics.to_dict("records") if row["role"] == HEADLINE and _slower(row)}
    better = IMPROVEMENT in words or SUGGESTIVE + IMPROVEMENT in words
    for word in (REGRESSION, SUGGESTIVE + REGRESSION, MIXED):
        if word in words:
            return word
    if better and slower:
        return MIXED
    for word in (IMPROVEMENT, SUGGESTIVE + IMPROVEMENT, SIZE_UNCERTAIN, *OPEN):
        if word in words:
            return word
    return NO_CHANGE if words else NOT_KNOWN


def is_settled(metrics: pd.DataFrame, blocked: bool) -> bool:
    """Whether further pairs could not change the word of the whole: it is blocked, a regression was shown, or
    no headline is open."""
    decided = {REGRESSION, IMPROVEMENT, NO_CHANGE, NOT_KNOWN}
    headlines = set(metrics.loc[metrics["role"] == HEADLINE, "verdict"])
    return blocked or REGRESSION in set(metrics["verdict"]) or headlines <= decided


def fails_gate(verdict: str, not_worse: bool, fail_on: str) -> bool:
    """Whether a verdict fails the gate ``fail_on``. A comparison that allows no verdict does not pass.

    ``not_worse``: every phase was shown not to be worse by more than the margin, which
    ``not_shown_equal`` (non-inferiority) needs besides a verdict of PASSES.
    """
    if verdict not in PASSES[fail_on]:
        return True
    return fail_on == "not_shown_equal" and not not_worse
