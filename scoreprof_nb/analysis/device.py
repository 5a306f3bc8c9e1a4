"""The device's side of a phase, from JAX's trace: when it computed during a request, and when it stood idle.

Each request of the trace has a window, which ends with its answer. With one request in flight it is the
request; with more, it is the time since the previous answer. So windows do not overlap, and they cover the
time in which the server had something to do. Busy is the union of all that the device did, never a sum: a CPU
works on a program with several threads, and several chips may work on one. Idle is the rest of the window.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.dependence import Units, half_width
from scoreprof_nb.analysis.observer import ObserverEffect, observer_effect
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.device.intervals import Intervals, Nanoseconds
from scoreprof_nb.device.trace import TraceTables

DEVICE, HOST, MIXED = "device", "host", "mixed"
DEVICE_SHARE, HOST_SHARE = 0.6, 0.4  # of a request: busy more than the first, or less than the second
BUSY, IDLE = "busy", "idle"
# What the host waits for in JAX's runtime, in the order in which an instant is attributed.
COMPUTING, BUFFERS, TRANSFER, WAKE_UP = "computing", "buffers", "transfer", "wake_up"
WAITS = (BUFFERS, COMPUTING, TRANSFER, WAKE_UP)
_CALLS = {
    BUFFERS: r"^Wait for (?:donation|usage) holds$",
    TRANSFER: r"^(?:DevicePut|BatchedCopyTo|batched_copy_|ArrayImpl\.copy_to_host|Transfer|BufferFrom)",
    COMPUTING: r"^np\.asarray\(jax\.Array\)$|[Bb]lock_?[Uu]ntil_?[Rr]eady|Buffer::Await$|^jax\.device_get",
}
HELD = "buffers_while_busy"  # the part of ``buffers`` during which the device worked
ESTIMATES = (BUSY, IDLE, *WAITS, HELD)


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, NaN where that is not known; ms per request, or a share."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class DeviceTime:
    """The device during the requests of a trace.

    ``windows``: one row per request: start_ns, end_ns, and in ms wall and ESTIMATES; ``times``: their means.
    ``bound``: device, host or mixed; None if the interval is not known. ``in_turn``: whether there was one
    request in flight. ``observer_effect``: p50 in the trace / p50 without it and without py-spy.
    """

    windows: pd.DataFrame
    times: dict[str, Estimate]
    busy_share: Estimate
    bound: str | None
    in_turn: bool
    observer_effect: ObserverEffect

    @property
    def in_flight(self) -> Intervals:
        """The time that the windows cover."""
        return Intervals.union(self.windows["start_ns"], self.windows["end_ns"])


def request_windows(requests: pd.DataFrame) -> tuple[Nanoseconds, Nanoseconds]:
    """Start and end of the window of each request, in the order of the answers; epoch ns.

    ``requests``: columns sent_ns and done_ns.
    """
    ordered = requests.sort_values("done_ns", kind="stable")
    sent, done = (ordered[name].to_numpy(dtype=np.int64) for name in ("sent_ns", "done_ns"))
    waiting_since = np.minimum.accumulate(sent[::-1])[::-1]  # of those that were not answered before
    previous = np.concatenate([waiting_since[:1], done[:-1]])
    return np.maximum(waiting_since, previous), done


def busy_time(events: pd.DataFrame) -> Intervals:
    """When any device worked: the union of all events but transfers and collectives in flight."""
    working = events[events["kind"] != "async"]
    return Intervals.union(working["start_ns"], working["end_ns"])


def waiting_time(calls: pd.DataFrame, busy: Intervals) -> dict[str, Intervals]:
    """When the host's threads waited in JAX's runtime, and for what; the four sets are disjoint.

    buffers: until a buffer may be used again; computing: for a result, while the device works; transfer:
    copying to or from the device, while it does not work; wake_up: for a result that is ready, until the
    thread goes on.
    """
    of = {
        name: Intervals.union(named["start_ns"], named["end_ns"])
        for name, pattern in _CALLS.items()
        for named in [calls[calls["name"].str.contains(pattern, regex=True)]]
    }
    for_result = of[COMPUTING] - of[BUFFERS]
    return {
        BUFFERS: of[BUFFERS],
        COMPUTING: for_result & busy,
        TRANSFER: of[TRANSFER] - busy - of[BUFFERS],
        WAKE_UP: for_result - busy - of[TRANSFER],
    }


def device_time(trace: TraceTables, traced: pd.DataFrame, plain: pd.DataFrame) -> DeviceTime | None:
    """``traced``: the answered requests of the trace; ``plain``: those in blocks without py-spy.

    None without a request.
    """
    if traced.empty:
        return None
    traced = traced.sort_values("done_ns", kind="stable")
    starts, ends = request_windows(traced)
    busy = busy_time(trace.events)
    waits = waiting_time(trace.calls, busy)
    sets = {BUSY: busy, **waits, HELD: waits[BUFFERS] & busy}
    columns = {name: times.within(starts, ends) / 1e6 for name, times in sets.items()}
    windows = pd.DataFrame({"start_ns": starts, "end_ns": ends, "wall": (ends - starts) / 1e6, **columns})
    windows[IDLE] = windows["wall"] - windows[BUSY]
    n = len(windows)
    wall, values = (windows[names].to_numpy(dtype=np.float64) for names in (["wall"], list(ESTIMATES)))
    means, share = values.mean(axis=0), float(values[:, 0].sum() / max(wall.sum(), 1e-12))
    of_share = (values[:, :1] - share * wall) / max(wall.sum(), 1e-12)  # of a ratio, linearised
    units = Units.of_requests(traced.assign(block=0))
    half = half_width(np.hstack([values / n, of_share]), units)
    busy_share = Estimate(share, max(share - half[-1], 0.0), min(share + half[-1], 1.0))
    return DeviceTime(
        windows=windows,
        times={
            name: Estimate(means[at], max(means[at] - half[at], 0.0), means[at] + half[at])
            for at, name in enumerate(ESTIMATES)
        },
        busy_share=busy_share,
        bound=bound_by(busy_share, n),
        in_turn=bool((traced["sent_ns"].sort_values().to_numpy()[1:] >= ends[:-1]).all()),
        observer_effect=_observer_effect(traced, plain),
    )


def bound_by(share: Estimate, requests: int) -> str | None:
    """The verdict: the whole interval of the device's busy share must lie on one side for device or host."""
    if requests < 2:
        return None
    if share.low > DEVICE_SHARE:
        return DEVICE
    return HOST if share.high < HOST_SHARE else MIXED


def _observer_effect(traced: pd.DataFrame, plain: pd.DataFrame) -> ObserverEffect:
    """Latency in the trace / latency without it. Whether the trace's requests were split or hit by a compile
    is not known."""
    known = ["kind", "items", "latency_ms", "block", "split", "compile_hit"]
    after = plain["block"].max() + 1 if len(plain) else 0
    unknown = pd.array([pd.NA] * len(traced), dtype="boolean")
    latency_ms = (traced["done_ns"] - traced["sent_ns"]) / 1e6
    inside = traced.assign(latency_ms=latency_ms, block=after, split=unknown, compile_hit=unknown)
    both = pd.concat(
        [
            part[known].astype({"split": "boolean", "compile_hit": "boolean"}).assign(profiled=flag)
            for part, flag in ((inside, True), (plain, False))
        ],
        ignore_index=True,
    )
    return observer_effect(MeasuredRequests(both.assign(plain=~both["profiled"], ok=True)))
