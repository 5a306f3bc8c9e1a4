"""What of a trace's events is the device's work, and what is the host's: pure functions from table to table.

A TPU has a plane per chip with the lines ``XLA Modules`` (a program from start to end), ``XLA Ops`` and
``Async XLA Ops``. A CPU as the device has no plane: XLA's thread pools are lines of the plane ``/host:CPU``,
and a small program runs on the thread that launched it. There, an operation is known by its stat ``hlo_op``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

# ``chip``: TPU:0, TPU:1, ..., or CPU. ``kind``: program (an execution of a compiled program), operation,
# async (a transfer or collective, in flight beside the operations), or executor (XLA's CPU runtime at work
# for a program). ``category``: XLA's; on a CPU, the operation's name without its number. ``program``: module
# and id, such as jit_run_model(24); "" if not known. ``lane``: a number within the chip; events of a lane
# overlap only when nested. ``flops`` and ``bytes`` of the event, NaN if not known. Times: epoch nanoseconds.
EVENT_COLUMNS = (
    *("chip", "kind", "name", "category", "program", "start_ns", "end_ns", "lane", "flops", "bytes"),
)
# ``thread``: number of the host thread in the trace; ``thread_name``: its process's or pool's name.
CALL_COLUMNS = ("thread", "thread_name", "name", "start_ns", "end_ns")

HOST_PLANE = "/host:CPU"
CPU = "CPU"
_CHIP = re.compile(r"^/device:(TPU:\d+|GPU:\d+)$")
_LINES = {"XLA Modules": "program", "XLA Ops": "operation", "Async XLA Ops": "async"}
_POOL = re.compile(r"^tf_")  # XLA's threads, such as tf_XLAEigen/123
_EXECUTOR = "ThunkExecutor::Execute"
_RUNTIME = re.compile(r"::|\(")  # of XLA's runtime, such as ThreadPool::Await: no operation
_LONG_NAME = re.compile(r"^%?([\w.\-]+) = ")  # a TPU names an operation by its HLO text
_NUMBER = re.compile(r"(\.\d+)+(\.(clone|remat\d*))*$")
_OPCODE = re.compile(r"^wrapped_|_fusion$")


@dataclass(frozen=True)
class Chip:
    """A device, and its peaks where the trace states them: flop/s and bytes/s of its main memory."""

    name: str
    kind: str | None
    flops_per_s: float | None
    bytes_per_s: float | None


def device_events(events: pd.DataFrame) -> pd.DataFrame:
    """The device's events in the order of their starts: EVENT_COLUMNS.

    ``events``: the columns of ``extract.EVENTS_SCHEMA``.
    """
    chip = events["plane"].map(
        {plane: match[1] for plane in events["plane"].unique() if (match := _CHIP.match(plane))}
    )
    of_chip = _of_chips(events[chip.notna()], chip.dropna())
    if not of_chip.empty:  # then the host's pools only copy and serve
        return of_chip
    return _of_cpu(events[events["plane"] == HOST_PLANE])


def host_calls(events: pd.DataFrame) -> pd.DataFrame:
    """The calls of the host's own threads into JAX's runtime, in the order of their starts: CALL_COLUMNS."""
    pool = _those(events["line_name"], _POOL.match)
    own = (events["plane"] == HOST_PLANE) & ~pool & events["hlo_op"].isna()
    calls = events[own].rename(columns={"line": "thread", "line_name": "thread_name"})
    return calls[list(CALL_COLUMNS)].sort_values("start_ns", kind="stable", ignore_index=True)


def chips(planes: pd.DataFrame) -> tuple[Chip, ...]:
    """The chips of a trace, by its planes' stats: columns plane, stat, value (text). Empty for a CPU."""
    result = []
    for plane, stats in planes.groupby("plane", sort=True):
        match = _CHIP.match(str(plane))
        if match:
            values = dict(zip(stats["stat"], stats["value"], strict=True))
            result.append(
                Chip(
                    match[1],
                    values.get("device_type_string"),
                    _scaled(values.get("peak_teraflops_per_second"), 1e12),
                    _scaled(values.get("peak_hbm_bw_gigabytes_per_second"), 1e9),
                )
            )
    return tuple(result)


def short_name(name: str) -> str:
    """An operation's name, without its HLO text."""
    match = _LONG_NAME.match(name)
    return match[1] if match else name


def _those(names: "pd.Series[str]", condition: Callable[[str], object]) -> "pd.Series[bool]":
    """Which names meet the condition. Each distinct one is asked once: 100,000 events have few names."""
    return names.isin([name for name in names.unique() if condition(name)])


def _scaled(value: str | None, factor: float) -> float | None:
    try:
        number = float(value) if value is not None else 0.0
    except ValueError:
        return None
    return number * factor if np.isfinite(number) and number > 0 else None


def _of_chips(events: pd.DataFrame, chip: "pd.Series[str]") -> pd.DataFrame:
    table = events.assign(chip=chip, kind=events["line_name"].map(_LINES)).dropna(subset="kind")
    table["program"] = np.where(table["kind"] == "program", table["name"], "")
    table = table.assign(name=table["name"].map(short_name)).sort_values("start_ns", kind="stable")
    for _, rows in table.groupby("chip"):
        programs, others = rows[rows["kind"] == "program"], rows[rows["kind"] != "program"]
        if not programs.empty:
            before = np.searchsorted(programs["start_ns"], others["start_ns"], side="right") - 1
            inside = (before >= 0) & (others["start_ns"] < programs["end_ns"].to_numpy()[before])
            table.loc[others.index, "program"] = np.where(inside, programs["program"].to_numpy()[before], "")
    return _finished(table, table["hlo_category"])


def _of_cpu(events: pd.DataFrame) -> pd.DataFrame:
    pool = _those(events["line_name"], _POOL.match)
    executor = _those(events["name"], lambda name: name.startswith(_EXECUTOR))
    runtime = _those(events["name"], _RUNTIME.search)
    operation = events["hlo_op"].notna() | (pool & ~runtime)
    table = events[operation | executor].assign(
        chip=CPU, kind=np.where(executor[operation | executor], "executor", "operation")
    )
    known = table["hlo_module"].notna()
    names = table["hlo_module"].fillna("") + "(" + table["program_id"].fillna("") + ")"
    table["program"] = names.where(known, "")
    return _finished(pd.concat([_executions(table[known]), table]), None)


def _executions(operations: pd.DataFrame) -> pd.DataFrame:
    """The executions of programs, each from the start of its first operation to the end of its last."""
    extents = operations.groupby(["program", "run_id"]).agg(
        start_ns=("start_ns", "min"), end_ns=("end_ns", "max"), name=("hlo_module", "first")
    )
    return extents.reset_index().assign(chip=CPU, kind="program", line=-1)


def _finished(table: pd.DataFrame, category: "pd.Series[str] | None") -> pd.DataFrame:
    by_name = table["name"].map(
        {name: _OPCODE.sub("", _NUMBER.sub("", name)) for name in table["name"].unique()}
    )
    named = by_name if category is None else category.fillna(by_name)
    table = table.assign(
        category=named.where(table["kind"].isin(["operation", "async"]), ""),
        lane=table["line"],
        **{
            column: pd.to_numeric(table[source]) if source in table else np.nan
            for column, source in (("flops", "flops"), ("bytes", "bytes_accessed"))
        },
    )
    whole = dict.fromkeys(("start_ns", "end_ns", "lane"), "int64")
    table = table[list(EVENT_COLUMNS)].astype(whole).astype(dict.fromkeys(("flops", "bytes"), float))
    return table.sort_values("start_ns", kind="stable", ignore_index=True)
