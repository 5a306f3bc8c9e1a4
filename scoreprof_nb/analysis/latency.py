"""Latency and throughput, from the requests of a phase."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Units
from scoreprof_nb.analysis.intervals import mean_interval, percentile_estimate, ratio_of_sums
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.slices import slice_edges
from scoreprof_nb.run_folder.store import Phase

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
LATENCY_COLUMNS = (
    *("phase", "which", "requests", "mean_ms", "mean_low", "mean_high"),
    *(f"{name}_{part}" for name in QUANTILES for part in ("ms", "low", "high")),
)


def latency(phase: str, which: str, requests: pd.DataFrame) -> dict[str, object]:
    """One row of the latency table.

    Keys: phase, which, requests, and for each of mean, p50, p90, p95, p99 ``_ms``, ``_low``, ``_high``;
    NaN where there are too few requests.
    """
    values = requests["latency_ms"].to_numpy(dtype=np.float64)
    units = Units.of_requests(requests)
    mean_low, mean_high = mean_interval(values, units) or (math.nan, math.nan)
    row: dict[str, object] = {
        "phase": phase,
        "which": which,
        "requests": len(values),
        "mean_ms": values.mean() if len(values) else math.nan,
        "mean_low": mean_low,
        "mean_high": mean_high,
    }
    for name, quantile in QUANTILES.items():
        value, low, high = percentile_estimate(values, quantile, units)
        row |= {f"{name}_ms": value, f"{name}_low": low, f"{name}_high": high}
    return row


def latency_rows(phase: str, requests: MeasuredRequests) -> list[dict[str, object]]:
    """Rows by ``which``: all (without py-spy); those neither compiled nor split, and those that were, as far
    as that is known; with py-spy."""
    plain = requests.plain()
    parts = {"all": plain}
    hit = {name: plain[name].fillna(False).astype(bool) for name in ("compile_hit", "split")}
    if plain["split"].notna().any():
        parts["neither compiled nor split"] = plain[~hit["compile_hit"] & ~hit["split"]]
        parts["hit by a compile"] = plain[hit["compile_hit"]]
        parts["split, no compile"] = plain[hit["split"] & ~hit["compile_hit"]]
    elif plain["compile_hit"].notna().any():
        parts["not compiled (splits not known)"] = plain[~hit["compile_hit"]]
        parts["hit by a compile"] = plain[hit["compile_hit"]]
    parts["with py-spy"] = requests.profiled()
    return [latency(phase, which, part) for which, part in parts.items()]


def minimum_detectable_effect(requests: MeasuredRequests) -> float | None:
    """The smallest relative change of p50 that two runs like this one can detect; None if not known.

    At 80 % power and 5 % significance (two-sided): (1.96 + 0.84) x sqrt(2) x the standard error of p50,
    which comes from its interval. Only the variation within a run is included: two
    launches of the same server may differ by more.
    """
    plain = requests.plain()
    values = plain["latency_ms"].to_numpy(dtype=np.float64)
    p50, low, high = percentile_estimate(values, 0.5, Units.of_requests(plain))
    standard_error = (high - low) / (2 * 1.96)
    effect = (1.96 + 0.84) * math.sqrt(2) * standard_error / p50
    return None if math.isnan(effect) else effect


class Throughput(NamedTuple):
    """Per second, in the blocks without py-spy; intervals are (low, high), None with a single slice."""

    requests_per_s: float
    items_per_s: float
    requests_interval: tuple[float, float] | None
    items_interval: tuple[float, float] | None


def throughput(phase: Phase, requests: MeasuredRequests) -> Throughput | None:
    """Requests and items answered per second in the blocks without py-spy; None without such blocks."""
    answered = requests.table[requests.table["ok"]]
    done_s = answered["done_ns"].to_numpy(dtype=np.float64) / 1e9
    amounts = np.stack([np.ones(len(answered)), answered["items"].to_numpy(dtype=np.float64)], axis=1)
    edges = [slice_edges(block) for block in phase.record.blocks if block.plain]
    lengths = np.concatenate([np.diff(of_block) for of_block in edges]) if edges else np.zeros(0)
    if not lengths.sum() > 0:
        return None
    per_slice = [
        amounts[(done_s >= start) & (done_s < stop)].sum(axis=0)
        for of_block in edges
        for start, stop in pairwise(of_block)
    ]
    rates = ratio_of_sums(np.array(per_slice), lengths)
    bounds = rates.amounts(Units.of_blocks([len(of_block) - 1 for of_block in edges]), math.inf)
    intervals = [
        (float(low), float(high)) if math.isfinite(high) else None for low, high in zip(*bounds, strict=True)
    ]
    return Throughput(float(rates.values[0]), float(rates.values[1]), intervals[0], intervals[1])
