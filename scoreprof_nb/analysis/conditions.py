"""Checks of what a phase was measured under: its warm-up, a trend over its blocks, and py-spy's effect."""

import math
from dataclasses import dataclass

import numpy as np

from scoreprof_nb.analysis.distributions import student_quantile, student_tail
from scoreprof_nb.analysis.observer import SMALL_RATIO, ObserverEffect, advised_rate
from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.run_folder.records import Warmup

MOST_EFFECT = 1.1  # mean with py-spy / mean without
MOST_DRIFT = 0.05  # of the mean latency, from the first block to the last
DRIFT_SIGNIFICANCE = 0.01
FEWEST_BLOCKS = 6


@dataclass(frozen=True)
class Trend:
    """How much the latency changed from the first to the last block, relative to its mean, beside the
    differences between the blocks; ``p``: of no trend."""

    change: float
    low: float
    high: float
    p: float


def condition_checks(
    phase: str, warmup: Warmup, requests: MeasuredRequests, observer: ObserverEffect, rate_hz: int | None
) -> list[Check]:
    """A check per condition. One whose interval leaves it open has not run (``passed`` is None).

    ``rate_hz``: py-spy's samples per second; None without a recording.
    """
    return [
        _warm_up_check(phase, warmup),
        _observer_check(phase, observer, rate_hz),
        _compile_check(phase, requests),
        _trend_check(phase, trend(requests)),
    ]


def warm_up_sufficient(warmup: Warmup) -> bool | None:
    """Whether the warm-up ended because compiles had ceased; None if the server's log shows no compiles."""
    return None if warmup.compiles is None else warmup.warm


def _warm_up_check(phase: str, warmup: Warmup) -> Check:
    return Check(phase, "the warm-up was sufficient", warm_up_sufficient(warmup), warmup.ended)


def _observer_check(phase: str, observer: ObserverEffect, rate_hz: int | None) -> Check:
    name = f"the mean with py-spy is at most {MOST_EFFECT} times that without"
    ratio, low, high = observer.mean_ratio, observer.mean_low, observer.mean_high
    if ratio is None or low is None or high is None:
        return Check(phase, name, None, "too few requests with or without py-spy")
    text = f"{ratio:.3f} (95 % interval {low:.3f} to {high:.3f})"
    if rate_hz is not None:
        text += f" at {rate_hz} samples/s"
        advised = advised_rate(observer, rate_hz)
        text += f"; about {SMALL_RATIO} with rate_hz {advised}" if advised is not None else ""
    if ratio <= MOST_EFFECT:
        return Check(phase, name, True, text)
    # Blocks that differ by themselves, as on a busy machine, are no effect of py-spy.
    return Check(phase, name, False if low > 1 else None, text if low > 1 else f"{text}: it may be chance")


def _compile_check(phase: str, requests: MeasuredRequests) -> Check:
    """The request path includes compiles; the latency beside it may be of requests without any."""
    name = f"compiles lengthen the mean profiled request to at most {MOST_EFFECT} times"
    profiled = requests.profiled()
    if profiled.empty or profiled["compile_hit"].isna().any():
        return Check(phase, name, None, "no profiled request" if profiled.empty else "compiles are not known")
    hit = profiled["compile_hit"].astype(bool)
    if hit.all():
        return Check(phase, name, False, "every profiled request was hit by a compile")
    ratio = float(profiled["latency_ms"].mean() / profiled.loc[~hit, "latency_ms"].mean())
    text = f"{ratio:.3f}; {int(hit.sum())} of {len(hit)} profiled requests were hit by a compile"
    return Check(phase, name, ratio <= MOST_EFFECT, text)


def _trend_check(phase: str, found: Trend | None) -> Check:
    name = f"latency changes by at most {MOST_DRIFT:.0%} over the blocks"
    if found is None:
        return Check(phase, name, None, f"fewer than {FEWEST_BLOCKS} blocks with requests")
    text = f"{found.change:+.1%} (95 % interval {found.low:+.1%} to {found.high:+.1%}; p {_p_value(found.p)})"
    drifts = abs(found.change) > MOST_DRIFT and found.p < DRIFT_SIGNIFICANCE
    return Check(phase, name, not drifts, text)


def trend(requests: MeasuredRequests) -> Trend | None:
    """The linear trend of latency over the blocks of a phase; None with fewer than FEWEST_BLOCKS blocks.

    Of requests not hit by a compile, relative to the mean of their kind and side (profiled or plain), the
    mean of each block is one observation, weighted by its requests; Student's interval of the slope, so
    that blocks that differ at random are no trend.
    """
    table = requests.succeeded()
    table = table[
        ~table["compile_hit"].fillna(False).astype(bool) & (table["profiled"] | table["plain"])
    ].copy()
    typical = table.groupby(["kind", "items", "profiled"])["latency_ms"].transform("mean")
    table["relative"] = table["latency_ms"] / typical - 1
    blocks = table.groupby("block").agg(
        at=("sent_ns", "mean"), profiled=("profiled", "first"), y=("relative", "mean"), n=("relative", "size")
    )
    degrees = len(blocks) - 1 - blocks["profiled"].nunique()
    if len(blocks) < FEWEST_BLOCKS:
        return None
    span = blocks["at"].max() - blocks["at"].min()
    time = ((blocks["at"] - blocks["at"].min()) / span).to_numpy(dtype=np.float64)
    sides = [
        (blocks["profiled"] == side).to_numpy(dtype=np.float64) for side in sorted(set(blocks["profiled"]))
    ]
    design, weights = np.stack([time, *sides], axis=1), blocks["n"].to_numpy(dtype=np.float64)
    y = blocks["y"].to_numpy(dtype=np.float64)
    inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
    slope = inverse @ (design.T @ (weights * y))
    residual = y - design @ slope
    error = math.sqrt(float(weights @ residual**2) / degrees * inverse[0, 0])
    half = student_quantile(0.5 + CONFIDENCE / 2, degrees) * error
    change = float(slope[0])
    p = 2 * student_tail(abs(change) / error, degrees) if error > 0 else float(abs(change) < 1e-9)
    return Trend(change, change - half, change + half, p)


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
