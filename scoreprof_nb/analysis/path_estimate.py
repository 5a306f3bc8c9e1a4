"""Milliseconds per component with intervals, from sums over slices of time."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.path_counts import Slices
from scoreprof_nb.analysis.statistics import bootstrap_weights, interval
from scoreprof_nb.components.catalog import CLIENT, IPC_AND_WAKEUP
from scoreprof_nb.components.component import Catalog

Floats = NDArray[np.float64]
COLUMNS = ("component", "mean_ms", "low", "high", "share", "latency_ms")


def estimate(
    slices: Slices, most_ms: float, catalog: Catalog, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The own and the queued milliseconds of each component: tables with COLUMNS, largest first.

    The rows of both sum to the mean latency exactly, in each replicate too. Intervals: bootstrap over the
    slices; requests that are in flight together are not independent of each other. ``most_ms``: no
    component is longer.
    """
    size = len(catalog.names)
    rest, client = catalog.index[IPC_AND_WAKEUP], catalog.index[CLIENT]
    counts = np.concatenate([slices.own, slices.queued], axis=1)

    def path(weights: Floats) -> Floats:
        sums = weights @ counts
        sums[..., rest] -= np.minimum(weights @ slices.excess, sums[..., rest])
        requests = np.maximum(weights @ slices.requests, 1e-12)
        mean_ms = (weights @ slices.latency_ms) / requests
        result = sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1e-12) * mean_ms[..., None]
        of_client = np.minimum(weights @ slices.client_ms / requests, result[..., rest])
        result[..., client] += of_client
        result[..., rest] -= of_client
        return np.asarray(result, dtype=np.float64)

    units = len(slices.requests)
    means = path(np.ones(units))
    low, high = interval(path(bootstrap_weights(units, seed)), means, units, most_ms)
    latency_ms = float(slices.latency_ms.sum() / slices.requests.sum())
    own, queued = (
        _table(catalog, means[part], low[part], high[part], latency_ms)
        for part in (slice(0, size), slice(size, 2 * size))
    )
    return own, queued


def _table(catalog: Catalog, means: Floats, low: Floats, high: Floats, latency_ms: float) -> pd.DataFrame:
    rows = [
        (name, mean, min(below, mean), max(above, mean), mean / latency_ms, latency_ms)
        for name, mean, below, above in zip(catalog.names, means, low, high, strict=True)
        if mean > 1e-9
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("mean_ms", ascending=False, kind="stable", ignore_index=True)
