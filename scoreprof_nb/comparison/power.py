"""What a comparison as noisy as this one could have seen: the power of its own verdict."""

import math
from functools import cache

from scipy import optimize, stats

from scoreprof_nb.comparison.claims import log_margin

POWER = 0.8
_MOST_PAIRS = 400


def smallest_detectable_change(spread: float, pairs: int, level: float, delta: float) -> float:
    """The relative change that is called a regression in POWER of the comparisons.

    ``spread``: standard deviation of the log-ratios of the pairs; ``level``: the error of one row, after the
    correction over its family. The change must exceed the margin by so much that Student's t, shifted to the
    margin, passes: the distance follows from the noncentral t distribution.
    """
    _, margin = log_margin(delta)
    return math.expm1(margin + spread / math.sqrt(pairs) * _distance(pairs - 1, level))


@cache
def _distance(freedom: int, level: float) -> float:
    """The noncentrality, in standard errors, at which a one-sided t-test of this level has the power
    POWER."""
    threshold = float(stats.t.isf(level, freedom))

    def missing(noncentrality: float) -> float:
        return float(stats.nct.sf(threshold, freedom, noncentrality)) - POWER

    return float(optimize.brentq(missing, 0.0, 3 * threshold + 5))


def pairs_for(spread: float, level: float, delta: float, change: float = 0.0) -> int | None:
    """How many pairs it takes to show, in POWER of the cases, that a true relative change of ``change`` is
    within (0: no change), or beyond, the margin of ``delta``; None above _MOST_PAIRS.

    The number is even: ABBA is complete. A change that is as large as the margin can be shown by no number of
    pairs.
    """
    margin = log_margin(delta)[1]
    reach = abs(margin - abs(math.log1p(change)))
    return next(
        (
            pairs
            for pairs in range(6, _MOST_PAIRS + 1, 2)
            if _shown(reach, spread / math.sqrt(pairs), pairs - 1, level, both=change == 0) >= POWER
        ),
        None,
    )


def _shown(reach: float, error: float, freedom: int, level: float, both: bool) -> float:
    """How often the mean stays further than t standard errors from the margin that is ``reach`` away."""
    if error == 0:
        return float(reach > 0)
    one = float(stats.norm.cdf(reach / error - _threshold(freedom, level)))
    return max(2 * one - 1, 0.0) if both else one


@cache
def _threshold(freedom: int, level: float) -> float:
    return float(stats.t.isf(level, freedom))
