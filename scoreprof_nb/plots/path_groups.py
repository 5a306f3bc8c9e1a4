"""Figure of the request path of some requests beside that of all: what the slowest ones wait for."""

import pandas as pd
from matplotlib.figure import Figure

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.plots import bars
from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    component_handles,
    height_for,
    known_rows,
    label_rows,
    missing_data,
    new_figure,
    number,
    panel_column,
    plain,
    write_after,
)

VISIBLE_SHARE = 0.01  # of the longest bar of a phase: a smaller segment has no entry in the legend


def plot_path_groups(groups: pd.DataFrame, catalog: Catalog = CATALOG) -> Figure:
    """What all requests wait for, those without a compile, and the slowest tenth: one panel per phase, one
    stacked bar per group.

    ``groups``: phase, group, component, mean_ms (per request, own and queued together), requests (of the
    group, the same on all its rows).
    """
    title = "Request path of all requests, and of some of them"
    known = known_rows(groups, "mean_ms")
    if known.empty:
        return missing_data(title, "no group of requests has a path of its own")
    phases = [(phase, list(rows.groupby("group", sort=False))) for phase, rows in by_phase(known)]
    named = pd.concat([_visible(rows) for _, rows in by_phase(known)])
    handles = component_handles(named["component"], catalog)
    lines = [len(of_phase) for _, of_phase in phases]
    figure = new_figure(
        title,
        "mean milliseconds of wall time per request with py-spy; n = requests of the group; scales differ",
        height_for(sum(0.5 * n + 0.75 for n in lines), len(handles)),
    )
    panels = panel_column(figure, [n + 1.2 for n in lines], handles, "component")
    segments = []
    for axes, (phase, of_phase) in zip(panels, phases, strict=True):
        for y, (_, rows) in enumerate(of_phase):
            segments += bars.stack(axes, y, rows, "mean_ms", _labels, catalog)
            end = rows["mean_ms"].clip(lower=0).sum()
            write_after(axes, y, end, f"{number(rows['mean_ms'].sum())} ms")
        label_rows(axes, [f"{group} (n = {int(rows['requests'].max()):,})" for group, rows in of_phase])
        axes.set_title(plain(phase), fontsize=10, loc="left")
        axes.set_xlim(0, 1.15 * max(axes.get_xlim()[1], 1e-9))
    panels[-1].set_xlabel("milliseconds of wall time per request", fontsize=SMALL)
    bars.label_segments(figure, segments)
    return figure


def _visible(of_phase: pd.DataFrame) -> pd.DataFrame:
    longest = float(of_phase.groupby("group")["mean_ms"].sum().max())
    return of_phase.loc[of_phase["mean_ms"].abs() >= VISIBLE_SHARE * longest]


def _labels(row: "pd.Series[float]") -> list[str]:
    value = number(float(row["mean_ms"]))
    return [f"{row['component']}\n{value}", value]
