"""py-spy's effect on latency: requests of profiled blocks against like requests of the others."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Floats, Units, half_width
from scoreprof_nb.analysis.requests import MeasuredRequests

SMALL_RATIO = 1.05
_SIDES = ("profiled", "plain")
# Of the requests of one side of a group: the logarithm of a value, and each request's influence on it.
_LogValue = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True)
class ObserverEffect:
    """The p50 and the mean with py-spy divided by those without, with 95 % intervals; None where unknown."""

    p50_ratio: float | None
    low: float | None
    high: float | None
    mean_ratio: float | None
    mean_low: float | None
    mean_high: float | None


def advised_rate(effect: ObserverEffect, rate_hz: int) -> int | None:
    """The samples per second that would have lengthened the mean to SMALL_RATIO only, as py-spy's cost is
    proportional to its rate. None where the effect is small, or may be chance."""
    ratio, low = effect.mean_ratio, effect.mean_low
    if ratio is None or low is None or ratio <= SMALL_RATIO or low <= 1:
        return None
    return max(int(rate_hz * (SMALL_RATIO - 1) / (ratio - 1)), 1)


def observer_effect(requests: MeasuredRequests) -> ObserverEffect:
    """The ratios with and without py-spy, over groups of similar requests.

    A group is one kind of request, split over batches or not. Requests hit by a compile are excluded, as
    it is chance on which side they are. If no group has two requests on each side, the groups are merged
    step by step: first split with unsplit requests, then all kinds, at last with those hit by a
    compile; the interval shows the difference. The ratios are averaged geometrically, weighted by the
    number of requests on the smaller side. The two sides are taken for independent: the order of the blocks
    keeps a drift from acting on one side only.
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
        group = table.groupby(keys, sort=False).ngroup() if keys else pd.Series(0, index=table.index)
        grouped = table[["latency_ms", "block", *_SIDES]].assign(group=group)
        counts = grouped.groupby("group")[list(_SIDES)].sum().min(axis=1)
        counts = counts[counts >= 2]
        if not counts.empty:
            p50 = _ratio(grouped, counts, _log_median)
            return ObserverEffect(*p50, *_ratio(grouped, counts, _log_mean))
    return ObserverEffect(None, None, None, None, None, None)


def _ratio(
    requests: pd.DataFrame, counts: "pd.Series[int]", log_value: _LogValue
) -> tuple[float, float, float]:
    """The ratio of the sides, low and high. ``counts``: the weight of each group that is used.

    ``requests``: latency_ms, block, group, profiled, plain; in the order of sending.
    """
    weights = counts / counts.sum()
    log_ratio, variance = 0.0, 0.0
    for sign, side in ((1, "profiled"), (-1, "plain")):
        used = requests[requests[side] & requests["group"].isin(counts.index)]
        latency_ms, group = used["latency_ms"].to_numpy(dtype=np.float64), used["group"].to_numpy()
        influence = np.empty(len(used))
        for one, weight in weights.items():
            of_group = group == one
            value, of_request = log_value(latency_ms[of_group])
            log_ratio += sign * float(weight) * value
            influence[of_group] = float(weight) * of_request
        units = Units.of(used["block"].to_numpy(), group)
        variance += float(half_width(influence[:, None], units)[0]) ** 2
    half = math.sqrt(variance)
    return math.exp(log_ratio), math.exp(log_ratio - half), math.exp(log_ratio + half)


def _log_mean(values: Floats) -> tuple[float, Floats]:
    mean = float(values.mean())
    return math.log(mean), values / (mean * len(values))


def _log_median(values: Floats) -> tuple[float, Floats]:
    """The median's influence is the share below it, times the slope of the quantiles around it: between
    the ends of its interval, as if the requests were independent (McKean and Schrader 1984)."""
    n, median = len(values), float(np.median(values))
    levels = np.clip([0.5 - 0.98 / math.sqrt(n), 0.5 + 0.98 / math.sqrt(n)], 0, 1)
    low, high = np.log(np.quantile(values, levels))
    slope = (high - low) / (levels[1] - levels[0])
    return math.log(median), -slope * (values <= median) / n
