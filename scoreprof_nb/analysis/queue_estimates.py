"""Mean and percentiles of latencies in a queue, with intervals that respect its memory."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.distributions import normal_quantile, student_quantile
from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.statistics import CONFIDENCE, RESAMPLES, interval_of, percentile_floor

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
CYCLES = 30  # fewer are not enough for intervals
BATCHES = 10
MOST_UNITS = 500  # so that the resamples of a long step fit into memory
_AT_ONCE = 50  # resamples
_SEED = 0
Floats = NDArray[np.float64]


def resampling_units(inside: pd.DataFrame) -> tuple[NDArray[np.int64], int]:
    """The unit that each request belongs to, and the number of regenerative cycles.

    A cycle begins with a request that finds nothing in flight. Above MOST_UNITS, neighbouring cycles are one
    unit; below CYCLES, the units are batches of consecutive requests of a block.
    """
    starts: list[bool] = []
    for _, rows in inside.groupby("block", sort=True):
        busy_until = rows["done_ns"].cummax().shift(fill_value=0)
        starts += list(rows["intended_ns"] >= busy_until)
    units = np.cumsum(starts) - 1 if starts else np.array([], dtype=np.int64)
    cycles = int(units[-1]) + 1 if len(units) else 0
    if cycles >= CYCLES:
        return units * min(cycles, MOST_UNITS) // cycles, cycles
    size = max(1, math.ceil(len(inside) / BATCHES))
    batches, first = [], 0
    for _, rows in inside.groupby("block", sort=True):
        of_block = first + np.arange(len(rows)) // size
        batches.append(of_block)
        first = int(of_block[-1]) + 1
    return (np.concatenate(batches) if batches else units), cycles


def estimates(values: Floats, units: NDArray[np.int64]) -> dict[str, Estimate]:
    """Mean and percentiles; their intervals resample units, since neighbours wait in the same queue."""
    if not len(values):
        return {}
    n = int(units.max()) + 1
    weights = _weights(n)
    sizes, sums = (np.bincount(units, given, minlength=n) for given in (None, values))
    found = {"mean": Estimate(float(values.mean()) if np.isfinite(values).all() else math.inf)}
    if np.isfinite(sums).all():
        replicates = weights @ sums / np.maximum(weights @ sizes, 1)
        found["mean"] = _estimate(replicates, found["mean"].value, n)
    order = np.argsort(values)
    for name, quantile in QUANTILES.items():
        if len(values) < percentile_floor(quantile):
            found[name] = Estimate(math.nan)
            continue
        value = float(np.quantile(values, quantile, method="inverted_cdf"))
        replicates = _quantiles(values[order], units[order], weights, quantile)
        if np.isfinite(replicates).all() and math.isfinite(value):
            found[name] = _estimate(replicates, value, n)
        else:
            found[name] = Estimate(value, float(np.quantile(replicates, 0.025, method="lower")), math.inf)
    return found


def _estimate(replicates: Floats, value: float, units: int) -> Estimate:
    """The percentile interval of the replicates, expanded for few units: resampling n units gives only
    sqrt((n - 1) / n) of the true spread, and the normal distribution's quantiles instead of Student's.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap (2015), 4.3.
    """
    if units < 2:
        return Estimate(value)
    low, high = interval_of(replicates)
    quantile = 0.5 + CONFIDENCE / 2
    factor = (
        student_quantile(quantile, units - 1) / normal_quantile(quantile) * math.sqrt(units / (units - 1))
    )
    below, above = factor * max(value - float(low), 0), factor * max(float(high) - value, 0)
    return Estimate(value, max(value - below, 0.0), value + above)


def _weights(n: int) -> Floats:
    """How often each of n units is drawn in each resample: shape (RESAMPLES, n)."""
    rng = np.random.default_rng(_SEED)
    drawn = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(RESAMPLES)]
    return np.stack(drawn).astype(np.float64)


def _quantiles(values: Floats, units: NDArray[np.int64], weights: Floats, quantile: float) -> Floats:
    """The quantile of each resample; ``values`` are sorted."""
    resampled = []
    for first in range(0, len(weights), _AT_ONCE):
        counts = weights[first : first + _AT_ONCE][:, units].cumsum(axis=1)
        wanted = quantile * counts[:, -1:]
        resampled.append(values[(counts >= wanted).argmax(axis=1)])
    return np.concatenate(resampled)
