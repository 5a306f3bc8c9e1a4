"""What may be claimed of test against control, and at which error.

**The family of claims.** The headlines of all phases are one family, their other metrics a second one, and
the components of the request path a third. A family has one error of ERROR (2.5 %, one-sided) for each kind
of claim: worse by more than the margin, better by more than the margin, within the margin, different at all.
Holm's correction spreads it over the rows of the family. A comparison that is looked at repeatedly spends the
error in parts, one per look (``looks.py``): ``level`` is the part of the present look.

**The claims.** Student's t on the mean over the pairs. The null hypothesis of "worse" is not that nothing
changed, but that the change is at most the margin. "No meaningful change" is shown by two one-sided tests
(Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987)): that of equivalence is intersection-union, so its p-value
is the larger of the two.

All functions work on arrays, so that the verdicts of thousands of simulated comparisons (``make power``) come
from the same code as that of one real comparison.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

ERROR = 0.025  # of a family of claims, one-sided, over all looks
IMPROVEMENT, REGRESSION = "improvement", "regression"
NO_CHANGE, SIZE_UNCERTAIN = "no meaningful change", "changed, size uncertain"
INCONCLUSIVE, INSUFFICIENT, NOT_KNOWN = "inconclusive", "insufficient", "not known"
SUGGESTIVE = "suggestive "
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """The mean over the pairs of each row, its standard error, and the degrees of freedom: shape (...,
    rows)."""

    mean: Floats
    standard_error: Floats
    freedom: Floats


@dataclass(frozen=True)
class Judged:
    """Of each row, shape (..., rows): the verdict; the corrected p-value of the claim that the verdict makes,
    or of the claim that is nearest to being shown (a claim is shown below ERROR); and whether it was shown
    that test is not worse by more than the margin."""

    verdict: NDArray[np.str_]
    p: Floats
    not_worse: NDArray[np.bool_]


def moments(values: Floats) -> Moments:
    """``values``: of the pairs, shape (..., rows, pairs); log-ratios or differences. At least two pairs."""
    pairs = values.shape[-1]
    mean = values.mean(axis=-1)
    # The rounding errors of equal values are not a variation.
    spread = np.where(np.ptp(values, axis=-1) == 0, 0.0, values.std(axis=-1, ddof=1))
    return Moments(mean, spread / math.sqrt(pairs), np.full(mean.shape, pairs - 1.0))


def log_margin(delta: float) -> tuple[float, float]:
    """The logarithms of 1 - delta and 1 + delta."""
    return math.log1p(-delta), math.log1p(delta)


def judge(
    of: Moments,
    margin: tuple[Floats | float, Floats | float],
    level: float,
    lower_is_better: NDArray[np.bool_] | bool = True,
) -> Judged:
    """The verdicts on the rows of one family.

    ``margin``: the lower and the upper bound of what is not meaningful, in the unit of the mean. ``level``:
    the error that the present look may spend.
    """
    low, high = margin
    above, not_above = _tails(of, high)
    below, not_below = _tails(of, low)[::-1]
    positive, negative = _tails(of, 0.0)
    worse, better = np.where(lower_is_better, (above, below), (below, above))
    claims = (
        (REGRESSION, holm(worse)),
        (IMPROVEMENT, holm(better)),
        (NO_CHANGE, holm(np.maximum(not_above, not_below))),
        (SIZE_UNCERTAIN, holm(np.minimum(positive, negative))),
    )
    shown = [p < level for _, p in claims]
    corrected = np.array([p for _, p in claims])
    nearest = corrected.min(axis=0)
    return Judged(
        verdict=np.select(shown, [word for word, _ in claims], INCONCLUSIVE),
        p=np.minimum(np.select(shown, list(corrected), nearest) * ERROR / level, 1.0),
        not_worse=np.where(lower_is_better, not_above, not_below) < level,
    )


def _tails(of: Moments, bound: Floats | float) -> tuple[Floats, Floats]:
    """The p-values of the one-sided tests that the mean is above, and below, the bound."""
    distance = of.mean - bound
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(distance == 0, 0.0, distance / of.standard_error)
    return stdtr(of.freedom, -t), stdtr(of.freedom, t)


def holm(p: Floats) -> Floats:
    """Holm's step-down correction over the last axis.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6 (1979).
    """
    rows = p.shape[-1]
    order = np.argsort(p, axis=-1)
    steps = np.take_along_axis(p, order, axis=-1) * (rows - np.arange(rows))
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0), axis=-1)
    return corrected
