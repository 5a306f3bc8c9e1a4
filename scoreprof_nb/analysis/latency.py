"""Latency, throughput and py-spy's effect on them, from the requests of a phase."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.statistics import (
    mean_interval,
    median_ratio_interval,
    percentile,
    percentile_interval,
)
from scoreprof_nb.run_folder.store import Phase

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
LATENCY_COLUMNS = (
    *("phase", "which", "requests", "mean_ms", "mean_low", "mean_high"),
    *(f"{name}_{part}" for name in QUANTILES for part in ("ms", "low", "high")),
)
_WHICH = ("profiled", "plain")


def latency(phase: str, which: str, requests: pd.DataFrame, seed: int = 0) -> dict[str, object]:
    """One row of the latency table.

    Keys: phase, which, requests, and for each of mean, p50, p90, p95, p99 ``_ms``, ``_low``, ``_high``;
    NaN where there are too few requests.
    """
    values = requests["latency_ms"].to_numpy(dtype=np.float64)
    mean_low, mean_high = mean_interval(values, seed) or (math.nan, math.nan)
    row: dict[str, object] = {
        "phase": phase,
        "which": which,
        "requests": len(values),
        "mean_ms": values.mean() if len(values) else math.nan,
        "mean_low": mean_low,
        "mean_high": mean_high,
    }
    for name, quantile in QUANTILES.items():
        value = percentile(values, quantile)
        low, high = percentile_interval(values, quantile) or (math.nan, math.nan)
        row |= {f"{name}_ms": math.nan if value is None else value, f"{name}_low": low, f"{name}_high": high}
    return row


def latency_rows(phase: str, requests: MeasuredRequests, seed: int = 0) -> list[dict[str, object]]:
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
    return [latency(phase, which, part, seed) for which, part in parts.items()]


def minimum_detectable_effect(requests: MeasuredRequests) -> float | None:
    """The smallest relative change of p50 that two runs like this one can detect; None if not known.

    At 80 % power and 5 % significance (two-sided): (1.96 + 0.84) x sqrt(2) x the standard error of p50,
    which comes from its order-statistic interval. Only the variation within a run is included: two
    launches of the same server may differ by more.
    """
    values = requests.plain()["latency_ms"].to_numpy(dtype=np.float64)
    interval = percentile_interval(values, 0.5)
    if interval is None:
        return None
    standard_error = (interval[1] - interval[0]) / (2 * 1.96)
    return float((1.96 + 0.84) * math.sqrt(2) * standard_error / np.median(values))


def throughput(phase: Phase, requests: MeasuredRequests) -> tuple[float, float] | None:
    """Requests and items per second in the blocks without py-spy; None without such blocks."""
    wall_s = sum(block.wall_s for block in phase.record.blocks if block.plain)
    plain = requests.table[requests.table["ok"]]
    done, items = 0, 0
    for block in phase.record.blocks:
        if block.plain:
            inside = plain[
                (plain["done_ns"] >= block.start_s * 1e9) & (plain["done_ns"] < block.stop_s * 1e9)
            ]
            done, items = done + len(inside), items + int(inside["items"].sum())
    return (done / wall_s, items / wall_s) if wall_s > 0 else None


@dataclass(frozen=True)
class ObserverEffect:
    """p50 with py-spy / p50 without, and its 95 % interval; None where it is not known."""

    p50_ratio: float | None
    low: float | None
    high: float | None


def observer_effect(requests: MeasuredRequests, seed: int) -> ObserverEffect:
    """The ratio of the medians with and without py-spy, over groups of similar requests.

    A group is one kind of request, split over batches or not. Requests hit by a compile are excluded, as
    it is chance on which side they are. If no group has two requests on each side, the groups are merged
    step by step: first split with unsplit requests, then all kinds, at last with those hit by a
    compile; the interval shows the difference. The ratios are averaged geometrically, weighted by the
    number of requests.
    """
    everything = requests.succeeded().assign(split=lambda table: table["split"].fillna(False))
    not_compiled = everything[~everything["compile_hit"].fillna(False).astype(bool)]
    by_kind = ["kind", "items"]
    for table, keys in (
        (not_compiled, [*by_kind, "split"]),
        (not_compiled, by_kind),
        (not_compiled, []),
        (everything, []),
    ):
        groups = [group for _, group in table.groupby(keys)] if keys else [table]
        pairs = [
            [group.loc[group[which], "latency_ms"].to_numpy(float) for which in _WHICH] for group in groups
        ]
        pairs = [pair for pair in pairs if min(map(len, pair)) >= 2]
        if pairs:
            above, below = ([pair[side] for pair in pairs] for side in range(2))
            ratio, low, high = median_ratio_interval(above, below, seed)
            return ObserverEffect(ratio, low, high)
    return ObserverEffect(None, None, None)
