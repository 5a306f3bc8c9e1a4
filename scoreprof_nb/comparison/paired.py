"""Ratios over pairs of runs, and their intervals.

The unit is a run of the server, not a request: two launches of the same server differ by more than
the requests within a run suggest. Runs are paired in the order in which they were made (ABBA), so that a
drift of the machine affects both sides alike. The statistic is the mean log-ratio of the pairs.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from scoreprof_nb.analysis.dependence import Floats, Units
from scoreprof_nb.analysis.intervals import mean_of
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.comparison.claims import IMPROVEMENT, INCONCLUSIVE, NOT_KNOWN, REGRESSION, SUGGESTIVE

Sample = tuple[Floats, Units]  # latencies of requests, any unit, and the blocks and kinds they belong to


@dataclass(frozen=True)
class Effect:
    """test / control of one metric. ``low`` and ``high``: 95 %, NaN when they are not known.

    ``spread``: the standard deviation of the log-ratios of the pairs, NaN for one pair. ``hodges_lehmann``: a
    ratio that one odd pair in four cannot move far. ``agreeing``: how many pairs changed in the direction
    of ``ratio``.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    spread: float = math.nan
    hodges_lehmann: float = math.nan
    agreeing: int = 0


def log_ratios(control: Floats, test: Floats) -> Floats:
    """The log-ratio of each pair; all values are above 0."""
    logs: Floats = np.log(np.asarray(test, dtype=np.float64) / np.asarray(control, dtype=np.float64))
    return logs


def paired_effect(logs: Floats) -> Effect:
    """The ratio over pairs, from their log-ratios.

    The interval is Student's on the log-ratios. A bootstrap over five or six pairs is too narrow: its
    95 % interval holds the truth in about 85 % of the cases, as a test counts.
    """
    mean, pairs = float(logs.mean()), len(logs)
    ratio = math.exp(mean)
    agreeing = int((np.sign(logs) == np.sign(mean)).sum())
    if pairs < 2:
        return Effect(ratio, math.nan, math.nan, pairs, math.nan, ratio, agreeing)
    low, high, _ = map(float, t_interval(logs))
    spread = float(logs.std(ddof=1)) if np.ptp(logs) else 0.0
    return Effect(
        ratio, math.exp(low), math.exp(high), pairs, spread, math.exp(hodges_lehmann(logs)), agreeing
    )


def hodges_lehmann(values: Floats) -> float:
    """The median of the means of all pairs of values, each with itself too.

    Source: Hodges and Lehmann, Estimates of Location Based on Rank Tests, Ann. Math. Stat. 34 (1963).
    """
    first, second = np.triu_indices(len(values))
    return float(np.median((values[first] + values[second]) / 2))


def t_interval(differences: Floats) -> tuple[Floats, Floats, Floats]:
    """Student's interval of the mean over the last axis, and the p-value that the mean is 0.

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


def within_run_effect(control: Sample, test: Sample) -> Effect:
    """The ratio of the means with one run per side; the interval is of the variation within the runs only,
    with what neighbouring requests and the measured blocks have in common (``dependence``).

    The sides are independent, and the logarithm of a mean moves by its relative change, to first order.
    ``control``, ``test``: at least one request each; NaN as interval with fewer than two.
    """
    means = [float(values.mean()) for values, _ in (control, test)]
    ratio = means[1] / means[0]
    halves = [float(mean_of(values).half_width(units)[0]) for values, units in (control, test)]
    relative = math.hypot(*(half / mean for half, mean in zip(halves, means, strict=True)))
    low, high = ratio * math.exp(-relative), ratio * math.exp(relative)
    return Effect(ratio, low, high, 1, math.nan, ratio, int(ratio != 1))


def suggested(effect: Effect, delta: float) -> str:
    """The verdict with one run per side: suggestive at most, from the interval within the runs."""
    if not math.isfinite(effect.low):
        return NOT_KNOWN
    if effect.low > 1 + delta:
        return SUGGESTIVE + REGRESSION
    return SUGGESTIVE + IMPROVEMENT if effect.high < 1 - delta else INCONCLUSIVE
