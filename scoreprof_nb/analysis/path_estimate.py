"""Milliseconds per component with intervals, from sums over slices of time."""

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Floats, Units
from scoreprof_nb.analysis.intervals import ratio_of_sums
from scoreprof_nb.analysis.path_counts import Slices
from scoreprof_nb.components.catalog import CLIENT, IPC_AND_WAKEUP
from scoreprof_nb.components.component import Catalog

COLUMNS = ("component", "mean_ms", "low", "high", "share", "latency_ms")


def estimate(slices: Slices, most_ms: float, catalog: Catalog) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The own and the queued milliseconds of each component: tables with COLUMNS, largest first.

    The rows of both sum to the mean latency exactly. Intervals are by what each slice contributes
    (``dependence``): requests that are in flight together are not independent of each other. ``most_ms``:
    no component is longer.
    """
    size = len(catalog.names)
    rest, client = catalog.index[IPC_AND_WAKEUP], catalog.index[CLIENT]
    counts = np.concatenate([slices.own, slices.queued], axis=1)
    counts[:, rest] = _without(counts[:, rest], slices.excess)
    mean_ms = ratio_of_sums(slices.latency_ms[:, None], slices.requests)
    client_ms = ratio_of_sums(slices.client_ms[:, None], slices.requests)
    path = ratio_of_sums(counts, counts.sum(axis=1)).times(mean_ms).moved(rest, client, client_ms)
    low, high = path.amounts(Units.of(slices.block, np.zeros_like(slices.block)), most_ms)
    own, queued = (
        _table(catalog, path.values[part], low[part], high[part], float(mean_ms.values[0]))
        for part in (slice(0, size), slice(size, 2 * size))
    )
    return own, queued


def _without(counts: Floats, excess: Floats) -> Floats:
    """The counts less what must lie between two requests, but not less than nothing in all."""
    return counts - excess if excess.sum() < counts.sum() else np.zeros_like(counts)


def _table(catalog: Catalog, means: Floats, low: Floats, high: Floats, latency_ms: float) -> pd.DataFrame:
    rows = [
        (name, mean, min(below, mean), max(above, mean), mean / latency_ms, latency_ms)
        for name, mean, below, above in zip(catalog.names, means, low, high, strict=True)
        if mean > 1e-9
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("mean_ms", ascending=False, kind="stable", ignore_index=True)
