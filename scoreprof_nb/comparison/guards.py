"""What must hold before anything is called an improvement.

Each guard is one function, and its definition is the only one: the headline, the tables, the figures and
comparison.json use its result. Corrections for multiple claims do not apply to guards: a correction protects
a claim from chance, and would weaken a guard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.comparison.claims import IMPROVEMENT
from scoreprof_nb.comparison.correctness import Correctness, is_beyond_rounding, more_p
from scoreprof_nb.comparison.metrics import PhasePairs
from scoreprof_nb.comparison.verdict import BLOCKED
from scoreprof_nb.parameters.compare import CONTROL, SIDES, TEST

GUARD_COLUMNS = ("guard", "phase", "blocks", "reason")
FISHER_LEVEL = 0.05
MOST_FAILING = 0.01  # of test's requests
CACHED_DIFFERENCE = 0.01  # of the prompt tokens: more of them from the prefix cache on one side
Stopped = Mapping[str, Sequence[str]]  # by side: each run that did not finish, and why


@dataclass(frozen=True)
class Guard:
    """The result of a guard; ``phase``: None when it is of the whole comparison. ``reason``: what was
    seen."""

    guard: str
    phase: str | None
    blocks: bool
    reason: str


def guards(phases: Mapping[str, PhasePairs], correctness: Correctness, stopped: Stopped) -> pd.DataFrame:
    """The results of all guards: GUARD_COLUMNS, those that block first."""
    counts = correctness.counts[correctness.counts["what"] == "failed"]
    failed = {row["phase"]: row for row in counts.to_dict("records")}
    scores = {row["phase"]: row for row in correctness.scores.to_dict("records")}
    results = [stopped_guard(stopped)]
    for name, sides in phases.items():
        control, control_of, test, test_of = (
            int(failed[name][column]) for column in ("control", "control_of", "test", "test_of")
        )
        results += [
            failures_guard(name, control, control_of, test, test_of),
            scores_guard(name, scores[name]),
            cache_guard(name, sides),
        ]
    table = pd.DataFrame(
        [(one.guard, one.phase, one.blocks, one.reason) for one in results], columns=list(GUARD_COLUMNS)
    )
    return table.sort_values("blocks", ascending=False, kind="stable", ignore_index=True)


def block_improvements(table: pd.DataFrame, guarded: pd.DataFrame) -> pd.DataFrame:
    """The table with BLOCKED in place of each improvement, if any guard blocks."""
    if not guarded["blocks"].any():
        return table
    words = [BLOCKED if word.endswith(IMPROVEMENT) else word for word in table["verdict"]]
    return table.assign(verdict=words)


def stopped_guard(stopped: Stopped) -> Guard:
    """Blocks if more runs of test than of control did not finish."""
    counts = {side: len(stopped[side]) for side in SIDES}
    last = f"; last of test: {stopped[TEST][-1]}" if stopped[TEST] else ""
    reason = f"runs that did not finish: test {counts[TEST]}, control {counts[CONTROL]}{last}"
    return Guard("stopped runs", None, counts[TEST] > counts[CONTROL], reason)


def failures_guard(phase: str, control: int, control_of: int, test: int, test_of: int) -> Guard:
    """Blocks if test fails any request where control fails none, fails more of them (Fisher's exact test,
    one-sided, below FISHER_LEVEL), or fails more than MOST_FAILING of them."""
    reason = f"failed requests: test {test} of {test_of}, control {control} of {control_of}"
    p = more_p(control, test, control_of, test_of)
    blocks = test > 0 and (control == 0 or p < FISHER_LEVEL or test > MOST_FAILING * test_of)
    return Guard("failures", phase, blocks, reason)


def scores_guard(phase: str, scores: Mapping[Any, Any]) -> Guard:
    """Blocks if test returns other scores or orders items differently, or if that was not checked.

    ``scores``: the phase's row of the table of scores, columns SCORE_COLUMNS.
    """
    if scores["same"] is None:
        return Guard("scores", phase, True, "scores: not checked, no payload was answered on both sides")
    if scores["same"]:
        return Guard("scores", phase, False, f"scores: the same in {scores['payloads']} payloads")
    reordered = is_beyond_rounding(scores["reordered"], scores["payloads"])
    what = "items in another order" if reordered else "other scores"
    reason = (
        f"{what}: {scores['test_deviating']} of {scores['test_answers']} answers of test deviate from "
        f"control's, and {scores['control_deviating']} of {scores['control_answers']} of control"
    )
    return Guard("scores", phase, True, reason)


def cached_token_share(phase: PhaseAnalysis) -> float | None:
    """The share of the prompt tokens that came from the prefix cache; None if the run's analysis has no such
    count."""
    cache = getattr(phase, "prefix_cache", None)
    return None if cache is None else cache.cached_share


def cache_guard(phase: str, sides: PhasePairs) -> Guard:
    """Blocks if one side took more of its prompt tokens from the prefix cache: it did less work."""
    known = [[share for run in side if (share := cached_token_share(run)) is not None] for side in sides]
    if not all(known):
        return Guard("prefix cache", phase, False, "prompt tokens from the prefix cache: not known")
    control, test = (sum(shares) / len(shares) for shares in known)
    reason = f"prompt tokens from the prefix cache: test {test:.1%}, control {control:.1%}"
    return Guard("prefix cache", phase, abs(test - control) > CACHED_DIFFERENCE, reason)
