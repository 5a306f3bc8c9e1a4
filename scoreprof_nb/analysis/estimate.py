"""A number with its interval."""

import math
from dataclasses import dataclass

from scoreprof_nb.analysis.distributions import normal_quantile
from scoreprof_nb.analysis.statistics import CONFIDENCE


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN where it is not known. ``math.inf``: longer than the timeout."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def times(self, factor: float) -> "Estimate":
        """``factor``: not negative, and taken as exact."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def differs_from(self, other: "Estimate", least: float, claims: int = 1) -> bool:
        """Whether the two differ by more than ``least`` and more than chance leaves to both intervals.

        ``claims``: how many such questions a report asks. The level is divided among them (Bonferroni), or
        else one function in 20 would be accused by chance.
        """
        if not self.known or not other.known:
            return False
        apart = abs(self.value - other.value)
        wider = normal_quantile(0.5 + CONFIDENCE / 2 + (1 - CONFIDENCE) / 2 * (1 - 1 / claims))
        wider /= normal_quantile(0.5 + CONFIDENCE / 2)
        return bool(apart > max(least, wider * math.hypot(self.half_width, other.half_width)))
