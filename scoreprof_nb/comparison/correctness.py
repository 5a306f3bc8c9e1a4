"""Is test still correct? The scores and the counts of requests of two sides.

Counts are over all launches of a side together. A burst of failures in one launch counts like failures spread
over all of them: that errs on the side of blocking, and the table of launches shows which one it was.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.comparison.metrics import PhasePairs

SCORE_COLUMNS = (
    *("phase", "payloads", "only_one_side", "shape_differs", "largest_difference", "largest_logit_change"),
    *("reordered", "control_deviating", "control_answers", "test_deviating", "test_answers"),
    *("logit_tolerance", "same"),
)
COUNT_COLUMNS = ("phase", "what", "control", "test", "control_of", "test_of", "p", "changed")
# Two rounding steps of a logit between 4 and 8 in the model's number format: equal payloads may be computed
# in batches of different shapes, which rounds differently. In float32 sums may be reordered.
LOGIT_TOLERANCES: Mapping[str, float] = MappingProxyType(
    {"bfloat16": 2**-4, "float16": 2**-7, "float32": 1e-3}
)
ROUNDED = 0.01  # of the payloads (or answers): so many may be a rounding step beyond the tolerance
FAR = 4.0  # times the tolerance: no rounding
FLOOR = 1e-4  # a smaller difference of probabilities is not looked at
_REORDERED = 8.0  # the scores as a set agree so many times better than item by item
_SMALLEST = 1e-12  # a probability of 0 has no logit
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Correctness:
    """``scores``: columns SCORE_COLUMNS; ``counts``: columns COUNT_COLUMNS."""

    scores: pd.DataFrame
    counts: pd.DataFrame


def logit_tolerance(dtype: str) -> float:
    """The largest difference of equal payloads' logits; bfloat16's for a format that is not known."""
    return LOGIT_TOLERANCES.get(dtype, LOGIT_TOLERANCES["bfloat16"])


def compare_answers(phases: Mapping[str, PhasePairs], dtype: str) -> Correctness:
    """The scores and the counts of all phases; ``dtype``: the number format of the model."""
    scores = [compare_scores(name, *both, dtype) for name, both in phases.items()]
    counts = [row for name, both in phases.items() for row in compare_counts(name, *both)]
    return Correctness(
        pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        pd.DataFrame(counts, columns=list(COUNT_COLUMNS)),
    )


def compare_scores(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis], dtype: str
) -> Mapping[str, object]:
    """A row of the table of scores: SCORE_COLUMNS. Each payload's scores are compared across the sides.

    An answer deviates when a score p is further from control's median than p (1 - p) times the tolerance of
    its logit, plus FLOOR: a change of a logit moves a probability near 0 or 1 much less than one near 0.5,
    and an absolute tolerance would not see it. Scores changed when the medians deviate, when answers of test
    deviate and control's own do not, or do so less often by Fisher's test: a server that is wrong only
    occasionally still has the right median. They also changed when the items have control's scores in another
    order.

    Where every request is new, thousands of payloads were answered once or a few times each, and rounding
    takes a few of them beyond the tolerance or swaps two items. So a share of up to ROUNDED is no change; a
    single answer that is FAR off is.
    """
    before, after = (_answers(side) for side in (control, test))
    shared = before.keys() & after.keys()
    tolerance = logit_tolerance(dtype)
    changes, logit_changes, medians_deviate, shape_differs, reordered = [0.0], [0.0], 0, 0, 0
    deviating, far, answers = np.zeros(2, int), np.zeros(2, int), np.zeros(2, int)
    for payload in shared:
        one, other = before[payload], after[payload]
        if one is None or other is None or one.shape[1:] != other.shape[1:]:
            shape_differs += 1
            continue
        medians = np.median(one, axis=0), np.median(other, axis=0)
        changes.append(float(np.abs(medians[1] - medians[0]).max(initial=0.0)))
        logit_changes.append(_logit_change(*medians))
        medians_deviate += bool(deviates(medians[1][None], medians[0], tolerance).any())
        reordered += is_reordered(one, other)
        for side, values in enumerate((one, other)):
            deviating[side] += int(deviates(values, medians[0], tolerance).sum())
            far[side] += int(deviates(values, medians[0], FAR * tolerance).sum())
            answers[side] += len(values)
    same = None
    if shared:
        more = is_beyond_rounding(deviating[1], answers[1]) and _more(deviating, answers)
        payloads = is_beyond_rounding(max(medians_deviate, reordered), len(shared))
        same = not (shape_differs or payloads or more or _more(far, answers))
    compared = len(shared) > shape_differs
    values_of_row = (
        *(phase, len(shared), len(before.keys() ^ after.keys()), shape_differs),
        *(max(values) if compared else math.nan for values in (changes, logit_changes)),
        *(reordered, int(deviating[0]), int(answers[0]), int(deviating[1]), int(answers[1])),
        *(tolerance, same),
    )
    return dict(zip(SCORE_COLUMNS, values_of_row, strict=True))


def is_beyond_rounding(count: int, of: int) -> bool:
    """Whether so many payloads or answers deviate, or are reordered, that it is more than rounding."""
    return count > ROUNDED * of


def _more(hits: Integers, answers: Integers) -> bool:
    """Whether answers of test are hit, and none of control's or fewer by Fisher's test. Shape (2,)."""
    return bool(hits[1] and (not hits[0] or more_p(*hits, *answers) < 1 - CONFIDENCE))


def deviates(answers: Floats, reference: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Which answers have a score that is not the reference's: shape (answers,).

    ``answers``: shape (answers, items, labels); ``reference``: (items, labels); ``tolerance``: of a logit.
    """
    allowed = reference * (1 - reference) * tolerance + FLOOR
    found: NDArray[np.bool_] = (np.abs(answers - reference) > allowed).any(axis=(1, 2))
    return found


