"""Figure of the functions in which time passes."""

from pathlib import PurePosixPath

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.components.headline import headline_group
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
    shorten,
)

_NAME_LENGTH = 56  # no function of the server or its libraries has a longer name


def plot_hot_functions(hot: pd.DataFrame, catalog: Catalog = CATALOG, top: int = 6) -> Figure:
    """The host's functions with the most self time: bars coloured by component, one panel per phase.

    ``hot``: phase, function, file, component, self_ms (in the function itself, per request),
    cumulative_ms (with what it calls, per request, NaN = not known). Waiting and polling are
    excluded, and so is waiting for the device, unless there is nothing else: it would hide all the rest.
    ``top`` functions are drawn per phase.
    """
    title = "Functions with the most self time"
    work = known_rows(hot, "self_ms")
    if not work.empty:
        work = work[[catalog[name].work for name in work["component"]]]
        of_host = work[[headline_group(catalog[name]).kind != "device" for name in work["component"]]]
        if not of_host.empty:
            title, work = f"{title}, without waiting for the device", of_host
    if work.empty:
        return missing_data(title, "no self time of any function that does work is known")
    phases = [(phase, rows.nlargest(top, "self_ms"), len(rows)) for phase, rows in by_phase(work)]
    outline = Patch(
        facecolor="none", edgecolor="#555555", label="cumulative (box without\nend: beyond the axis)"
    )
    drawn = pd.concat([rows for _, rows, _ in phases])
    handles: list[Artist] = [*component_handles(drawn["component"], catalog), outline]
    totals = ", ".join(f"{len(rows)} of {functions} ({phase})" for phase, rows, functions in phases)
    figure = new_figure(
        title,
        f"milliseconds per request; waiting and polling excluded; functions shown: {totals}",
        height_for(sum(0.36 * len(rows) + 0.85 for _, rows, _ in phases), len(handles) + 1),
    )
    panels = panel_column(figure, [len(rows) + 2.0 for _, rows, _ in phases], handles, "component")
    for axes, (phase, rows, _) in zip(panels, phases, strict=True):
        _draw_functions(axes, rows, catalog)
        axes.set_title(plain(phase), fontsize=10, loc="left")
        axes.set_xlabel("milliseconds per request", fontsize=SMALL)
    return figure


def _draw_functions(axes: Axes, rows: pd.DataFrame, catalog: Catalog) -> None:
    """Bars of self time on an axis of their own scale, with the numbers in two columns beside it."""
    limit_ms = 1.15 * rows["self_ms"].max() or 1.0
    for y, (_, row) in enumerate(rows.iterrows()):
        bars.stack(axes, y, row.to_frame().T, "self_ms", lambda _: ("",), catalog)
        cumulative_ms = row["cumulative_ms"]
        if pd.notna(cumulative_ms):
            axes.barh(y, cumulative_ms, height=0.72, facecolor="none", edgecolor="#555555", linewidth=0.9)
        total = "?" if pd.isna(cumulative_ms) else number(cumulative_ms)
        _write_beside(axes, y, number(row["self_ms"]), total)
    _write_beside(axes, -1, "self", "cumul.")
    label_rows(
        axes,
        [
            f"{shorten(str(row['function']), _NAME_LENGTH)}\n{PurePosixPath(str(row['file'])).name}"
            for _, row in rows.iterrows()
        ],
    )
    axes.set_xlim(0, limit_ms)


def _write_beside(axes: Axes, y: float, self_time: str, cumulative: str) -> None:
    for points, text in ((38, self_time), (80, cumulative)):
        axes.annotate(
            text,
            (1, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(points, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=SMALL,
            annotation_clip=False,
        )
