"""Is test still correct? The scores and the failures of two sides.

Failures are counted over all launches of a side together. A burst of failures in one launch counts like
failures spread over all of them: that errs on the side of blocking, and the table of runs shows the launch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.analysis.scores import tolerance_of
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.comparison.metrics import PhasePairs
from scoreprof_nb.comparison.paired import holm

SCORE_COLUMNS = (
    "phase",
    "payloads",
    "only_one_side",
    "shape_differs",
    "largest_difference",
    "control_deviating",
    "control_answers",
    "test_deviating",
    "test_answers",
    "tolerance",
    "same",
)
COUNT_COLUMNS = ("phase", "what", "control", "test", "control_of", "test_of", "p", "changed")


@dataclass(frozen=True)
class Correctness:
    """``scores``: columns SCORE_COLUMNS; ``counts``: columns COUNT_COLUMNS."""

    scores: pd.DataFrame
    counts: pd.DataFrame

    @property
    def scores_changed(self) -> bool:
        """Whether any phase returns other scores."""
        return bool((self.scores["same"] == False).any())  # noqa: E712 - None is not known

    @property
    def failures_changed(self) -> bool:
        """Whether more requests of test fail in any phase."""
        failed = self.counts[self.counts["what"] == "failed"]
        return bool(failed["changed"].any())

    @property
    def changed(self) -> bool:
        """Whether scores or failures changed."""
        return self.scores_changed or self.failures_changed


def compare_answers(phases: Mapping[str, PhasePairs], dtype: str) -> Correctness:
    """The scores and the failures of all phases; ``dtype``: the number format of the model."""
    scores = [compare_scores(name, *both, dtype) for name, both in phases.items()]
    counts = [row for name, both in phases.items() for row in compare_counts(name, *both)]
    return Correctness(
        pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        over_phases(pd.DataFrame(counts, columns=list(COUNT_COLUMNS))),
    )


def compare_scores(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis], dtype: str
) -> Mapping[str, object]:
    """A row of the table of scores: SCORE_COLUMNS. Each payload's scores are compared across the sides.

    Scores changed when the medians differ by more than the tolerance. They also changed when answers of test
    deviate from control's median by more than the tolerance and control's own do not, or do so less often by
    Fisher's test: a server that is wrong only occasionally still has the right median.
    """
    before, after = (_answers(side) for side in (control, test))
    shared = before.keys() & after.keys()
    tolerance = tolerance_of(dtype)
    differences, shape_differs, deviating, answers = [], 0, np.zeros(2, int), np.zeros(2, int)
    for payload in shared:
        one, other = before[payload], after[payload]
        if one is None or other is None or one.shape[1:] != other.shape[1:]:
            shape_differs += 1
            continue
        median = np.median(one, axis=0)
        differences.append(float(np.abs(median - np.median(other, axis=0)).max(initial=0.0)))
        for side, values in enumerate((one, other)):
            off = np.abs(values - median).max(axis=(1, 2), initial=0.0)
            deviating[side] += int((off > tolerance).sum())
            answers[side] += len(values)
    largest = max(differences, default=float("nan"))
    same = None
    if shared:
        more = deviating[1] > 0 and (deviating[0] == 0 or _more_p(*deviating, *answers) < 1 - CONFIDENCE)
        same = shape_differs == 0 and largest <= tolerance and not more
    only_one = len(before.keys() ^ after.keys())
    values_of_row = (
        *(phase, len(shared), only_one, shape_differs, largest),
        *(int(deviating[0]), int(answers[0]), int(deviating[1]), int(answers[1]), tolerance, same),
    )
    return dict(zip(SCORE_COLUMNS, values_of_row, strict=True))


def _more_p(hit: int, test_hit: int, total: int, test_total: int) -> float:
    """The p-value of Fisher's exact test that test has a larger share than control."""
    table = [[test_hit, test_total - test_hit], [hit, total - hit]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _answers(side: Sequence[PhaseAnalysis]) -> dict[tuple[str, int], NDArray[np.float64] | None]:
    """The scores of each payload (its kind and number) in all runs of a side: shape (answers, items, labels).

    None for a payload whose answers have several shapes.
    """
    requests = pd.concat([phase.phase.requests for phase in side], ignore_index=True)
    requests = requests[requests["error"].isna() & (requests["payload"] >= 0)]
    answers: dict[tuple[str, int], NDArray[np.float64] | None] = {}
    for (kind, number), scores in requests.groupby(["kind", "payload"])["scores"]:
        payload = str(kind), int(str(number))
        widths = {tuple(len(labels) for labels in one) for one in scores}
        if len(widths) == 1 and len(set(next(iter(widths)))) <= 1:
            answers[payload] = np.array([[list(map(float, labels)) for labels in one] for one in scores])
        else:
            answers[payload] = None
    return answers


def compare_counts(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> list[Mapping[str, object]]:
    """Rows of the table of counts, COUNT_COLUMNS: requests that failed, were hit by a compile, or were split.

    ``p``: Fisher's exact test over all requests of a side. It tests for any difference, and for failures
    only whether test has more of them: fewer are no reason to block. ``changed``: p below 5 %. NaN and None
    when the server's log does not show it.
    """
    rows: list[Mapping[str, object]] = []
    for what in ("failed", "compile_hit", "split"):
        counts = [_count(side, what) for side in (control, test)]
        if None in counts:
            values: tuple[object, ...] = (phase, what, None, None, None, None, float("nan"), None)
        else:
            (hit, total), (test_hit, test_total) = (count for count in counts if count is not None)
            p = (
                _more_p(hit, test_hit, total, test_total)
                if what == "failed"
                else float(stats.fisher_exact([[hit, total - hit], [test_hit, test_total - test_hit]]).pvalue)
            )
            values = (phase, what, hit, test_hit, total, test_total, p, p < 1 - CONFIDENCE)
        rows.append(dict(zip(COUNT_COLUMNS, values, strict=True)))
    return rows


def over_phases(counts: pd.DataFrame) -> pd.DataFrame:
    """The table of counts of all phases, with ``changed`` of failures corrected over the phases (Holm)."""
    failed = counts["what"] == "failed"
    corrected = holm([float(p) for p in counts.loc[failed, "p"]])
    changed = counts["changed"].astype(object)
    changed[failed] = [p is not None and p < 1 - CONFIDENCE for p in corrected]
    return counts.assign(changed=changed)


def _count(side: Sequence[PhaseAnalysis], what: str) -> tuple[int, int] | None:
    table = pd.concat([phase.requests.table for phase in side], ignore_index=True)
    hit = ~table["ok"] if what == "failed" else table[what]
    if hit.isna().all() and len(hit):
        return None
    return int(hit.fillna(False).sum()), len(table)
