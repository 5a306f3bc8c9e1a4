"""The figure of the host's memory: each process of the server, second by second."""

from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    height_for,
    known_rows,
    missing_data,
    new_figure,
    panel_grid,
    plain,
    shorten,
)

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


def plot_memory(samples: pd.DataFrame) -> Figure:
    """Resident memory over time, one panel per phase.

    ``samples``: phase, process, pid, time_s (since the first sample of the phase), rss_mb.
    """
    title = "Memory of the server's processes, second by second"
    samples = known_rows(samples, "time_s", "rss_mb")
    if samples.empty:
        return missing_data(title, "no memory was recorded")
    processes = list(dict.fromkeys(zip(samples["process"], samples["pid"], strict=True)))
    handles: list[Artist] = [
        _line(place, [], [], label=shorten(plain(f"{process} {pid}"), 22))
        for place, (process, pid) in enumerate(processes)
    ]
    phases = by_phase(samples)
    denominator = (
        f"resident memory of a process, pages that processes share in each; n = {len(samples):,} samples"
    )
    figure = new_figure(title, denominator, height_for(2.2 * (-(-len(phases) // 2)), len(handles)))
    for axes, (phase, rows) in zip(
        panel_grid(figure, len(phases), handles, "process, pid"), phases, strict=True
    ):
        for place, (process, pid) in enumerate(processes):
            of_process = rows[(rows["process"] == process) & (rows["pid"] == pid)]
            axes.add_line(_line(place, of_process["time_s"], of_process["rss_mb"]))
        axes.autoscale_view()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds since the first sample", fontsize=SMALL)
        axes.set_ylabel("resident (MB)", fontsize=SMALL)
        axes.set_title(f"{plain(phase)} (n = {len(rows):,} samples)", fontsize=10, loc="left")
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _line(place: int, time_s: Sequence[float], rss_mb: Sequence[float], label: str = "") -> Line2D:
    """The line of the process with this number."""
    style = _STYLES[place // len(_COLOURS) % len(_STYLES)]
    colour = _COLOURS[place % len(_COLOURS)]
    return Line2D(time_s, rss_mb, color=colour, linestyle=style, linewidth=1.2, label=label)
