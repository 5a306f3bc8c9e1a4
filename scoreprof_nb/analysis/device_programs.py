"""What the device did during the requests of a trace: programs, operations and chips."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.device.events import Chip
from scoreprof_nb.device.intervals import Intervals
from scoreprof_nb.device.trace import TraceTables

# Per request of the trace, unless noted. ``share``: of the chip's busy time; ``flops_share`` and
# ``bytes_share``: achieved, as a share of the chip's peak while the operation ran, NaN where not known.
OPERATION_COLUMNS = (
    *("program", "name", "category", "kind", "count", "ms", "share", "flops_share", "bytes_share"),
)
# ``step``: prefill, decode, or "" for a program that is not the model's, or not known.
PROGRAM_COLUMNS = ("program", "step", "count", "ms", "share", "shapes")
CHIP_COLUMNS = ("chip", "kind", "busy_ms", "async_ms", "exposed_ms")
Whole = NDArray[np.int64]
_KEYS = list(OPERATION_COLUMNS[:4])
_NO_ROWS: Whole = np.empty(0, dtype=np.int64)


def operations(trace: TraceTables, in_flight: Intervals, requests: int) -> pd.DataFrame:
    """The operations, the largest first: OPERATION_COLUMNS; a mean over the chips.

    An operation's time is without that of the operations inside it (a loop holds its body), and a union over
    threads. ``count``: its events, so one that runs in a loop counts once per turn.
    """
    peaks = {chip.name: chip for chip in trace.chips}
    n_chips = max(trace.events["chip"].nunique(), 1)
    busy_ns = _busy(trace.events, in_flight)
    parts = trace.events[trace.events["kind"].isin(["operation", "async"])]
    rows = [
        row
        for name, of_chip in parts.groupby("chip", sort=True)
        for row in _of_chip(of_chip, in_flight, peaks.get(str(name)))
    ]
    table = pd.DataFrame(rows, columns=[*OPERATION_COLUMNS[:5], "ns", *OPERATION_COLUMNS[7:]])
    summed = table.groupby(_KEYS, sort=False).agg(
        {"count": "sum", "ns": "sum", "flops_share": "mean", "bytes_share": "mean"}
    )
    result = summed.reset_index()
    result["ms"] = result["ns"] / 1e6 / n_chips / requests
    result["share"] = result["ns"] / max(busy_ns, 1)
    result["count"] = result["count"] / n_chips / requests
    return result.sort_values("ms", ascending=False, kind="stable", ignore_index=True)[
        list(OPERATION_COLUMNS)
    ]


def _of_chip(events: pd.DataFrame, in_flight: Intervals, chip: Chip | None) -> Iterator[dict[str, object]]:
    """The operations of a chip, of events that started while a request was in flight, the first first."""
    numbers = events.groupby(_KEYS, sort=False, dropna=False).ngroup().to_numpy(dtype=np.int64)
    rows, starts, ends = own_time(events)
    stretches = _rows_of(numbers[rows])
    begins = events["start_ns"].to_numpy()
    started = np.flatnonzero(in_flight.within(begins, begins + 1))
    keys = list(events[_KEYS].drop_duplicates().itertuples(index=False, name=None))
    flops, bytes_ = events["flops"].to_numpy(), events["bytes"].to_numpy()
    for number, places in _rows_of(numbers[started]).items():
        of_number, own = started[places], stretches.get(number, _NO_ROWS)
        ns = (Intervals.union(starts[own], ends[own]) & in_flight).total_ns
        yield {
            **dict(zip(_KEYS, keys[number], strict=True)),
            "count": len(of_number),
            "ns": ns,
            "flops_share": _of_peak(flops[of_number], ns, chip.flops_per_s if chip else None),
            "bytes_share": _of_peak(bytes_[of_number], ns, chip.bytes_per_s if chip else None),
        }


def _rows_of(numbers: NDArray[np.integer]) -> dict[int, Whole]:
    """The places of each number, in the order of its first."""
    distinct, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    places = np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])
    return {int(distinct[at]): places[at] for at in np.argsort(first)}


def own_time(events: pd.DataFrame) -> tuple[Whole, Whole, Whole]:
    """The stretches of each event in which no event inside it runs: row (from 0), start and end (ns).

    Events of one kind and lane overlap only when one lies inside the other.
    """
    start, end = (events[name].to_numpy() for name in ("start_ns", "end_ns"))
    stretches = [
        stretch
        for lane in events.groupby(["kind", "lane"]).indices.values()
        for stretch in _stretches(np.asarray(lane), start[lane], end[lane])
    ]
    rows, starts, ends = np.array(stretches, dtype=np.int64).reshape(-1, 3).T
    return rows, starts, ends


def _stretches(lane: Whole, start: Whole, end: Whole) -> Iterator[tuple[int, int, int]]:
    order = np.lexsort((-end, start))
    events = zip(*(values[order].tolist() for values in (lane, start, end)), strict=True)
    open_: list[tuple[int, int]] = []  # (row, end) of the events around this instant, the outermost first
    now = 0
    for row, begins, ends in events:
        while open_ and open_[-1][1] <= begins:
            inner, until = open_.pop()
            if until > now:
                yield inner, now, until
                now = until
        if open_ and begins > now:
            yield open_[-1][0], now, begins
        now = max(now, begins) if open_ else begins
        open_.append((row, ends))
    while open_:
        inner, until = open_.pop()
        if until > now:
            yield inner, now, until
            now = until


def programs(
    trace: TraceTables, in_flight: Intervals, requests: int, steps: Mapping[str, str]
) -> pd.DataFrame:
    """The compiled programs that ran, the largest first: PROGRAM_COLUMNS; a mean over the chips.

    Empty where the trace does not name programs. ``steps``: of device_steps.model_steps.
    """
    executions = trace.events[trace.events["kind"] == "program"]
    n_chips = max(executions["chip"].nunique(), 1)
    shapes = dict(zip(trace.programs["program"], trace.programs["shapes"], strict=True))
    busy_ns = _busy(trace.events, in_flight)
    rows = []
    for name, of_name in executions.groupby("program", sort=False):
        starts = of_name["start_ns"].to_numpy()
        count = int(in_flight.within(starts, starts + 1).sum())
        ns = sum(
            (Intervals.union(part["start_ns"], part["end_ns"]) & in_flight).total_ns
            for _, part in of_name.groupby("chip")
        )
        if ns or count:
            rows.append(
                {
                    "program": name,
                    "step": steps.get(str(name), ""),
                    "count": count / n_chips / requests,
                    "ms": ns / 1e6 / n_chips / requests,
                    "share": ns / max(busy_ns, 1),
                    "shapes": shapes.get(name, ""),
                }
            )
    table = pd.DataFrame(rows, columns=list(PROGRAM_COLUMNS))
    return table.sort_values("ms", ascending=False, kind="stable", ignore_index=True)


def chips(trace: TraceTables, in_flight: Intervals, requests: int) -> pd.DataFrame:
    """One row per chip: CHIP_COLUMNS, ms per request. ``async_ms``: transfers and collectives in flight;
    ``exposed_ms``: those during which no operation ran."""
    kinds = {chip.name: chip.kind for chip in trace.chips}
    rows = []
    for name, events in trace.events.groupby("chip", sort=True):
        flying, working = events["kind"] == "async", events["kind"] == "operation"
        in_transit, computing, busy = (
            Intervals.union(part["start_ns"], part["end_ns"])
            for part in (events[flying], events[working], events[~flying])
        )
        rows.append(
            {
                "chip": name,
                "kind": kinds.get(str(name)),
                "busy_ms": (busy & in_flight).total_ns / 1e6 / requests,
                "async_ms": (in_transit & in_flight).total_ns / 1e6 / requests,
                "exposed_ms": ((in_transit - computing) & in_flight).total_ns / 1e6 / requests,
            }
        )
    return pd.DataFrame(rows, columns=list(CHIP_COLUMNS))


def _busy(events: pd.DataFrame, in_flight: Intervals) -> int:
    """The chips' busy times within the requests, added up; ns."""
    working = events[events["kind"] != "async"]
    return sum(
        (Intervals.union(part["start_ns"], part["end_ns"]) & in_flight).total_ns
        for _, part in working.groupby("chip")
    )


def _of_peak(amounts: NDArray[np.float64], ns: int, peak: float | None) -> float:
    if peak is None or ns <= 0 or np.isnan(amounts).any():
        return float("nan")
    return float(amounts.sum()) / (ns / 1e9) / peak
