"""The device in a run's report: a sentence per phase, and its tables."""

import math

import pandas as pd

from scoreprof_nb.analysis.device import (
    BUFFERS,
    BUSY,
    COMPUTING,
    DEVICE,
    HELD,
    HOST,
    IDLE,
    TRANSFER,
    WAKE_UP,
    Estimate,
)
from scoreprof_nb.analysis.device_phase import DEVICE_WAIT, OVERLAP, DeviceWork
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.report import format
from scoreprof_nb.report.format import escape_markdown, milliseconds, percent, with_interval
from scoreprof_nb.report.profile import Report

SHOWN_OPERATIONS = 10
SHOWN_PROGRAMS = 8
LARGEST_CAUSES = 3
PLOT_COLUMNS = ("phase", "part", "mean_ms", "low", "high", "requests", "wall_ms")
_BOUND = {DEVICE: "**device-bound**", HOST: "**host-bound**", None: "not known which of the two is the limit"}


def device_markdown(report: Report) -> str:
    """Markdown: a list with a sentence per phase."""
    return "\n".join(
        f"- **{escape_markdown(phase.name)}**: {device_sentence(phase)}" for phase in report.analysis.phases
    )


def device_summary(report: Report) -> str:
    """Markdown: in one line, in which phases the device or the host is the limit; empty without a trace."""
    limits: dict[str, list[str]] = {}
    for phase in report.analysis.phases:
        work = phase.device.work
        if work is not None:
            busy = f" (busy {percent(work.time.busy_share.mean, 0)})"
            word = _BOUND.get(work.time.bound, "**mixed**")
            limits.setdefault(word, []).append(escape_markdown(f"{phase.name}{busy}"))
        elif phase.phase.record.device_trace is not None:
            limits.setdefault("not known", []).append(escape_markdown(phase.name))
    if not limits:
        return ""
    texts = "; ".join(f"{word} in {', '.join(names)}" for word, names in limits.items())
    return f"Device: {texts}, in requests of their own with JAX's trace. [More](#device)"


def has_device(report: Report) -> bool:
    """Whether the device is known in any phase."""
    return bool(_works(report))


def device_sentence(phase: PhaseAnalysis) -> str:
    """Markdown: whether the device or the host is the limit, and by how much."""
    work = phase.device.work
    if work is None:
        return escape_markdown(f"Not known: {phase.device.reason}.")
    busy, idle = (_with_interval(work.time.times[name], " ms") for name in (BUSY, IDLE))
    wall = milliseconds(float(work.time.windows["wall"].mean()))
    share = work.time.busy_share
    shares = format.share(share.mean, share.low, share.high, 0)
    verdict = _BOUND.get(work.time.bound, "**mixed**: neither the device nor the host is the limit alone")
    return (
        f"{verdict}. Of the mean request in the trace ({wall}), the device is busy {busy}, {shares}, and "
        f"idle {idle}.{_causes(work)}{_decode(work)}"
    )


def _causes(work: DeviceWork) -> str:
    causes = work.idle[work.idle["component"] != OVERLAP].head(LARGEST_CAUSES)
    if causes.empty:
        return ""
    text = ", ".join(
        f"{row['component']} {milliseconds(row['mean_ms'])}" for row in causes.to_dict("records")
    )
    return f" Most of the host's time in the request path: {escape_markdown(text)}."


def _decode(work: DeviceWork) -> str:
    if not work.decode_ms:
        return ""
    share = percent(work.decode_ms / work.time.times[BUSY].mean, 0)
    return f" {milliseconds(work.decode_ms)} of busy ({share}) is a decode step, which no score needs."


def device_table(report: Report) -> pd.DataFrame:
    """One row per phase, ms per request of the trace: busy, idle, and how far the trace changes latency."""
    rows = []
    for phase in report.analysis.phases:
        work, record = phase.device.work, phase.phase.record.device_trace
        row: dict[str, object] = {"phase": phase.name}
        if work is not None and record is not None:
            share, observer = work.time.busy_share, work.time.observer_effect
            row |= {
                "limit": work.time.bound or format.NOT_KNOWN,
                "requests": len(work.time.windows),
                "busy ms": _with_interval(work.time.times[BUSY]),
                "idle ms": _with_interval(work.time.times[IDLE]),
                "busy share": format.share(share.mean, share.low, share.high, 0),
                "decode step ms": format.number(work.decode_ms),
                "p50 with / without the trace": format.ratio(
                    observer.p50_ratio, observer.low, observer.high, digits=2
                ),
                "trace MB": format.number(record.size / 1e6),
            }
        row["note"] = phase.device.reason or ("; ".join(record.dropped) if record is not None else "")
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def device_wait_table(report: Report) -> pd.DataFrame:
    """What the host waits for in JAX's runtime: one row per phase, ms per request of the trace, beside
    ``device_wait`` of the request path."""
    rows = []
    for phase in report.analysis.phases:
        work = phase.device.work
        if work is None:
            continue
        path = phase.path.as_mapping().get(DEVICE_WAIT) if not phase.path.table.empty else None
        rows.append(
            {
                "phase": phase.name,
                **{
                    f"{name.replace('_', '-')} ms": _with_interval(work.time.times[name], digits=2)
                    for name in (COMPUTING, BUFFERS, TRANSFER, WAKE_UP)
                },
                "of buffers, while the device works, ms": _with_interval(work.time.times[HELD], digits=2),
                "device_wait of the request path, ms": with_interval(*path) if path else format.NOT_KNOWN,
            }
        )
    return pd.DataFrame(rows)


