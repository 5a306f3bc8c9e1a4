"""Estimates of a run with their 95 % intervals: means, percentiles, shares, amounts, and ratios of them.

An estimate is linear in its units to first order (``Linear``), and ``dependence.half_width`` knows how far
such a sum can be trusted. What is bounded by 0 (and 1) gets a score interval of the same width: near a
bound it is as asymmetric as that of a count, and for large counts it is the symmetric one. Source: Korn and
Graubard (1998), Confidence Intervals for Proportions with Small Expected Number of Positive Counts Estimated
from Survey Data (the effective number of observations); Wilson (1927).
"""

import math
from dataclasses import dataclass

import numpy as np

from scoreprof_nb.analysis.dependence import Floats, Units, correlation_effect, design_effect, half_width
from scoreprof_nb.analysis.statistics import CHI_SQUARE, order_statistics, percentile_floor

NOTHING = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Linear:
    """Estimates and how each unit moves them: ``values``, shape (estimates,), and ``influence``, shape
    (units, estimates)."""

    values: Floats
    influence: Floats

    def times(self, factor: "Linear") -> "Linear":
        """Each estimate times one other of the same units (product rule)."""
        return Linear(
            self.values * factor.values,
            self.influence * factor.values + self.values * factor.influence,
        )

    def moved(self, source: int, target: int, amount: "Linear") -> "Linear":
        """A single ``amount``, or all there is, taken from one estimate and added to another."""
        whole = amount.values[0] >= self.values[source]
        value = self.values[source] if whole else amount.values[0]
        influence = self.influence[:, source] if whole else amount.influence[:, 0]
        values, influences = self.values.copy(), self.influence.copy()
        values[source] -= value
        values[target] += value
        influences[:, source] -= influence
        influences[:, target] += influence
        return Linear(values, influences)

    def half_width(self, units: Units) -> Floats:
        return half_width(self.influence, units)

    def amounts(self, units: Units, most: float | Floats) -> tuple[Floats, Floats]:
        """Intervals (low, high) of estimates that cannot be negative, nor larger than ``most``.

        The score interval of a count, as if each estimate was one of (1.96 value / half width)^2 events.
        With one unit nothing is known: 0 to ``most``.
        """
        if len(units) < 2:
            return np.zeros_like(self.values), np.maximum(most, self.values)
        values, half = self.values, self.half_width(units)
        relative = np.divide(half, values, out=np.zeros_like(half), where=values > 0)
        middle, spread = 1 + relative**2 / 2, relative * np.sqrt(1 + relative**2 / 4)
        low, high = values * (middle - spread), values * (middle + spread)
        return low, np.minimum(high, np.maximum(most, values))

    def shares(self, units: Units, observations: int) -> tuple[Floats, Floats]:
        """Wilson's intervals (low, high) of shares, with the effective number of observations.

        Where a share is 0 or 1 in each unit, that number cannot be estimated and ``observations`` is used.
        With one unit nothing is known: 0 to 1.
        """
        if len(units) < 2:
            return np.zeros_like(self.values), np.ones_like(self.values)
        shares, half = np.clip(self.values, 0, 1), self.half_width(units)
        spread = shares * (1 - shares)
        weight = np.full_like(half, CHI_SQUARE / max(observations, 1))  # 1.96 squared / the number
        np.divide(half**2, spread, out=weight, where=spread > 0)
        middle, width = shares + weight / 2, np.sqrt(weight * spread + weight**2 / 4)
        low, high = (middle - width) / (1 + weight), (middle + width) / (1 + weight)
        return np.clip(low, 0, shares), np.clip(high, shares, 1)


def mean_of(values: Floats) -> Linear:
    """The mean over the units, as one estimate."""
    return Linear(np.array([values.mean()]), values[:, None] / len(values))


def ratio_of_sums(numerators: Floats, denominators: Floats) -> Linear:
    """The sum of each column divided by the sum of the denominators, which must be positive.

    ``numerators``: shape (units, estimates); ``denominators``: shape (units,).
    """
    total = denominators.sum()
    ratios = numerators.sum(axis=0) / total
    return Linear(ratios, (numerators - denominators[:, None] * ratios) / total)


def mean_interval(values: Floats, units: Units) -> tuple[float, float] | None:
    """The interval of a mean of amounts; None for fewer than two units."""
    if len(values) < 2:
        return None
    mean, half = float(values.mean()), float(mean_of(values).half_width(units)[0])
    return max(mean - half, 0.0), mean + half


def percentile_estimate(values: Floats, quantile: float, units: Units) -> tuple[float, float, float]:
    """A quantile (linear interpolation) with its interval: value, low, high; NaN where it is not known.

    The value needs ``percentile_floor`` independent observations: of correlated ones, the effective number
    counts. The interval is the one between two order statistics, for the effective number of observations
    of the share below the quantile (Woodruff 1952, with Korn and Graubard's correction); that number also
    includes the differences between measured blocks, so the interval may be unknown where the value is
    not. In a mixture of kinds in fixed proportions it may exceed the number of observations.
    """
    n, floor = len(values), percentile_floor(quantile)
    if n < floor:
        return NOTHING
    value = float(np.quantile(values, quantile))
    below = (values <= value).astype(np.float64)[:, None]
    if n / float(correlation_effect(below, units)[0]) < floor - 0.5:
        return NOTHING
    most = n * len(np.unique(units.kind))
    effective = int(min(n / max(float(design_effect(below, units)[0]), 1e-9), most) + 1e-6)
    ranks = order_statistics(effective, quantile)
    if ranks is None:
        return value, math.nan, math.nan
    ordered = np.sort(values)
    low = ordered[(ranks[0] - 1) * n // effective]
    high = ordered[math.ceil(ranks[1] * n / effective) - 1]
    return value, float(min(low, value)), float(max(high, value))


def unseen_share(observations: int) -> float:
    """The largest share of what was in none of so many independent observations (Wilson).

    It holds for what occurs in pieces shorter than the time between two observations. Of longer pieces (one
    pause of the garbage collector) more may have been missed.
    """
    return CHI_SQUARE / (observations + CHI_SQUARE)
