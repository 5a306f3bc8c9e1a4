"""How far a sum can be trusted whose terms depend on each other.

Every estimate of a run (a mean, a share, a ratio of sums, the logarithm of a ratio) is linear in its units,
to first order: requests or slices of time. ``half_width`` takes the contribution of each unit (its
influence: the estimate's derivative with respect to the unit's weight, as in survey statistics) and returns
half the width of the 95 % interval of their sum. It is the larger one of two:

- **Moving blocks.** Neighbouring requests resemble each other. The variance of a moving-block bootstrap has a
  closed form, the mean square of all sums of ``length`` neighbours (Kuensch 1989; overlapping batch means,
  Meketon and Schmeiser 1984), so nothing is resampled. The length comes from the data (Politis and White
  2004, corrected 2009). Its bias to first order is removed with a second length half as long (lugsail, Vats
  and Flegal 2022), as long as that makes the variance larger.
- **Measured blocks.** Stretches of a run differ by more than their requests explain (the machine, a restart
  of py-spy). Student's interval over the measured blocks' sums includes that, and what moving blocks miss.

Units of several kinds (``mixed``: sent in turn, so their proportions are no chance) are centred on the mean
of their kind first.

Coverage in simulations (``make interval-coverage``: lag-1 correlation up to 0.6, blocks that differ by up to
2 %, one kind or three in turn): 94 to 99 % with 8 or 4 blocks a side. Without differences
between the blocks the intervals are wider than necessary, by a fifth with 8 blocks a side, by a half with 4.
With two blocks a side, as in runs of earlier versions, they cover 98 % and are five times as wide: two
blocks hardly tell how much blocks differ. With one block a side such differences are not included at all.

``arch.bootstrap`` has the same block length, which the tests quote, but neither strata nor measured blocks,
calls a Python function for each resample, and brings statsmodels along.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.distributions import student_quantile
from scoreprof_nb.analysis.statistics import CONFIDENCE

SMALLEST_KIND = 5  # kinds with fewer units are taken together: the mean of few says little of its kind
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """What an estimate is a sum over, in the order of time. ``block``: the measured block of each;
    ``kind``: what it is centred on the mean of. Both count from 0, shape (units,)."""

    block: Integers
    kind: Integers

    def __len__(self) -> int:
        return len(self.block)

    @classmethod
    def of_requests(cls, requests: pd.DataFrame) -> "Units":
        """``requests``: rows of MeasuredRequests, in the order of sending."""
        kind = requests.groupby(["kind", "items"], sort=False).ngroup()
        return cls.of(requests["block"].to_numpy(), kind.to_numpy())

    @classmethod
    def of(cls, block: NDArray[Any], kind: NDArray[Any]) -> "Units":
        """``block`` and ``kind``: any labels, one per unit. Kinds with few units are taken together."""
        numbers = (np.unique(labels, return_inverse=True)[1].astype(np.int64) for labels in (block, kind))
        return cls(next(numbers), _merged(next(numbers)))

    @classmethod
    def of_blocks(cls, units: list[int]) -> "Units":
        """So many units of one kind in each measured block."""
        block = np.repeat(np.arange(len(units), dtype=np.int64), units)
        return cls(block, np.zeros_like(block))

    def part(self, chosen: NDArray[np.bool_]) -> "Units":
        """The chosen ones, shape (units,)."""
        return Units.of(self.block[chosen], self.kind[chosen])


def half_width(influence: Floats, units: Units) -> Floats:
    """Half the width of the 95 % interval of each column's sum; NaN for fewer than two units.

    ``influence``: shape (units, estimates); a constant per kind makes no difference.
    """
    n = len(units)
    if n < 2:
        return np.full(influence.shape[1], math.nan)
    centred = _centred(influence, units.kind)
    length = block_length(centred)
    within = np.sqrt(moving_block_variance(centred, length)) * _student(n / length - 1)
    sums = np.zeros((int(units.block.max()) + 1, influence.shape[1]))
    np.add.at(sums, units.block, centred)
    blocks = len(sums)
    if blocks < 2:
        return within
    between = np.sqrt((sums**2).sum(axis=0) * blocks / (blocks - 1)) * _student_of(blocks - 1)
    return np.maximum(within, between)


def design_effect(influence: Floats, units: Units) -> Floats:
    """By what factor more independent units of one kind would be needed for the same interval, as a
    variance; 1 where nothing varies."""
    n = len(units)
    independent = (influence - influence.mean(axis=0)) ** 2
    alone = np.sqrt(independent.sum(axis=0) * n / (n - 1)) * _student_of(n - 1)
    whole = half_width(influence, units)
    return np.divide(whole, alone, out=np.ones_like(whole), where=alone > 0) ** 2


def correlation_effect(influence: Floats, units: Units) -> Floats:
    """Like ``design_effect``, at least 1, and for the correlation of neighbours alone: it is exactly 1 if
    none is seen."""
    centred = _centred(influence, units.kind)
    independent = moving_block_variance(centred, np.ones(centred.shape[1], dtype=np.int64))
    whole = moving_block_variance(centred, block_length(centred))
    effect = np.divide(whole, independent, out=np.ones_like(whole), where=independent > 0)
    return np.maximum(effect, 1.0)


def moving_block_variance(centred: Floats, length: Integers) -> Floats:
    """The variance of each column's sum. ``centred``: shape (units, columns), in the order of time."""
    whole, half = (_overlapping(centred, part) for part in (length, np.maximum(length // 2, 1)))
    return np.maximum(whole, 2 * whole - half)


def _overlapping(centred: Floats, length: Integers) -> Floats:
    """Overlapping batch means, unbiased for independent units."""
    n, columns = centred.shape
    until = np.concatenate([np.zeros((1, columns)), np.cumsum(centred, axis=0)])
    result = np.empty(columns)
    for size in np.unique(length):
        of_size = length == size
        sums = until[size:, of_size] - until[:-size, of_size]
        result[of_size] = (sums**2).mean(axis=0) * n / size * n / (n - size)
    return result


def block_length(centred: Floats) -> Integers:
    """The length of the moving blocks that suits each column, from 1 to a third of the units.

    Source: Politis and White (2004), Automatic Block-Length Selection for the Dependent Bootstrap, with the
    correction by Patton, Politis and White (2009), circular blocks.
    """
    n, columns = centred.shape
    if n < 9:
        return np.ones(columns, dtype=np.int64)
    in_a_row = max(5, math.ceil(math.log10(n)))
    most_lags = min(math.ceil(math.sqrt(n)) + in_a_row, n - 1)
    spectrum = np.fft.rfft(centred, 2 * n, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[: most_lags + 1] / n
    variance, lagged = covariance[0], covariance[1:]
    insignificant = np.abs(lagged) < 2 * math.sqrt(math.log10(n) / n) * variance
    # The first lag from which on so many in a row are insignificant.
    counted = np.cumsum(np.concatenate([insignificant, np.ones((in_a_row, columns), dtype=bool)]), axis=0)
    counted = np.concatenate([np.zeros((1, columns)), counted])
    lag = 1 + np.argmax(counted[in_a_row:] - counted[:-in_a_row] == in_a_row, axis=0)
    bandwidth = np.minimum(2 * lag, most_lags)
    lags = np.arange(1, most_lags + 1)[:, None]
    weights = np.clip(2 * (1 - lags / bandwidth), 0, 1)  # flat until half of the bandwidth
    slope = 2 * (weights * lags * lagged).sum(axis=0)
    long_run = variance + 2 * (weights * lagged).sum(axis=0)
    best = np.divide(slope, long_run, out=np.zeros(columns), where=long_run > 1e-12 * variance) ** 2
    length: Floats = np.ceil((1.5 * best * n) ** (1 / 3))
    return np.clip(length, 1, min(math.ceil(3 * math.sqrt(n)), math.ceil(n / 3))).astype(np.int64)


def _centred(influence: Floats, kind: Integers) -> Floats:
    """Each unit less the mean of its kind; enlarged, as that mean is of the same units."""
    result = np.empty_like(influence, dtype=np.float64)
    for one in np.unique(kind):
        of_kind = kind == one
        count = int(of_kind.sum())
        enlarged = math.sqrt(count / (count - 1)) if len(influence) > count > 1 else 1.0
        result[of_kind] = (influence[of_kind] - influence[of_kind].mean(axis=0)) * enlarged
    return result


def _merged(kind: Integers) -> Integers:
    """Kinds with few units as one."""
    counts = np.bincount(kind, minlength=1)
    few = counts < SMALLEST_KIND
    if few.sum() and counts[few].sum() < SMALLEST_KIND:  # too few even together
        few[np.argmax(np.where(few, 0, counts))] = True
    return np.where(few[kind], len(counts), kind).astype(np.int64)


def _student(degrees: Floats) -> Floats:
    """The quantile of Student's distribution, of each; one degree of freedom at least."""
    distinct, place = np.unique(np.maximum(degrees, 1.0), return_inverse=True)
    return np.array([_student_of(float(one)) for one in distinct])[place]


@cache
def _student_of(degrees: float) -> float:
    return student_quantile(0.5 + CONFIDENCE / 2, degrees)
