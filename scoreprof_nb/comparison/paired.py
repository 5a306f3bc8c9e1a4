"""Is test different from control? Ratios over pairs of runs, and what may be said of them.

The unit is a run of the server, not a request: two launches of the same server differ by more than
the requests within a run tell. Runs are paired in the order they were made (ABBA), so that a drift of
the machine falls on both sides alike; the statistic is the mean log-ratio of the pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scoreprof_nb.analysis.statistics import CONFIDENCE, RESAMPLES, interval_of
from scoreprof_nb.parameters.compare import FEWEST_PAIRS

LEVEL = 1 - CONFIDENCE
POWER = 0.8  # of what a comparison "could have seen", as the profiling report's p50 change it could show

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
    """test / control of one metric. ``low`` and ``high``: 95 %, None where they cannot be known.

    ``p_sign_flip``: exact, two-sided, of no difference; its smallest value is 2 / 2^pairs. ``p``: of
    the paired t-test, which has no such floor and is what is corrected for multiple comparisons.
    ``pairs`` is 1 for one run a side: the interval is then of the variation within the runs only.
    """

    ratio: float
    low: float | None
    high: float | None
    pairs: int
    p_sign_flip: float | None = None
    p: float | None = None

    @property
    def minimum_detectable_effect(self) -> float | None:
        """The relative change that comparisons as noisy as this one tell from none in 80 % of the cases.

        (t_.975 + t_.80) x the standard error of the log-ratio, which is taken from the interval.
        """
        if self.low is None or self.high is None or self.low <= 0:
            return None
        quantile = stats.norm.ppf if self.pairs == 1 else stats.t(self.pairs - 1).ppf
        half = math.log(self.high / self.low) / 2
        return math.exp(half * (1 + float(quantile(POWER) / quantile(1 - LEVEL / 2)))) - 1


def paired_effect(control: Sequence[float], test: Sequence[float]) -> Effect:
    """The ratio over pairs: values of the same pair stand at the same place, all of them above 0.

    The interval is Student's on the log-ratios. A bootstrap over five or six pairs is too narrow: its
    95 % hold the truth in about 85 % (tests/unit/test_paired.py counts it).
    """
    logs = np.log(np.asarray(test, dtype=np.float64) / np.asarray(control, dtype=np.float64))
    n, mean = len(logs), float(logs.mean())
    if n < 2:
        return Effect(math.exp(mean), None, None, n)
    low, high, p = t_interval(logs)
    return Effect(math.exp(mean), math.exp(low), math.exp(high), n, sign_flip_p(logs), p)


def t_interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Student's 95 % interval of the mean of at least two differences, and the p-value of mean 0."""
    n, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * error
    if error == 0:
        return mean, mean, 1.0 if mean == 0 else 0.0
    return mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1))


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """The exact two-sided p-value of the sign-flip test: under no difference every sign is as likely.

    Beyond 16 pairs a seeded sample of the signs is taken.
    """
    n = len(differences)
    if n <= 16:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), size=(2**16, n))
        signs[0] = 1.0
    means = np.abs(signs @ differences)
    return float(np.mean(means >= abs(differences.sum()) * (1 - 1e-12)))


def within_run_effect(control: NDArray[np.float64], test: NDArray[np.float64], seed: int) -> Effect:
    """The ratio of the medians of one run a side: a bootstrap over requests, within-run variation only."""
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
    """Holm's step-down correction; None stays None and counts for nothing.

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

    A regression or an improvement needs the interval beyond 1 +- delta and a corrected p-value below
    5 %; no meaningful change needs the interval within 1 +- delta. One run a side is suggestive at
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
