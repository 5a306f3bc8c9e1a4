"""Figure of all threads on one clock: what each did, second by second, with requests, blocks and compiles."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scoreprof_nb.components import palette
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.plots.bars import in_order
from scoreprof_nb.plots.layout import (
    SMALL,
    component_handles,
    height_for,
    known_rows,
    label_rows,
    missing_data,
    new_figure,
    panel_column,
    plain,
    shorten,
)

SMALLEST_WORK = 0.005  # of a thread's time: threads that work less are counted, not drawn
_BAND = 0.86  # height of a row
_OFF_COLOUR, _REQUEST_COLOUR, _COMPILE_COLOUR = "#F2F2F2", "#444444", "#D55E00"


def plot_timeline(
    activity: pd.DataFrame,
    blocks: pd.DataFrame,
    requests: pd.DataFrame,
    compiles: pd.DataFrame,
    catalog: Catalog = CATALOG,
) -> Figure:
    """All threads on one clock, one panel per phase, times in seconds since the start of the phase.

    ``activity``: phase, process, thread, start_s, width_s, component, share (0 to 1, of the thread's ticks
    in the slice); ``blocks``: phase, number, start_s, stop_s, profiled; ``requests``: phase, time_s,
    latency_ms (NaN: no answer); ``compiles``: phase, time_s. A slice is a stack of its components' shares.
    """
    title = "All threads on one clock, second by second"
    known = known_rows(activity, "share", "start_s", "width_s")
    if known.empty:
        return missing_data(title, "no thread has samples")
    phases = [(str(phase), *_drawn(rows, catalog)) for phase, rows in known.groupby("phase", sort=False)]
    drawn = pd.concat([rows for _, rows, _ in phases])
    left_out = sum(count for _, _, count in phases)
    of_phases = [blocks[blocks["phase"] == phase] for phase, _, _ in phases]
    handles = [*component_handles(drawn["component"], catalog), *_handles()]
    answered = requests.dropna(subset=["latency_ms"])
    n = int(answered["phase"].isin([phase for phase, _, _ in phases]).sum())
    denominator = (
        f"share of a thread's samples in each second (none without py-spy), n = {n:,} answered requests, "
        f"each at its latency\nthreads that hardly work, not drawn: {left_out}"
    )
    lines = [rows.groupby(["process", "thread"]).ngroups + 1 for _, rows, _ in phases]
    figure = new_figure(title, denominator, height_for(sum(0.42 * n + 0.7 for n in lines), len(handles)))
    panels = panel_column(figure, [n + 1.2 for n in lines], handles, "component")
    for axes, (phase, rows, _), of_phase in zip(panels, phases, of_phases, strict=True):
        _draw_blocks(axes, of_phase)
        _draw_requests(axes, requests[requests["phase"] == phase], compiles[compiles["phase"] == phase])
        labels = ["requests", *_draw_threads(axes, rows, catalog)]
        label_rows(axes, labels)
        axes.set_title(plain(phase), fontsize=10, loc="left")
        ends = [*of_phase["stop_s"], float((rows["start_s"] + rows["width_s"]).max())]
        axes.set_xlim(0, max(ends))
    panels[-1].set_xlabel("seconds since the start of the phase", fontsize=SMALL)
    return figure


def _drawn(rows: pd.DataFrame, catalog: Catalog) -> tuple[pd.DataFrame, int]:
    """The rows of threads that work, and the number of threads left out; all are kept if none works."""
    works = rows["component"].map(lambda name: catalog[name].work)
    keys = [rows["process"], rows["thread"]]
    time_s = (rows["share"] * rows["width_s"]).groupby(keys).transform("sum")
    work_s = (rows["share"] * rows["width_s"] * works).groupby(keys).transform("sum")
    kept = rows[work_s >= SMALLEST_WORK * time_s]
    kept = kept if len(kept) else rows
    threads = [table.groupby(["process", "thread"]).ngroups for table in (rows, kept)]
    return kept, threads[0] - threads[1]


def _handles() -> list[Artist]:
    return [
        Line2D([], [], color=_REQUEST_COLOUR, marker=".", linestyle="", label="request"),
        Line2D([], [], color=_COMPILE_COLOUR, marker="v", linestyle="", label="compile"),
        Patch(facecolor=_OFF_COLOUR, label="py-spy off"),
    ]


def _draw_blocks(axes: Axes, blocks: pd.DataFrame) -> None:
    """Over the whole height of the panel: a line where each block begins, grey where py-spy is off."""
    height = axes.get_xaxis_transform()
    off = blocks[~blocks["profiled"].astype(bool)]
    spans = list(zip(off["start_s"], off["stop_s"] - off["start_s"], strict=True))
    axes.broken_barh(spans, (0, 1), transform=height, color=_OFF_COLOUR, linewidth=0, zorder=0)
    axes.vlines(blocks["start_s"], 0, 1, transform=height, color="#BBBBBB", linewidth=0.8, zorder=1)


def _draw_requests(axes: Axes, requests: pd.DataFrame, compiles: pd.DataFrame) -> None:
    """Row 0: a dot per answered request, from 0 ms at the bottom to the slowest at the top."""
    answered = requests.dropna(subset=["latency_ms"])
    slowest = float(answered["latency_ms"].max()) if len(answered) else 1.0
    y = _BAND / 2 - _BAND * answered["latency_ms"] / (slowest or 1.0)
    axes.scatter(answered["time_s"], y, s=4, color=_REQUEST_COLOUR, linewidths=0, zorder=3)
    axes.plot(
        compiles["time_s"], np.full(len(compiles), -0.5), "v", color=_COMPILE_COLOUR, markersize=5, zorder=4
    )


def _draw_threads(axes: Axes, rows: pd.DataFrame, catalog: Catalog) -> Sequence[str]:
    """A row per thread, from row 1 on; returns their labels."""
    labels, stacks = [], []
    for y, ((process, thread), of_thread) in enumerate(
        rows.groupby(["process", "thread"], sort=False), start=1
    ):
        labels.append(shorten(f"{process} / {thread}", 30))
        ordered = in_order(of_thread, catalog)
        top = y + _BAND / 2 - _BAND * ordered.groupby("start_s")["share"].cumsum()
        stacks.append(ordered.assign(top=top, bottom=top + _BAND * ordered["share"]))
    for component, boxes in pd.concat(stacks).groupby("component", sort=False):
        left, right = boxes["start_s"], boxes["start_s"] + boxes["width_s"]
        corners = (left, boxes["bottom"], left, boxes["top"], right, boxes["top"], right, boxes["bottom"])
        hatch = palette.hatch(str(component))
        axes.add_collection(
            PolyCollection(
                list(np.stack(corners, axis=1).reshape(-1, 4, 2)),
                facecolors=catalog[str(component)].colour,
                edgecolors="#777777" if hatch else "none",
                hatch=hatch or None,
                linewidths=0,
                label=component,
                zorder=2,
            )
        )
    return labels
