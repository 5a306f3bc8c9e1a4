"""Is it still right? The scores and the failures of two sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.analysis.statistics import CONFIDENCE

# Scores are probabilities. Equal payloads may be computed in batches of another shape, so they may
# differ by a rounding step of the model's number format at 1: 2^-7 for bfloat16 (8 bits of mantissa),
# 2^-10 for float16 (11 bits); float32 sums may be reordered, which 1e-4 leaves room for.
TOLERANCES: Mapping[str, float] = {"bfloat16": 2**-7, "float16": 2**-10, "float32": 1e-4}
DEFAULT_DTYPE = "bfloat16"
SCORE_COLUMNS = (
    "phase",
    "payloads",
    "only_one_side",
    "shape_differs",
    "largest_difference",
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
        """Whether the share of failed requests changed in any phase."""
        failed = self.counts[self.counts["what"] == "failed"]
        return bool(failed["changed"].any())

    @property
    def changed(self) -> bool:
        """Whether scores or failures changed."""
        return self.scores_changed or self.failures_changed


def compare_scores(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis], dtype: str
) -> Mapping[str, object]:
    """A row of the scores' table: the medians of each payload's scores, side against side."""
    before, after = (_median_scores(side) for side in (control, test))
    shared = before.keys() & after.keys()
    tolerance = TOLERANCES.get(dtype, TOLERANCES[DEFAULT_DTYPE])
    differences, shape_differs = [], 0
    for payload in shared:
        one, other = before[payload], after[payload]
        if one is None or other is None or one.shape != other.shape:
            shape_differs += 1
        else:
            differences.append(float(np.abs(one - other).max(initial=0.0)))
    largest = max(differences, default=float("nan"))
    same = None if not shared else shape_differs == 0 and largest <= tolerance
    only_one = len(before.keys() ^ after.keys())
    return dict(
        zip(
            SCORE_COLUMNS,
            (phase, len(shared), only_one, shape_differs, largest, tolerance, same),
            strict=True,
        )
    )


def _median_scores(side: Sequence[PhaseAnalysis]) -> dict[int, NDArray[np.float64] | None]:
    """Payload to its median scores over all runs of a side: shape (items, labels) each.

    None where one payload got answers of several shapes: they have no median.
    """
    answers = pd.concat([phase.phase.requests for phase in side], ignore_index=True)
    answers = answers[answers["error"].isna()]
    medians: dict[int, NDArray[np.float64] | None] = {}
    for payload in map(int, answers["payload"].unique()):
        scores = answers.loc[answers["payload"] == payload, "scores"]
        widths = {tuple(len(labels) for labels in one) for one in scores}
        if len(widths) == 1 and len(set(next(iter(widths)))) <= 1:
            values = np.array([[list(map(float, labels)) for labels in one] for one in scores])
            medians[payload] = np.median(values, axis=0)
        else:
            medians[payload] = None
    return medians


def compare_counts(
    phase: str, control: Sequence[PhaseAnalysis], test: Sequence[PhaseAnalysis]
) -> list[Mapping[str, object]]:
    """Rows of the counts' table: requests that failed, were hit by a compile, were split over batches.

    ``p``: Fisher's exact test over all requests of a side, ``changed``: below 5 %. NaN and None where
    the server's log does not tell.
    """
    rows: list[Mapping[str, object]] = []
    for what in ("failed", "compile_hit", "split"):
        counts = [_count(side, what) for side in (control, test)]
        if None in counts:
            values: tuple[object, ...] = (phase, what, None, None, None, None, float("nan"), None)
        else:
            (hit, total), (test_hit, test_total) = (count for count in counts if count is not None)
            p = float(stats.fisher_exact([[hit, total - hit], [test_hit, test_total - test_hit]]).pvalue)
            values = (phase, what, hit, test_hit, total, test_total, p, p < 1 - CONFIDENCE)
        rows.append(dict(zip(COUNT_COLUMNS, values, strict=True)))
    return rows


def _count(side: Sequence[PhaseAnalysis], what: str) -> tuple[int, int] | None:
    table = pd.concat([phase.requests.table for phase in side], ignore_index=True)
    hit = ~table["ok"] if what == "failed" else table[what]
    if hit.isna().all() and len(hit):
        return None
    return int(hit.fillna(False).sum()), len(table)
