"""Latency, throughput and what py-spy cost, from the requests of a phase."""

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.statistics import (
    log_ratio_interval,
    mean_interval,
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
# bf16 has 8 bits of mantissa: scores (probabilities) of equal payloads may differ by this much when
# they are computed in batches of another shape.
SCORE_TOLERANCE = 2**-7


def latency(phase: str, which: str, requests: pd.DataFrame, seed: int = 0) -> dict[str, object]:
    """One row of the latency table.

    Keys: phase, which, requests, and for each of mean, p50, p90, p95, p99 ``_ms``, ``_low``, ``_high``;
    NaN where there are too few requests for it.
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
    """Rows by ``which``: all (without py-spy), not hit (by a compile or a split), and what was hit, as far
    as that is known."""
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
    """The smallest relative change of p50 that two runs like this one would show; None: not known.

    With 80 % power at 5 % (two-sided): (1.96 + 0.84) x sqrt(2) x the standard error of p50, which is
    taken from its order-statistic interval. Within-run variation only: two launches of the same
    server may differ by more.
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
    """p50 with py-spy over p50 without; None when it cannot be known."""

    p50_ratio: float | None
    low: float | None
    high: float | None


def observer_effect(requests: MeasuredRequests, seed: int) -> ObserverEffect:
    """Like is compared with like: by kind of request, and split over batches or not; requests hit by a
    compile are left out, since where they fall is chance. Where that leaves fewer than two on a side of
    every group, less alike ones are, so that the interval says it: first split and not split ones, then
    all kinds, then those that were compiled for too. The ratios are averaged geometrically, weighted by
    the number of requests."""
    everything = requests.succeeded().assign(split=lambda table: table["split"].fillna(False))
    quick = everything[~everything["compile_hit"].fillna(False).astype(bool)]
    by_kind = ["kind", "items"]
    for found, keys in ((quick, [*by_kind, "split"]), (quick, by_kind), (quick, []), (everything, [])):
        groups = [alike for _, alike in found.groupby(keys)] if keys else [found]
        pairs = [
            [alike.loc[alike[which], "latency_ms"].to_numpy(float) for which in _WHICH] for alike in groups
        ]
        pairs = [pair for pair in pairs if min(map(len, pair)) >= 2]
        if pairs:
            above, below = ([pair[side] for pair in pairs] for side in range(2))
            ratio, low, high = log_ratio_interval(above, below, lambda x: float(np.median(x)), seed)
            return ObserverEffect(ratio, low, high)
    return ObserverEffect(None, None, None)


@dataclass(frozen=True)
class Scores:
    """Whether equal payloads got equal scores. ``consistent``: None when no payload came twice."""

    consistent: bool | None
    max_difference: float | None
    digest: str | None


def scores(requests: pd.DataFrame) -> Scores:
    """``requests``: all of a phase, the warm-up's too (columns of requests.parquet).

    ``digest``: SHA-256 of each payload's median scores, rounded to 3 digits.
    """
    answered = requests[requests["error"].isna()]
    differences: list[float] = []
    medians = {}
    for payload, group in answered.groupby("payload"):
        lists = [[list(map(float, labels)) for labels in one] for one in group["scores"]]
        if len({tuple(len(labels) for labels in one) for one in lists}) > 1:
            differences.append(math.inf)
            continue
        values = np.array([[score for labels in one for score in labels] for one in lists], dtype=np.float64)
        medians[str(payload)] = np.round(np.median(values, axis=0), 3).tolist()
        if len(values) > 1:
            differences.append(float((values.max(axis=0) - values.min(axis=0)).max()))
    if not medians and not differences:
        return Scores(None, None, None)
    digest = hashlib.sha256(json.dumps(medians, sort_keys=True).encode()).hexdigest()
    worst = max(differences) if differences else None
    consistent = None if worst is None else worst <= SCORE_TOLERANCE
    return Scores(consistent, worst, digest)
