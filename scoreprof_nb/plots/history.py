"""Many runs over time."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoreprof_nb.components import palette
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.plots import bars
from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    component_handles,
    finite,
    height_for,
    known_rows,
    missing_data,
    new_figure,
    panel_column,
    plain,
    shorten,
    unknown_line,
)

_LABELLED_RUNS = 12
_UNKNOWN_LENGTH = 400  # of the list of runs without a p50


def plot_history(runs: pd.DataFrame, paths: pd.DataFrame, catalog: Catalog = CATALOG) -> Figure:
    """p50 and the request path of many runs over time, one panel per phase.

    ``runs``: run_id, label, started_at (UTC timestamps), phase, p50_ms (NaN = not known); ``paths``:
    run_id, phase, component, mean_ms. A bar is a run's request path, a mark its p50.
    """
    title = "p50 and request path of each run, in order of time"
    known = known_rows(runs, "p50_ms")
    if known.empty:
        return missing_data(title, "no run has a p50")
    runs = finite(runs)
    phases = by_phase(runs)
    drawn = known_rows(paths, "mean_ms")
    catalog = catalog.covering(drawn["component"] if len(drawn) else ())  # runs may have other rules
    order = runs.drop_duplicates("run_id").sort_values("started_at", kind="stable")
    place = {run_id: x for x, run_id in enumerate(order["run_id"])}
    started = order["started_at"].dt.strftime("%m-%d %H:%M")
    names = [plain(f"{shorten(label, 13)}\n{at}") for label, at in zip(order["label"], started, strict=True)]
    step = -(-len(place) // _LABELLED_RUNS)
    p50_mark = Line2D(
        [], [], color="black", marker="D", linestyle="", markersize=5, label="p50 without py-spy"
    )
    handles = [*([] if drawn.empty else component_handles(drawn["component"], catalog)), p50_mark]
    figure = new_figure(
        title,
        f"n = {len(place)} runs; bars: mean milliseconds per profiled request, by component; times are UTC"
        + (f"; one run in {step} is labelled" if step > 1 else "")
        + _unknown_runs(runs, list(runs["run_id"]))
        + ("\nno request path is known" if drawn.empty else _unknown_components(paths)),
        height_for(1.9 * len(phases) + 0.5, len(handles)),
    )
    panels = panel_column(figure, [1] * len(phases), handles, "component")
    for axes, (phase, rows) in zip(panels, phases, strict=True):
        if not drawn.empty:
            _draw_run_bars(axes, drawn[drawn["phase"] == phase], place, catalog)
        axes.plot(
            rows["run_id"].map(place),
            rows["p50_ms"],
            color="black",
            marker="D",
            markersize=5,
            linestyle="-",
            linewidth=0.8,
        )
        axes.set_title(plain(phase), loc="left", fontsize=SMALL + 1)
        axes.set_ylabel("ms", fontsize=SMALL)
        axes.set_xlim(-0.6, len(place) - 0.4)
        axes.set_xticks(range(0, len(place), step), names[::step], fontsize=7)
        axes.tick_params(axis="y", labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_run_bars(axes: Axes, rows: pd.DataFrame, place: Mapping[str, int], catalog: Catalog) -> None:
    """A vertical bar for each run that has a place; negative values go below 0."""
    ends: dict[tuple[str, bool], float] = {}
    for row in bars.in_order(rows[rows["run_id"].isin(place)], catalog).to_dict("records"):
        end = row["run_id"], row["mean_ms"] >= 0
        axes.bar(
            place[row["run_id"]],
            row["mean_ms"],
            bottom=ends.get(end, 0.0),
            width=0.6,
            color=catalog[row["component"]].colour,
            hatch=palette.hatch(row["component"]),
            hatchcolor="#777777",
            edgecolor="white",
            linewidth=0.5,
        )
        ends[end] = ends.get(end, 0.0) + row["mean_ms"]


def _unknown_components(paths: pd.DataFrame) -> str:
    """The components that are not known in some run, each named once."""
    unknown = finite(paths).query("mean_ms.isna()").drop_duplicates(["phase", "component"])
    return unknown_line(unknown, "mean_ms")


def _unknown_runs(runs: pd.DataFrame, names: Sequence[str]) -> str:
    """The runs without a known p50, by phase; ``names``: of each row. Empty if all are known."""
    missing = [
        f"{phase}: {name}"
        for phase, name, value in zip(runs["phase"], names, finite(runs)["p50_ms"], strict=True)
        if pd.isna(value)
    ]
    return f"\np50 not known: {shorten(', '.join(missing), _UNKNOWN_LENGTH)}" if missing else ""
