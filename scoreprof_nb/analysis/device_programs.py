"""What the device did during the requests of a trace: programs, operations and chips."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


def operations(trace: TraceTables, in_flight: Intervals, requests: int) -> pd.DataFrame:
    """The operations, the largest first: OPERATION_COLUMNS; a mean over the chips.

    An operation's time is without that of the operations inside it (a loop holds its body), and a union over
    threads. ``count``: its events, so one that runs in a loop counts once per turn.
    """
    chips = {chip.name: chip for chip in trace.chips}
    n_chips = max(trace.events["chip"].nunique(), 1)
    busy_ns = _busy(trace.events, in_flight)
    keys = list(OPERATION_COLUMNS[:4])
    parts = trace.events[trace.events["kind"].isin(["operation", "async"])]
    rows = []
    for chip, of_chip in parts.groupby("chip", sort=True):
        segments = pd.concat([own_time(of_kind) for _, of_kind in of_chip.groupby("kind")])
        started = in_flight.within(of_chip["start_ns"].to_numpy(), of_chip["start_ns"].to_numpy() + 1).astype(
            bool
        )
        of_chip = of_chip[started]
        times = {
            key: Intervals.union(part["start_ns"], part["end_ns"]) & in_flight
            for key, part in segments.groupby(keys)
        }
        peak = chips.get(str(chip))
        for key, events in of_chip.groupby(keys, sort=False):
            ns = times[key].total_ns if key in times else 0
            rows.append(
                {
                    **dict(zip(keys, key, strict=True)),
                    "count": len(events),
                    "ns": ns,
                    "flops_share": _of_peak(events["flops"], ns, peak.flops_per_s if peak else None),
                    "bytes_share": _of_peak(events["bytes"], ns, peak.bytes_per_s if peak else None),
                }
            )
    table = pd.DataFrame(rows, columns=[*OPERATION_COLUMNS[:5], "ns", *OPERATION_COLUMNS[7:]])
    summed = table.groupby(keys, sort=False).agg(
        {"count": "sum", "ns": "sum", "flops_share": "mean", "bytes_share": "mean"}
    )
    result = summed.reset_index()
    result["ms"] = result["ns"] / 1e6 / n_chips / requests
    result["share"] = result["ns"] / max(busy_ns, 1)
    result["count"] = result["count"] / n_chips / requests
    return result.sort_values("ms", ascending=False, kind="stable", ignore_index=True)[
        list(OPERATION_COLUMNS)
    ]


def own_time(events: pd.DataFrame) -> pd.DataFrame:
    """The stretches of each event in which no event inside it runs: the columns of ``events``, more rows.

    Events of one lane overlap only when one lies inside the other.
    """
    rows: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    for lane in events["lane"].unique():
        for row, start, end in _stretches(events, np.flatnonzero(events["lane"] == lane)):
            rows.append(row)
            starts.append(start)
            ends.append(end)
    return events.iloc[rows].assign(start_ns=starts, end_ns=ends)


def _stretches(events: pd.DataFrame, lane: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    start, end = (events[name].to_numpy()[lane] for name in ("start_ns", "end_ns"))
    order = np.lexsort((-end, start))
    open_: list[tuple[int, int]] = []  # (row, end) of the events around this instant, the outermost first
    now = 0
    for at in order:
        while open_ and open_[-1][1] <= start[at]:
            row, until = open_.pop()
            if until > now:
                yield row, now, until
            now = max(now, until)
        if open_ and start[at] > now:
            yield open_[-1][0], now, int(start[at])
        now = max(now, int(start[at])) if open_ else int(start[at])
        open_.append((int(lane[at]), int(end[at])))
    while open_:
        row, until = open_.pop()
        if until > now:
            yield row, now, until
        now = max(now, until)


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


def _of_peak(amounts: "pd.Series[float]", ns: int, peak: float | None) -> float:
    if peak is None or ns <= 0 or amounts.isna().any():
        return float("nan")
    return float(amounts.sum()) / (ns / 1e9) / peak
