"""The figure of the device: how much of a request it computes, and how much of it the device stands idle."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scoreprof_nb.plots.layout import (
    by_phase,
    counts_line,
    height_for,
    interval,
    known_rows,
    label_rows,
    missing_data,
    new_figure,
    number,
    panel_row,
    write_after,
)

# Not the colours of components: a device's time is not a component of the host's.
_BUSY, _IDLE = "#3B6EA5", "#E3E6EA"


def plot_device(parts: pd.DataFrame) -> Figure:
    """Device busy and idle per request, one bar per phase.

    ``parts``: phase, part (busy or idle), mean_ms, low and high (95 % interval, NaN = not known), requests,
    wall_ms (the mean of a request's window).
    """
    title = "Is the device or the host the limit?"
    known = known_rows(parts, "mean_ms")
    if known.empty:
        return missing_data(title, "no phase has a device trace that can be used")
    phases = by_phase(known)
    handles: list[Artist] = [
        Patch(facecolor=_BUSY, label="device busy"),
        Patch(facecolor=_IDLE, edgecolor="#777777", label="device idle"),
        Line2D([], [], color="black", label="95 % interval of busy"),
    ]
    denominator = (
        f"of a request's time in the block with JAX's trace; {counts_line(known, 'requests', 'requests')}"
    )
    figure = new_figure(title, denominator, height_for(0.55 * len(phases) + 0.4, 3))
    (axes,) = panel_row(figure, [1], handles, "")
    for y, (_, rows) in enumerate(phases):
        _draw(axes, y, rows.set_index("part"))
    label_rows(axes, [phase for phase, _ in phases])
    axes.set_xlim(0, 1.3 * float(known["wall_ms"].max()))
    axes.set_xlabel("milliseconds per request")
    return figure


def _draw(axes: Axes, y: int, rows: pd.DataFrame) -> None:
    busy, idle = map(float, rows["mean_ms"][["busy", "idle"]])
    low, high = map(float, (rows["low"]["busy"], rows["high"]["busy"]))
    axes.barh(y, busy, height=0.6, color=_BUSY)
    axes.barh(y, idle, left=busy, height=0.6, color=_IDLE, edgecolor="#777777", linewidth=0.6)
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [y, y], color="black", linewidth=1.5)
    end = max(busy + idle, high if np.isfinite(high) else 0.0)
    write_after(axes, y, end, f"{number(busy)} ms busy ({interval(low, high)}), {number(idle)} ms idle")