def device_idle_table(report: Report) -> pd.DataFrame:
    """What the host did while the device stood idle: one row per component, one column per phase."""
    columns = {
        phase.name: work.idle.set_index("component")
        for phase in report.analysis.phases
        if (work := phase.device.work) is not None and not work.idle.empty
    }
    if not columns:
        return pd.DataFrame()
    total = pd.concat([table["mean_ms"].drop(OVERLAP) for table in columns.values()]).groupby(level=0).sum()
    rows = [
        {"component": str(component)}
        | {
            name: _cell(table, str(component)) if component in table.index else ""
            for name, table in columns.items()
        }
        for component in [*total.sort_values(ascending=False, kind="stable").index, OVERLAP]
    ]
    idle = {"component": "sum: idle"} | {
        name: format.number(float(table["mean_ms"].sum())) for name, table in columns.items()
    }
    return pd.DataFrame([*rows, idle])


def operations_table(report: Report) -> pd.DataFrame:
    """The device's largest operations of each phase, per request of the trace."""
    rows = []
    for name, work in _works(report):
        for row in work.operations.head(SHOWN_OPERATIONS).to_dict("records"):
            shown: dict[str, object] = {
                "phase": name,
                "operation": row["name"],
                "category": row["category"] + ", in flight" if row["kind"] == "async" else row["category"],
                "program": row["program"],
                "count": format.number(row["count"]),
                "ms": format.number(row["ms"], 2),
                "share of busy": percent(row["share"]),
            }
            if math.isfinite(row["flops_share"]) or math.isfinite(row["bytes_share"]):
                shown |= {
                    "of peak flop/s": percent(row["flops_share"]),
                    "of peak bytes/s": percent(row["bytes_share"]),
                }
            rows.append(shown)
    return pd.DataFrame(rows).fillna("")


def programs_table(report: Report) -> pd.DataFrame:
    """The compiled programs of each phase: how often each ran per request, and its device time."""
    rows = [
        {
            "phase": name,
            "program": row["program"],
            "step": row["step"],
            "count": format.number(row["count"], 2),
            "ms": format.number(row["ms"], 2),
            "share of busy": percent(row["share"]),
            "shapes of its inputs": row["shapes"],
        }
        for name, work in _works(report)
        for row in work.programs.head(SHOWN_PROGRAMS).to_dict("records")
    ]
    return pd.DataFrame(rows)


def chips_table(report: Report) -> pd.DataFrame:
    """One row per phase and chip, ms per request of the trace."""
    rows = [
        {
            "phase": name,
            "chip": row["chip"],
            "kind": row["kind"] or "",
            "busy ms": format.number(row["busy_ms"], 2),
            "transfers and collectives ms": format.number(row["async_ms"], 2),
            "of these beside no operation ms": format.number(row["exposed_ms"], 2),
        }
        for name, work in _works(report)
        for row in work.chips.to_dict("records")
    ]
    return pd.DataFrame(rows)


def device_parts(report: Report) -> pd.DataFrame:
    """For the figure: PLOT_COLUMNS, the parts ``busy`` and ``idle`` of each phase, NaN where not known."""
    rows = []
    for phase in report.analysis.phases:
        work = phase.device.work
        for part in (BUSY, IDLE):
            time = work.time.times[part] if work else Estimate(math.nan, math.nan, math.nan)
            requests = len(work.time.windows) if work else 0
            wall = float(work.time.windows["wall"].mean()) if work else math.nan
            rows.append((phase.name, part, time.mean, time.low, time.high, requests, wall))
    return pd.DataFrame(rows, columns=list(PLOT_COLUMNS))


def _cell(table: pd.DataFrame, component: str) -> str:
    mean, low, high = (float(table[name][component]) for name in ("mean_ms", "low", "high"))
    return with_interval(mean, low, high)


def _works(report: Report) -> list[tuple[str, DeviceWork]]:
    phases = report.analysis.phases
    return [(phase.name, work) for phase in phases if (work := phase.device.work) is not None]


def _with_interval(estimate: Estimate, unit: str = "", digits: int = 1) -> str:
    return with_interval(estimate.mean, estimate.low, estimate.high, unit, digits)
