"""Stacked horizontal bars of components, with labels in the segments that have room for one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoreprof_nb.components import palette

_CHARACTER_PX = 6.0  # of the label font at the figures' resolution
_LINE_PX = 12.5
_LABEL_SIZE = 7.5
Labels = Callable[["pd.Series"], Sequence[str]]  # from a row, the richest first
LABELLED_SHARE = 0.04  # smaller segments have no label: the legend and the table have them


@dataclass(frozen=True)
class Segment:
    """One drawn segment: where it is, and its possible labels, the richest first."""

    axes: Axes
    component: str
    y: float
    left: float
    width: float
    height: float
    labels: tuple[str, ...]


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order that segments have in every figure."""
    return rows.sort_values("component", key=lambda names: names.map(palette.RANK), kind="stable")


def stack(
    axes: Axes,
    y: float,
    rows: pd.DataFrame,
    value: str,
    labels: Labels,
    height: float = 0.72,
) -> list[Segment]:
    """Draw one bar of ``rows`` (columns component and ``value``); values below 0 go to the left of 0."""
    segments = []
    ends = {True: 0.0, False: 0.0}
    for _, row in in_order(rows.dropna(subset=[value])).iterrows():
        component, width = str(row["component"]), float(row[value])
        left = ends[width >= 0]
        ends[width >= 0] += width
        axes.barh(
            y,
            width,
            left=left,
            height=height,
            color=palette.colour(component),
            edgecolor="white",
            linewidth=0.8,
            hatch=palette.hatch(component),
            hatchcolor="#777777",
            label=component,
        )
        segments.append(Segment(axes, component, y, left, width, height, tuple(labels(row))))
    return segments


def label_segments(figure: Figure, segments: Iterable[Segment]) -> None:
    """Write into each segment of at least 4 % of its bar the richest of its labels that fits.

    Runs the layout first, for only then it is known how many pixels a segment has.
    """
    segments = list(segments)
    totals: dict[tuple[Axes, float], float] = {}
    for segment in segments:
        bar = segment.axes, segment.y
        totals[bar] = totals.get(bar, 0.0) + abs(segment.width)
    figure.draw_without_rendering()
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
        color=palette.text_colour(segment.component),
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        if palette.hatch(segment.component)
        else None,
    )
