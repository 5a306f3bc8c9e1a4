"""Figures of the server under load: its batches, and how busy its threads are."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    count,
    height_for,
    known_rows,
    label_rows,
    missing_data,
    new_figure,
    panel_column,
    panel_grid,
    plain,
    shorten,
    write_after,
)

_BAR_COLOUR = "#8FA3B3"  # not a component's colour: these bars show no component


def plot_batching(batches: pd.DataFrame) -> Figure:
    """The number of sequences in the server's prefill batches, one panel per phase.

    ``batches``: phase, new_sequences (sequences in the batch), batches (number of such batches).
    """
    title = "Prefill batches by number of sequences"
    known = known_rows(batches, "new_sequences", "batches")
    if known.empty:
        return missing_data(title, "no prefill batch is known")
    phases = by_phase(known)
    denominator = f"n = {count(known['batches'].sum())} prefill batches in {len(phases)} phases"
    handles: list[Artist] = [Patch(facecolor=_BAR_COLOUR, label="prefill batches")]
    figure = new_figure(title, denominator, height_for(2.1 * (-(-len(phases) // 2)), 1))
    for axes, (phase, rows) in zip(panel_grid(figure, len(phases), handles, ""), phases, strict=True):
        drawn = axes.bar(rows["new_sequences"], rows["batches"], width=0.8, color=_BAR_COLOUR)
        if len(rows) <= 12:
            axes.bar_label(drawn, fmt="{:,.0f}", fontsize=7.5, padding=1)
        sequences = (rows["new_sequences"] * rows["batches"]).sum()
        axes.set_title(
            f"{plain(phase)} (n = {count(rows['batches'].sum())} batches, {count(sequences)} sequences)",
            fontsize=10,
            loc="left",
        )
        axes.set_xlim(
            min(rows["new_sequences"].min() - 0.8, 0.2), max(rows["new_sequences"].max() + 0.8, 4.8)
        )
        axes.set_ylim(0, 1.15 * max(rows["batches"].max(), 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_xlabel("new sequences in the batch (number)", fontsize=SMALL)
        axes.set_ylabel("batches (number)", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_utilisation(utilisation: pd.DataFrame) -> Figure:
    """How busy each thread is: the share of wall time in which it does work, one panel per phase.

    ``utilisation``: phase, process, thread, busy_share (0 to 1, of the phase's wall time), low and
    high (95 % interval, NaN = not known).
    """
    title = "How busy each thread is"
    known = known_rows(utilisation, "busy_share")
    if known.empty:
        return missing_data(title, "no thread's busy share is known")
    phases = by_phase(known)
    handles: list[Artist] = [
        Patch(facecolor=_BAR_COLOUR, label="does work"),
        Line2D([], [], color="black", label="95 % interval"),
    ]
    excluded = len(utilisation) - len(known)
    denominator = "share of the phase's wall time, n = threads shown" + (
        f"; {excluded} not known, not drawn" if excluded else ""
    )
    figure = new_figure(title, denominator, height_for(sum(0.3 * len(rows) + 0.5 for _, rows in phases), 2))
    panels = panel_column(figure, [len(rows) + 1.2 for _, rows in phases], handles, "")
    for axes, (phase, rows) in zip(panels, phases, strict=True):
        _draw_busy(axes, rows)
        axes.set_title(f"{plain(phase)} (n = {len(rows)} threads)", fontsize=10, loc="left")
    panels[-1].set_xlabel("share of wall time in which the thread does work (%)")
    return figure


def _draw_busy(axes: Axes, rows: pd.DataFrame) -> None:
    for y, (_, row) in enumerate(rows.iterrows()):
        percent, low, high = (100 * row[name] for name in ("busy_share", "low", "high"))
        axes.barh(y, percent, height=0.7, color=_BAR_COLOUR)
        axes.plot([low, high], [y, y], color="black", linewidth=1.5)
        write_after(axes, y, np.nanmax([percent, high]), f"{percent:.1f} %")
    label_rows(axes, [shorten(f"{row['process']} / {row['thread']}", 48) for _, row in rows.iterrows()])
    axes.set_xlim(0, max(108.0, axes.get_xlim()[1]))