def is_reordered(control: Floats, test: Floats) -> bool:
    """Whether test has control's scores, but of other items: as sets they agree much better than item by
    item.

    ``control``, ``test``: the answers to one payload, shape (answers, items, labels). Items whose scores
    differ by less than control's own answers do cannot be told apart. The test needs no tolerance, so that it
    also sees a change of order among scores that are nearly equal.
    """
    before, after = np.median(control, axis=0), np.median(test, axis=0)
    if len(before) < 2:
        return False
    by_item = np.abs(after - before).max(initial=0.0)
    as_sets = np.abs(np.sort(after, axis=0) - np.sort(before, axis=0)).max(initial=0.0)
    own = np.abs(control - before).max(initial=0.0)
    return bool(by_item > 2 * own + 1e-6 and by_item > _REORDERED * max(as_sets, own))


def _logit_change(before: Floats, after: Floats) -> float:
    logits = [
        np.log(clipped / (1 - clipped))
        for clipped in (np.clip(side, _SMALLEST, 1 - _SMALLEST) for side in (before, after))
    ]
    return float(np.abs(logits[1] - logits[0]).max(initial=0.0))


def more_p(hit: int, test_hit: int, total: int, test_total: int) -> float:
    """The p-value of Fisher's exact test that test has a larger share than control."""
    table = [[test_hit, test_total - test_hit], [hit, total - hit]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _answers(side: Sequence[PhaseAnalysis]) -> dict[tuple[str, int], Floats | None]:
    """The scores of each payload (its kind and number) in all runs of a side: shape (answers, items, labels).

    None for a payload whose answers have several shapes.
    """
    requests = pd.concat([phase.phase.requests for phase in side], ignore_index=True)
    requests = requests[requests["error"].isna() & (requests["payload"] >= 0)]
    answers: dict[tuple[str, int], Floats | None] = {}
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

    ``p``: Fisher's exact test for any difference, over all requests of a side. ``changed``: p below 5 %. NaN
    and None when the server's log does not show it. Whether failures block is the guard's to say.
    """
    rows: list[Mapping[str, object]] = []
    for what in ("failed", "compile_hit", "split"):
        counts = [_count(side, what) for side in (control, test)]
        if None in counts:
            values: tuple[object, ...] = (phase, what, None, None, None, None, float("nan"), None)
        else:
            (hit, total), (test_hit, test_total) = (count for count in counts if count is not None)
            table = [[hit, total - hit], [test_hit, test_total - test_hit]]
            p = float(stats.fisher_exact(table).pvalue)
            values = (phase, what, hit, test_hit, total, test_total, p, p < 1 - CONFIDENCE)
        rows.append(dict(zip(COUNT_COLUMNS, values, strict=True)))
    return rows


def _count(side: Sequence[PhaseAnalysis], what: str) -> tuple[int, int] | None:
    table = pd.concat([phase.requests.table for phase in side], ignore_index=True)
    hit = ~table["ok"] if what == "failed" else table[what]
    if hit.isna().all() and len(hit):
        return None
    return int(hit.fillna(False).sum()), len(table)
