"""The flame graph as a picture: for viewers that show neither scripts nor SVG."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from scoreprof_nb.components import palette
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.plots.layout import (
    component_handles,
    height_for,
    missing_data,
    new_figure,
    number,
    panel_column,
    plain,
)

MAX_DEPTH = 26  # rows of a panel; what is above is not drawn, and the panel says so
_ROW_IN = 0.15
_SEVERAL = "#D5D5D5"
_CHARACTER_SHARE = 0.0067  # width of a character of the labels, relative to the panel
_NARROWEST = 0.0006  # of the panel's width


def plot_flame(boxes: pd.DataFrame, catalog: Catalog = CATALOG, unit: str = "ms per request") -> Figure:
    """Flame graphs side by side in one picture: one panel per process, root at the bottom.

    ``boxes``: process, depth (0 = the process), x and width (0 to 1, shares of the process's time), label,
    component (the colour; empty: several, none of them most of the frame), ms (or another ``unit``; of the
    root the total of the process).
    """
    title = "Flame graph: what the threads do while they work"
    if boxes.empty:
        return missing_data(title, "no stacks of working threads are known")
    processes = [(str(name), rows) for name, rows in boxes.groupby("process", sort=False)]
    heights = [min(int(rows["depth"].max()), MAX_DEPTH) + 1 for _, rows in processes]
    visible = boxes[boxes["width"] >= 0.01]
    named = [name for name in visible["component"].unique() if name]
    handles = [*component_handles(named, catalog), Patch(facecolor=_SEVERAL, label="several")]
    figure = new_figure(
        title,
        f"width = {unit} in which a thread of the process has this stack and works; each panel has its own\n"
        "scale; colour = component; frames that all stacks share are left out at the bottom",
        height_for(sum(_ROW_IN * height + 0.35 for height in heights), len(handles)),
    )
    panels = panel_column(figure, [height + 2.2 for height in heights], handles, "component")
    for axes, (process, rows), height in zip(panels, processes, heights, strict=True):
        _draw(axes, rows[(rows["depth"] < height) & (rows["width"] >= _NARROWEST)], catalog)
        cut = int((rows["depth"] >= height).sum())
        more = f"; {cut} frames above the top are not drawn" if cut else ""
        total = rows.loc[rows["depth"] == 0, "ms"].sum()
        axes.set_title(f"{plain(process)}: {number(total)} {unit}{more}", fontsize=10, loc="left")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.05, height)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, catalog: Catalog) -> None:
    axes.set_axis_off()
    shapes, colours = [], []
    for x, depth, width, label, name in rows[["x", "depth", "width", "label", "component"]].itertuples(
        index=False, name=None
    ):
        colour = catalog[str(name)].colour if name else _SEVERAL
        shapes.append(Rectangle((x, depth), width, 0.92))
        colours.append(colour)
        room = int(width / _CHARACTER_SHARE) - 1
        if room >= 4:
            text = str(label) if len(str(label)) <= room else f"{str(label)[: room - 1]}…"
            axes.text(
                x + 0.002, depth + 0.42, plain(text), fontsize=6.3, va="center", family="monospace",
                color=palette.text_colour(colour), clip_on=True,
            )  # fmt: skip
    axes.add_collection(
        PatchCollection(shapes, facecolors=colours, edgecolors="white", linewidths=0.4), autolim=False
    )
