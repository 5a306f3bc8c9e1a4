"""Bootstrap draws of a request path, kept so that sums of components have intervals of their own.

The interval of a sum is not the sum of the intervals: components that vary independently partly cancel out,
and components that trade places (work moves from one thread to another) cancel out almost completely. The
draws keep what varies together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.statistics import bootstrap_weights, interval

SUM_COLUMNS = ("group", "mean_ms", "low", "high", "share", "share_low", "share_high")


@dataclass(frozen=True)
class PathDraws:
    """``names``: the components; ``means``: ms per request, shape (components,); ``replicates``: the same of
    each bootstrap resample, shape (resamples, components); ``units``: how many requests or slices were
    resampled; ``most_ms``: the largest value that a component can have."""

    names: tuple[str, ...]
    means: NDArray[np.float64]
    replicates: NDArray[np.float64]
    units: int
    most_ms: float

    @property
    def latency_ms(self) -> float:
        """The mean latency: what the components sum to."""
        return float(self.means.sum())

    def intervals(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """95 % interval of each component: low, high, in ms."""
        low, high = interval(self.replicates, self.means, self.units, self.most_ms)
        return np.minimum(low, self.means), np.maximum(high, self.means)

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
        means, replicates = self.means @ members, self.replicates @ members
        low, high = interval(replicates, means, self.units, self.most_ms)
        total = np.maximum(self.replicates.sum(axis=1, keepdims=True), 1e-12)
        shares = means / max(self.latency_ms, 1e-12)
        share_low, share_high = interval(replicates / total, shares, self.units, 1.0)
        return pd.DataFrame(
            {
                "group": used,
                "mean_ms": means,
                "low": np.minimum(low, means),
                "high": np.maximum(high, means),
                "share": shares,
                "share_low": np.minimum(share_low, shares),
                "share_high": np.maximum(share_high, shares),
            },
            columns=list(SUM_COLUMNS),
        )


def path_draws(
    counts: NDArray[np.float64],
    latency_ms: NDArray[np.float64],
    client_ms: NDArray[np.float64],
    names: tuple[str, ...],
    rest: int,
    client: int,
    seed: int,
) -> PathDraws:
    """The path's means and bootstrap replicates, over requests or slices.

    ``counts``: ticks by component, shape (requests or slices, components); ``latency_ms`` and
    ``client_ms``: of each request or slice; ``rest`` and ``client``: the columns of the two components that
    the client's own CPU time is moved between. Each replicate sums to its mean latency.
    """
    n = len(latency_ms)

    def path(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = weights @ counts
        total = np.maximum(sums.sum(axis=-1, keepdims=True), 1e-12)
        drawn = weights.sum(axis=-1, keepdims=True)
        result = sums / total * (weights @ latency_ms)[..., None] / drawn
        of_client = np.minimum(weights @ client_ms / drawn[..., 0], result[..., rest])
        result[..., client] += of_client
        result[..., rest] -= of_client
        return result

    means, replicates = path(np.ones(n)), path(bootstrap_weights(n, seed))
    return PathDraws(names, means, replicates, n, float(latency_ms.max()))
