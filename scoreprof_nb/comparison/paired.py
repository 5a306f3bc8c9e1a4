"""Is test different from control? Ratios over pairs of runs, and the verdict on each.

The unit is a run of the server, not a request: two launches of the same server differ by more than
the requests within a run suggest. Runs are paired in the order in which they were made (ABBA), so that a
drift of the machine affects both sides alike. The statistic is the mean log-ratio of the pairs.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scoreprof_nb.analysis.statistics import CONFIDENCE, RESAMPLES, interval_of
from scoreprof_nb.parameters.compare import FEWEST_PAIRS

LEVEL = 1 - CONFIDENCE
POWER = 0.8  # of the minimum detectable effect, as in the profiling report

IMPROVEMENT, REGRESSION = "improvement", "regression"
NO_CHANGE, SIZE_UNCERTAIN = "no meaningful change", "changed, size uncertain"
INCONCLUSIVE, INSUFFICIENT, NOT_KNOWN = "inconclusive", "insufficient", "not known"
SUGGESTIVE = "suggestive "
VERDICTS = (
    *(REGRESSION, IMPROVEMENT, NO_CHANGE, SIZE_UNCERTAIN, INCONCLUSIVE, INSUFFICIENT, NOT_KNOWN),
    *(SUGGESTIVE + REGRESSION, SUGGESTIVE + IMPROVEMENT),
)


@dataclass(frozen=True)
class Effect:
    """test / control of one metric. ``low`` and ``high``: 95 %, None when they are not known.

    ``p``: of the paired t-test, the p-value that is corrected for multiple comparisons. ``pairs`` is 1 for
    one run per side: the interval is then of the variation within the runs only.
    """

    ratio: float
    low: float | None
    high: float | None
    pairs: int
    p: float | None = None

    @property
    def minimum_detectable_effect(self) -> float | None:
        """The relative change that comparisons as noisy as this one detect in 80 % of the cases.

        It is (t_.975 + t_.80) times the standard error of the log-ratio, which follows from the interval.
        """
        if self.low is None or self.high is None or self.low <= 0:
            return None
        degrees = math.inf if self.pairs == 1 else self.pairs - 1
        for_power, for_level = stats.t.ppf([POWER, 1 - LEVEL / 2], degrees)
        half = math.log(self.high / self.low) / 2
        return math.exp(half * (1 + float(for_power / for_level))) - 1


def paired_effect(control: Sequence[float], test: Sequence[float]) -> Effect:
    """The ratio over pairs. The values of a pair have the same index; all are above 0.

    The interval is Student's on the log-ratios. A bootstrap over five or six pairs is too narrow: its
    95 % interval holds the truth in about 85 % of the cases, as a test counts.
    """
    return paired_effects(np.asarray([control]), np.asarray([test]))[0]


def paired_effects(control: NDArray[np.float64], test: NDArray[np.float64]) -> list[Effect]:
    """The effect of each row of two arrays of shape (rows, pairs), as ``paired_effect`` gives it."""
    logs = np.log(test / control)
    n = logs.shape[1]
    ratios = np.exp(logs.mean(axis=1))
    if n < 2:
        return [Effect(float(ratio), None, None, n) for ratio in ratios]
    low, high, p = t_interval(logs)
    columns = (values.tolist() for values in (ratios, np.exp(low), np.exp(high), p))
    return [
        Effect(ratio, below, above, n, p_value) for ratio, below, above, p_value in zip(*columns, strict=True)
    ]


def t_interval(
    differences: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Student's 95 % interval of the mean along the last axis, and the p-value of the mean being 0.

    ``differences``: shape (..., n), n at least 2. Gives low, high and p, each of shape (...). Differences
    that are all equal have an interval without width.
    """
    mean = differences.mean(axis=-1)
    constant = np.ptp(differences, axis=-1) == 0
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of scipy, about differences that are all equal
        result = stats.ttest_1samp(differences, 0, axis=-1)
        interval = result.confidence_interval(CONFIDENCE)
    return (
        np.where(constant, mean, interval.low),
        np.where(constant, mean, interval.high),
        np.where(constant, np.where(mean == 0, 1.0, 0.0), result.pvalue),
    )


def sign_flip_p(control: Sequence[float], test: Sequence[float]) -> float:
    """The two-sided p-value of the sign-flip test on the log-ratios of the pairs; NaN for one pair.

    Exact up to 16 pairs, where the smallest p-value is 2 / 2^pairs; for more, a seeded sample of the signs.
    """
    logs = np.log(np.asarray(test, dtype=np.float64) / np.asarray(control, dtype=np.float64))
    if len(logs) < 2:
        return math.nan
    result = stats.permutation_test(
        (logs,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2**16, rng=0
    )
    return float(result.pvalue)


def within_run_effect(control: NDArray[np.float64], test: NDArray[np.float64], seed: int) -> Effect:
    """The ratio of the medians with one run per side; the interval, by bootstrap over requests, is of the
    variation within the runs only.

    ``control``, ``test``: latencies of requests, any unit, at least one each.
    """
    rng = np.random.default_rng(seed)
    medians = [
        np.median(rng.choice(side, (RESAMPLES, len(side))), axis=1) if len(side) > 1 else None
        for side in (control, test)
    ]
    ratio = float(np.median(test) / np.median(control))
    below, above = medians
    if below is None or above is None:
        return Effect(ratio, None, None, 1)
    low, high = interval_of(above / below)
    return Effect(ratio, min(float(low), ratio), max(float(high), ratio), 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None stays None and is not counted.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6 (1979).
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[i] = largest
    return corrected


def verdict(effect: Effect, p_corrected: float | None, delta: float, lower_is_better: bool = True) -> str:
    """One of VERDICTS.

    A regression or an improvement needs the whole interval beyond 1 +- delta and a corrected p-value below
    5 %. No meaningful change needs the whole interval within 1 +- delta. One run per side is suggestive at
    most; fewer than five pairs are insufficient.
    """
    if effect.low is None or effect.high is None:
        return NOT_KNOWN if effect.pairs < 2 else INSUFFICIENT
    if 1 < effect.pairs < FEWEST_PAIRS:
        return INSUFFICIENT
    above, below = effect.low > 1 + delta, effect.high < 1 - delta
    if above or below:
        direction = REGRESSION if above == lower_is_better else IMPROVEMENT
        if effect.pairs == 1:
            return SUGGESTIVE + direction
        return direction if p_corrected is not None and p_corrected < LEVEL else SIZE_UNCERTAIN
    if effect.pairs == 1:
        return INCONCLUSIVE
    if effect.low >= 1 - delta and effect.high <= 1 + delta:
        return NO_CHANGE
    return SIZE_UNCERTAIN if effect.low > 1 or effect.high < 1 else INCONCLUSIVE
