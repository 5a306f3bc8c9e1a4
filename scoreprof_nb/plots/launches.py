"""The launches of a comparison, one by one."""

from types import MappingProxyType

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scoreprof_nb.plots.layout import (
    SMALL,
    finite,
    height_for,
    known_rows,
    missing_data,
    new_figure,
    panel_grid,
    plain,
    shorten,
)

_SIDE_MARKS = MappingProxyType({"control": ("#000000", "o"), "test": ("#D55E00", "D")})
_UNKNOWN_LENGTH = 400  # of the list of launches without a value


def plot_launches(launches: pd.DataFrame, mark: str = "") -> Figure:
    """The headlines of every launch in the order of time, with the two launches of each pair joined: how much
    launches of one side differ, a drift, and two levels show here.

    ``launches``: phase, metric, side (control or test), pair, launch (place in time), value (ms).
    """
    title = f"{mark}Every launch in the order of time, the two of a pair joined"
    known = known_rows(launches, "value")
    if known.empty:
        return missing_data(title, "no launch has a value")
    groups = [(key, rows) for key, rows in known.groupby(["phase", "metric"], sort=False)]
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=shape, linestyle="", label=side)
        for side, (colour, shape) in _SIDE_MARKS.items()
    ]
    figure = new_figure(
        title,
        "ms per request, without py-spy and without compiles; "
        f"n = {known['pair'].nunique()} pairs; scales differ" + _unknown_launches(launches),
        height_for(2.1 * -(-len(groups) // 2), len(handles)),
    )
    panels = panel_grid(figure, len(groups), handles, "side")
    for axes, ((phase, metric), rows) in zip(panels, groups, strict=True):
        for _, pair in rows.groupby("pair"):
            in_time = pair.sort_values("launch")
            axes.plot(in_time["launch"], in_time["value"], color="#999999", linewidth=1)
        for side, (colour, shape) in _SIDE_MARKS.items():
            of_side = rows[rows["side"] == side]
            axes.plot(
                of_side["launch"], of_side["value"], color=colour, marker=shape, linestyle="", markersize=5
            )
        axes.set_title(plain(f"{phase}: {metric}"), loc="left", fontsize=SMALL + 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        axes.set_xlabel("launch", fontsize=SMALL)
        axes.set_ylabel("ms", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.set_ylim(0, 1.1 * float(rows["value"].max()))
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _unknown_launches(launches: pd.DataFrame) -> str:
    """The launches without a value, each named once. Empty if all are known."""
    unknown = finite(launches).query("value.isna()")
    names = dict.fromkeys(
        f"{row['phase']}: {row['side']} {row['pair']}" for row in unknown.to_dict("records")
    )
    return f"\nnot known: {shorten(', '.join(names), _UNKNOWN_LENGTH)}" if names else ""
