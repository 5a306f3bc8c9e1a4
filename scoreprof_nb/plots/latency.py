"""Figures of latency: its distribution, its course over time, and the effect of profiling on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    count,
    counts_line,
    finite,
    height_for,
    interval,
    known_rows,
    label_rows,
    log_ticks,
    missing_data,
    new_figure,
    number,
    panel_grid,
    panel_row,
    plain,
    spans_decades,
)

_STATISTICS = MappingProxyType({"mean": "D", "p50": "o", "p90": "s", "p95": "^", "p99": "v"})  # markers
_STATISTIC_COLOURS = MappingProxyType(
    {"mean": "#777777", "p50": "#000000", "p90": "#0072B2", "p95": "#009E73", "p99": "#D55E00"}
)
_LANE = 0.16  # of a phase's row, which is 1 high

_REQUEST_COLOUR = "#5B7083"
_PROFILED_COLOUR = "#FBE3B5"


@dataclass(frozen=True)
class _Event:
    """How requests that something happened to are marked, and the words for it in texts."""

    marker: str
    colour: str
    label: str
    counted: str


_EVENTS = MappingProxyType(
    {
        "compile_hit": _Event("^", "#D55E00", "compile hit", "compile hits"),
        "split": _Event("s", "#0072B2", "split over batches", "split"),
        "failed": _Event("x", "#000000", "failed (no latency:\nat the bottom)", "failed"),
    }
)


def plot_latency(latency: pd.DataFrame) -> Figure:
    """Latency statistics of each phase: one dot each, with its 95 % interval where it is known.

    ``latency``: phase, requests, mean_ms, p50_ms, p90_ms, p95_ms, p99_ms (NaN = too few requests),
    and the bounds p50_low, p50_high, p90_low, p90_high in ms (NaN = not known). Bounds of the other
    statistics (mean_low, ...) are drawn if the table has them.
    """
    title = "Latency of a request, as the client sees it"
    values = [f"{name}_ms" for name in _STATISTICS]
    latency = finite(latency)
    if latency.empty or latency[values].isna().all(axis=None):
        return missing_data(title, "no latency statistic is known")
    missing = [
        f"{name} ({row['phase']})"
        for _, row in latency.iterrows()
        for name in _STATISTICS
        if pd.isna(row[f"{name}_ms"])
    ]
    denominator = f"per request, {counts_line(latency, 'requests', 'requests')}; bars: 95 % interval" + (
        f"\nnot shown, too few requests: {', '.join(missing)}" if missing else ""
    )
    handles: list[Artist] = [
        Line2D([], [], color=_STATISTIC_COLOURS[name], marker=marker, linestyle="", label=name)
        for name, marker in _STATISTICS.items()
        if latency[f"{name}_ms"].notna().any()
    ]
    figure = new_figure(title, denominator, height_for(1.15 * len(latency), len(handles)))
    (axes,) = panel_row(figure, [1], handles, "statistic")
    for y, (_, row) in enumerate(latency.iterrows()):
        _draw_statistics(axes, y, row)
    _grid_rows(axes, list(latency["phase"]))
    log = spans_decades(pd.Series(latency[values].to_numpy(dtype=float).ravel()))
    if log:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, axes.get_xlim()[1] * 1.1)
    axes.set_xlabel("latency (milliseconds, logarithmic)" if log else "latency (milliseconds)")
    return figure


def _draw_statistics(axes: Axes, y: int, row: pd.Series) -> None:
    for lane, (name, marker) in enumerate(_STATISTICS.items()):
        value, low, high = row[f"{name}_ms"], row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
        if pd.isna(value):
            continue
        at, colour = y + (lane - 2) * _LANE, _STATISTIC_COLOURS[name]
        axes.plot([low, high], [at, at], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, at, marker=marker, color=colour, markersize=5.5)
        axes.annotate(
            f"{name} {number(value)}",
            (value if pd.isna(high) else max(value, high), at),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )


def plot_latency_timeline(requests: pd.DataFrame) -> Figure:
    """The latency of every request over the time of its phase, one panel per phase.

    ``requests``: phase, time_s (start of the request, since the start of the phase), latency_ms (NaN
    = no answer), block (int), and the flags profiled (py-spy was attached), compile_hit (the server
    compiled meanwhile), split (the request's texts went into more than one batch), failed.
    """
    title = "Latency of every request over time"
    known = known_rows(requests, "time_s")
    if known.empty:
        return missing_data(title, "no requests")
    flags = {flag: known[flag].eq(True) for flag in ("profiled", *_EVENTS)}
    known = known.assign(**flags)
    phases = by_phase(known)
    events = ", ".join(f"{int(known[flag].sum()):,} {event.counted}" for flag, event in _EVENTS.items())
    excluded = len(requests) - len(known)
    denominator = (
        f"one dot = one request, n = {len(known):,} requests: {int(known['profiled'].sum()):,} in profiled "
        f"blocks, {events}"
        + (f"; {excluded:,} requests without a timestamp are not drawn" if excluded else "")
    )
    handles = _timeline_handles([flag for flag in _EVENTS if known[flag].any()])
    figure = new_figure(title, denominator, height_for(2.3 * (-(-len(phases) // 2)), len(handles) + 2))
    for axes, (phase, rows) in zip(panel_grid(figure, len(phases), handles, ""), phases, strict=True):
        _draw_timeline(axes, phase, rows)
    return figure


def _timeline_handles(occurring: Sequence[str]) -> list[Artist]:
    return [
        Line2D([], [], color=_REQUEST_COLOUR, marker=".", linestyle="", label="request"),
        *(
            Line2D(
                [],
                [],
                linestyle="",
                marker=event.marker,
                color=event.colour,
                markerfacecolor="none",
                label=event.label,
            )
            for event in map(_EVENTS.__getitem__, occurring)
        ),
        Patch(facecolor=_PROFILED_COLOUR, label="profiled block"),
    ]


def _draw_timeline(axes: Axes, phase: str, rows: pd.DataFrame) -> None:
    for _, block in rows[rows["profiled"]].groupby("block", observed=True):
        end_s = (block["time_s"] + block["latency_ms"].fillna(0) / 1000).max()
        axes.axvspan(block["time_s"].min(), end_s, color=_PROFILED_COLOUR, zorder=0, linewidth=0)
    answered = rows[rows["latency_ms"].notna()]
    axes.scatter(answered["time_s"], answered["latency_ms"], s=7, color=_REQUEST_COLOUR, zorder=2)
    for flag, event in _EVENTS.items():
        marked = answered[answered[flag]]
        axes.plot(
            marked["time_s"],
            marked["latency_ms"],
            linestyle="",
            marker=event.marker,
            color=event.colour,
            markersize=7,
            markerfacecolor="none",
            zorder=3,
        )
    silent = rows[rows["latency_ms"].isna()]
    axes.plot(
        silent["time_s"],
        [0.03] * len(silent),
        "x",
        color="#000000",
        markersize=6,
        transform=axes.get_xaxis_transform(),
    )
    if spans_decades(answered["latency_ms"]):
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    else:
        axes.set_ylim(0, 1.1 * answered["latency_ms"].max() if len(answered) else 1)
    log = axes.get_yscale() == "log"
    axes.set_ylabel("latency (ms, log)" if log else "latency (ms)", fontsize=SMALL)
    axes.set_xlabel("seconds since the start of the phase", fontsize=SMALL)
    axes.set_title(f"{plain(phase)} (n = {count(len(rows))})", fontsize=10, loc="left")
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def plot_observer_effect(effect: pd.DataFrame) -> Figure:
    """The effect of profiling on latency: the ratio of the means with and without it.

    ``effect``: phase, mean_ratio (mean of profiled requests / mean of the others), low and high (95 %
    interval, NaN = not known).
    """
    title = "Effect of profiling on latency (observer effect)"
    known = known_rows(effect, "mean_ratio")
    if known.empty:
        return missing_data(title, "no phase has requests both with and without the profiler")
    excluded = [str(phase) for phase in effect["phase"] if phase not in set(known["phase"])]
    denominator = (
        f"mean latency of profiled blocks / mean latency of the others, n = {len(known)} phases; "
        "bars: 95 % interval" + (f"; not known: {', '.join(excluded)}" if excluded else "")
    )
    handles: list[Artist] = [
        Line2D([], [], color="#0072B2", marker="o", label="ratio, 95 % interval"),
        Line2D([], [], color="#444444", linestyle="--", label="1.0: no effect"),
    ]
    figure = new_figure(title, denominator, height_for(0.5 * len(known), len(handles)))
    (axes,) = panel_row(figure, [1], handles, "")
    axes.axvline(1.0, color="#444444", linestyle="--", linewidth=1)
    for y, (_, row) in enumerate(known.iterrows()):
        ratio, low, high = row["mean_ratio"], row["low"], row["high"]
        axes.plot([low, high], [y, y], color="#0072B2", linewidth=2)
        axes.plot(ratio, y, "o", color="#0072B2")
        axes.text(
            1.01,
            y,
            f"{ratio:.3f}  ({_ratio_interval(low, high)})",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=SMALL,
        )
    _grid_rows(axes, list(known["phase"]))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.95), max(high, 1.05))
    axes.set_xlabel("mean latency profiled / not profiled (ratio)")
    return figure


def _ratio_interval(low: float, high: float) -> str:
    return interval(low, high) if pd.isna(low) or pd.isna(high) else f"{low:.3f}–{high:.3f}"


def _grid_rows(axes: Axes, phases: Sequence[str]) -> None:
    label_rows(axes, phases)
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
