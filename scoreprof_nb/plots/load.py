"""The figure of an open loop: latency over the offered rate."""

from types import MappingProxyType

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoreprof_nb.plots.layout import (
    SMALL,
    height_for,
    known_rows,
    log_ticks,
    missing_data,
    new_figure,
    panel_grid,
    plain,
)

_LINES = MappingProxyType({"p50": "#000000", "p90": "#0072B2", "p99": "#D55E00"})
_KNEE, _CAPACITY, _LIMIT, _NONE = "#009E73", "#777777", "#CC79A7", "#D55E00"


def plot_latency_over_rate(curve: pd.DataFrame, slo_ms: float = 0.0) -> Figure:
    """Latency percentiles over the offered rate, one panel per kind of request.

    ``curve``: kind, rate_per_s, p50_ms, p90_ms, p99_ms (NaN = too few requests, or numbers that must not be
    used), knee_per_s and capacity_per_s (NaN = not known). ``slo_ms``: a limit to draw; 0 for none.
    """
    title = "Latency over the offered rate"
    curve = known_rows(curve, "rate_per_s")
    if curve.empty:
        return missing_data(title, "no open loop was measured (parameter rates)")
    kinds = list(curve.groupby("kind", sort=False))
    refused = int(curve["p50_ms"].isna().sum())
    denominator = f"one dot = one rate, n = {len(curve)} rates; latency from the planned sending time" + (
        f"; without percentiles: {refused} (crosses, see the table)" if refused else ""
    )
    handles: list[Artist] = [
        *(Line2D([], [], color=colour, marker="o", label=name) for name, colour in _LINES.items()),
        Line2D([], [], color=_KNEE, linestyle="--", label="knee"),
        Line2D([], [], color=_CAPACITY, linestyle=":", label="capacity"),
        Line2D([], [], color=_NONE, marker="x", linestyle="", label="no percentiles"),
    ]
    if slo_ms:
        handles.append(Line2D([], [], color=_LIMIT, linestyle="-.", label="slo_ms"))
    figure = new_figure(title, denominator, height_for(3.0 * (-(-len(kinds) // 2)), len(handles)))
    for axes, (kind, rows) in zip(panel_grid(figure, len(kinds), handles, ""), kinds, strict=True):
        _draw(axes, str(kind), rows.sort_values("rate_per_s"), slo_ms)
    return figure


def _draw(axes: Axes, kind: str, rows: pd.DataFrame, slo_ms: float) -> None:
    for name, colour in _LINES.items():
        known = rows.dropna(subset=[f"{name}_ms"])
        axes.plot(known["rate_per_s"], known[f"{name}_ms"], "o-", color=colour, markersize=4)
    silent = rows[rows["p50_ms"].isna()]
    axes.plot(
        silent["rate_per_s"], [0.95] * len(silent), "x", color=_NONE, transform=axes.get_xaxis_transform()
    )
    for column, colour, style in (("knee_per_s", _KNEE, "--"), ("capacity_per_s", _CAPACITY, ":")):
        for rate in rows[column].dropna().unique():
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1)
    if slo_ms:
        axes.axhline(slo_ms, color=_LIMIT, linestyle="-.", linewidth=1)
    if rows["p50_ms"].notna().any():
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    axes.set_xlabel("offered rate (number of requests per second)", fontsize=SMALL)
    axes.set_ylabel("latency (ms, log)", fontsize=SMALL)
    axes.set_title(f"{plain(kind)} (n = {len(rows)} rates)", fontsize=10, loc="left")
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
