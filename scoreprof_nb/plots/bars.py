"""Stacked horizontal bars of components, with labels in the segments that have room for one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoreprof_nb.components import palette
from scoreprof_nb.components.component import Catalog, Component
from scoreprof_nb.plots.layout import lay_out

_CHARACTER_PX = 6.0  # of the label font at the figures' resolution
_LINE_PX = 12.5
_LABEL_SIZE = 7.5
Labels = Callable[["pd.Series"], Sequence[str]]  # from a row, the richest first
LABELLED_SHARE = 0.04  # smaller segments have no label; the legend and the table name them


@dataclass(frozen=True)
class Segment:
    """One drawn segment: its place and its possible labels, the richest first."""

    axes: Axes
    component: Component
    y: float
    left: float
    width: float
    height: float
    labels: tuple[str, ...]


def in_order(rows: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """The rows in the catalog's order, which segments have in every figure."""
    return rows.sort_values("component", key=lambda names: names.map(catalog.index), kind="stable")


def stack(
    axes: Axes,
    y: float,
    rows: pd.DataFrame,
    value: str,
    labels: Labels,
    catalog: Catalog,
    height: float = 0.72,
) -> list[Segment]:
    """Draw one bar of ``rows`` (columns component and ``value``); negative values go to the left of 0."""
    segments = []
    ends = {True: 0.0, False: 0.0}
    for _, row in in_order(rows.dropna(subset=[value]), catalog).iterrows():
        component, width = catalog[str(row["component"])], float(row[value])
        left = ends[width >= 0]
        ends[width >= 0] += width
        axes.barh(
            y,
            width,
            left=left,
            height=height,
            color=component.colour,
            edgecolor="white",
            linewidth=0.8,
            hatch=palette.hatch(component.name),
            hatchcolor="#777777",
            label=component.name,
        )
        segments.append(Segment(axes, component, y, left, width, height, tuple(labels(row))))
    return segments


def label_segments(figure: Figure, segments: Iterable[Segment]) -> None:
    """Write the richest label that fits into each segment of at least 4 % of its bar.

    Lays the figure out: only then is a segment's size in pixels known.
    """
    segments = list(segments)
    totals: dict[tuple[Axes, float], float] = {}
    for segment in segments:
        bar = segment.axes, segment.y
        totals[bar] = totals.get(bar, 0.0) + abs(segment.width)
    lay_out(figure)
    for segment in segments:
        total = totals[segment.axes, segment.y]
        if total and abs(segment.width) >= LABELLED_SHARE * total:
            _label(segment)


def _label(segment: Segment) -> None:
    corners = [
        (segment.left, segment.y - segment.height / 2),
        (segment.left + segment.width, segment.y + segment.height / 2),
    ]
    (x0, y0), (x1, y1) = segment.axes.transData.transform(corners)
    room_px, bar_px = abs(x1 - x0), abs(y1 - y0)
    for text in segment.labels:
        lines = text.split("\n")
        if _width_px(text) <= room_px and len(lines) * _LINE_PX <= bar_px:
            _write(segment, text, rotation=0)
            return
    shortest = segment.labels[-1]
    if room_px >= _LINE_PX - 2 and _width_px(shortest) <= bar_px:
        _write(segment, shortest, rotation=90)


def _width_px(text: str) -> float:
    return max(map(len, text.split("\n"))) * _CHARACTER_PX + 4


def _write(segment: Segment, text: str, rotation: int) -> None:
    segment.axes.text(
        segment.left + segment.width / 2,
        segment.y,
        text,
        ha="center",
        va="center",
        rotation=rotation,
        fontsize=_LABEL_SIZE,
        linespacing=1.1,
        color=palette.text_colour(segment.component.colour),
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        if palette.hatch(segment.component.name)
        else None,
    )
