"""The figure of a what-if experiment: what 1 ms in each function costs, and what the request path says."""

from types import MappingProxyType

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    counts_line,
    height_for,
    known_rows,
    label_rows,
    missing_data,
    new_figure,
    panel_column,
    plain,
)

_MARKS = MappingProxyType({"measured": ("o", "#000000", -0.13), "path": ("s", "#0072B2", 0.13)})
_NAMES = MappingProxyType({"measured": "measured", "path": "the request path says"})
_ROW_IN = 0.34


def plot_what_if(curve: pd.DataFrame) -> Figure:
    """Sensitivities with their intervals, one panel per phase.

    ``curve``: phase, rounds (of the phase), function, which (measured or path), value, low, high: ms of
    latency per ms put in; NaN where it is not known.
    """
    title = "What 1 ms more in each function costs a request"
    known = known_rows(curve, "value", "low", "high")
    if known.empty:
        return missing_data(title, "no sensitivity is known")
    phases = by_phase(known)
    functions = [list(dict.fromkeys(rows["function"])) for _, rows in phases]
    handles: list[Artist] = [
        *(
            Line2D([], [], color=colour, marker=mark, linestyle="", label=_NAMES[which])
            for which, (mark, colour, _) in _MARKS.items()
        ),
        Line2D([], [], color="#777777", linestyle="--", label="1: felt in full"),
    ]
    figure = new_figure(
        title,
        "change of the mean latency per ms put in, with 95 % intervals; 0: hidden, 1: felt in full, more: it "
        f"disturbs others\n{counts_line(known, 'rounds', 'rounds')}: measured in those without py-spy, the "
        "request path in those with it",
        height_for(sum(_ROW_IN * len(names) + 0.7 for names in functions), len(handles)),
    )
    panels = panel_column(figure, [len(names) + 1 for names in functions], handles, "")
    for axes, (phase, rows), names in zip(panels, phases, functions, strict=True):
        _draw(axes, phase, rows, names)
    return figure


def _draw(axes: Axes, phase: str, rows: pd.DataFrame, names: list[str]) -> None:
    for which, (mark, colour, offset) in _MARKS.items():
        part = rows[rows["which"] == which]
        y = [names.index(name) + offset for name in part["function"]]
        axes.hlines(y, part["low"], part["high"], color=colour, linewidth=1.2)
        axes.plot(part["value"], y, mark, color=colour, markersize=4.5)
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.axvline(1, color="#777777", linewidth=0.8, linestyle="--")
    label_rows(axes, names)
    axes.set_xlabel("ms of latency per ms put in", fontsize=SMALL)
    axes.set_title(plain(phase), fontsize=10, loc="left")
