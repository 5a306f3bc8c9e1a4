"""Sums of components of a request path, with intervals of their own.

The interval of a sum is not the sum of the intervals: components that vary independently partly cancel out,
and components that trade places (work moves from one thread to another) cancel out almost completely. The
influence of each slice of time on each component keeps what varies together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Units
from scoreprof_nb.analysis.intervals import Linear

SUM_COLUMNS = ("group", "mean_ms", "low", "high", "share", "share_low", "share_high")


@dataclass(frozen=True)
class PathSums:
    """``names``: the components, each once for its own time and once more for time queued behind it;
    ``path``: their ms per request; ``units``: what ``path`` is a sum over; ``most_ms``: the largest value
    that a sum can have; ``ticks``: within the requests."""

    names: tuple[str, ...]
    path: Linear
    units: Units
    most_ms: float
    ticks: int

    def sums(self, group_of: Mapping[str, str]) -> pd.DataFrame:
        """The sum of the components of each group: columns SUM_COLUMNS, groups in the order of
        ``group_of``'s values.

        ``low`` and ``high`` are the interval of the sum; ``share`` (0 to 1) and its bounds are of the sum /
        the mean latency, so that they also show how certain a percentage is. Components that ``group_of``
        lacks are left out.
        """
        groups = list(dict.fromkeys(group_of.values()))
        members = np.array([[group_of.get(name) == group for group in groups] for name in self.names])
        used = [group for group, some in zip(groups, members.any(axis=0), strict=True) if some]
        members = members[:, members.any(axis=0)].astype(np.float64)
        total = float(self.path.values.sum())
        sums = Linear(self.path.values @ members, self.path.influence @ members)
        shares = sums.values / total
        of_total = self.path.influence.sum(axis=1, keepdims=True)
        ratios = Linear(shares, (sums.influence - of_total * shares) / total)
        low, high = sums.amounts(self.units, self.most_ms)
        share_low, share_high = ratios.shares(self.units, self.ticks)
        columns = (used, sums.values, low, high, shares, share_low, share_high)
        return pd.DataFrame(dict(zip(SUM_COLUMNS, columns, strict=True)))
