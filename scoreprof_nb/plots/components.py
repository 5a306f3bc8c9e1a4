"""Figures of where time goes: by component, by thread."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoreprof_nb.components.catalog import CATALOG, NATIVE_THREADS
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.components.headline import headline_group
from scoreprof_nb.plots import bars
from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    component_handles,
    count,
    counts_line,
    finite,
    height_for,
    interval,
    known_rows,
    label_rows,
    missing_data,
    new_figure,
    number,
    panel_column,
    panel_row,
    plain,
    shorten,
    unknown_line,
    write_after,
)

VISIBLE_SHARE = 0.01  # of a bar: a smaller segment has no entry in the legend


def plot_request_path(path: pd.DataFrame, catalog: Catalog = CATALOG) -> Figure:
    """Where the wall time of a request goes, in milliseconds: one stacked bar per phase, and below, at a
    scale of its own, the host's part of each bar.

    ``path``: phase, component, mean_ms (per request), low and high (95 % interval of mean_ms, NaN = not
    known), requests (profiled ones of the phase) and latency_ms (mean latency of the phase), both the same
    on all rows of a phase, and optionally method (joint or marginal).
    """
    title = "Where a request's wall time goes, by component"
    path = finite(path)
    known = known_rows(path, "mean_ms")
    if known.empty:
        return missing_data(title, "no time of any component on the request path is known")
    phases = by_phase(known)
    latency_mark = Line2D(
        [], [], color="black", marker="|", markersize=11, linestyle="", label="mean latency"
    )
    handles = [*component_handles(_named(known, catalog), catalog), latency_mark]
    denominator = (
        f"mean per request, {counts_line(path, 'requests', 'profiled requests')}\n"
        f"ranges in the segments: 95 % interval of the mean; the panels' scales differ"
        f"{unknown_line(path, 'mean_ms')}"
    )
    marginal = _marginal_phases(known)
    if marginal:
        title += f" (marginal method: {', '.join(marginal)})"
        denominator += "\nmarginal method: chained shares of the threads; it cannot show what overlaps"
    figure = new_figure(title, denominator, height_for(1.85 * len(phases) + 0.6, len(handles)))
    whole_axes, host_axes = panel_column(figure, [1, 1], handles, "component")
    segments = []
    for y, (_, rows) in enumerate(phases):
        segments += bars.stack(whole_axes, y, rows, "mean_ms", _time_labels("mean_ms"), catalog)
        _annotate_total(whole_axes, y, rows)
        host = rows[rows["component"].map(lambda name: headline_group(catalog[name]).kind == "host")]
        segments += bars.stack(host_axes, y, host, "mean_ms", _time_labels("mean_ms"), catalog)
        end = host["mean_ms"].clip(lower=0).sum()
        write_after(host_axes, y, end, f"host {number(host['mean_ms'].sum())} ms")
    for axes, name in ((whole_axes, "whole request"), (host_axes, "the host's part")):
        label_rows(axes, [phase for phase, _ in phases])
        axes.set_title(name, fontsize=10, loc="left")
        _leave_room(axes, 1.2)
    host_axes.set_xlabel("milliseconds of wall time per request")
    bars.label_segments(figure, segments)
    return figure


def _annotate_total(axes: Axes, y: float, rows: pd.DataFrame) -> None:
    """The sum of a bar, and a mark at the latency that it must equal."""
    total, latency_ms = rows["mean_ms"].sum(), rows["latency_ms"].max()
    axes.plot([latency_ms] * 2, [y - 0.43, y + 0.43], color="black", linewidth=1.5)
    end = max(rows["mean_ms"].clip(lower=0).sum(), 0 if pd.isna(latency_ms) else latency_ms)
    measured = "not known" if pd.isna(latency_ms) else f"{number(latency_ms)} ms"
    write_after(axes, y, end, f"total {number(total)} ms\nlatency {measured}")


def _named(rows: pd.DataFrame, catalog: Catalog) -> list[str]:
    """The components that a reader can see in the bars: at least 1 % of a bar, or of its host's part."""
    names: list[str] = []
    for _, of_phase in by_phase(rows):
        host = of_phase["component"].map(lambda name: headline_group(catalog[name]).kind == "host")
        for part in (of_phase, of_phase[host]):
            visible = part["mean_ms"].abs() >= VISIBLE_SHARE * part["mean_ms"].abs().sum()
            names += list(part.loc[visible, "component"])
    return list(dict.fromkeys(names))


def plot_cpu(cpu: pd.DataFrame, catalog: Catalog = CATALOG) -> Figure:
    """CPU time per request by component: work on the left; polling, waiting, native threads on the right.

    ``cpu``: phase, component, cpu_ms (per request), low and high (95 % interval, NaN = not known),
    requests (of the phase, the same on all its rows). The two panels have separate scales, as idle
    polling can use far more CPU time than all the work.
    """
    title = "CPU time per request, by component"
    cpu = finite(cpu)
    known = known_rows(cpu, "cpu_ms")
    if known.empty:
        return missing_data(title, "no CPU time of any component is known")
    phases = by_phase(known)
    handles = component_handles(known["component"], catalog)
    denominator = (
        "CPU milliseconds of all threads per request, "
        f"{counts_line(cpu, 'requests', 'requests answered in profiled blocks')}\n"
        "ranges in the segments: 95 % interval; the panels' scales differ"
        f"{unknown_line(cpu, 'cpu_ms')}"
    )
    figure = new_figure(title, denominator, height_for(0.85 * len(phases), len(handles)))
    work_axes, rest_axes = panel_row(figure, [1.25, 1], handles, "component")
    works = {component.name: component.work for component in catalog.components}
    segments = []
    for y, (_, rows) in enumerate(phases):
        is_work = rows["component"].map(works) & (rows["component"] != NATIVE_THREADS)
        for axes, part in ((work_axes, rows[is_work]), (rest_axes, rows[~is_work])):
            segments += bars.stack(axes, y, part, "cpu_ms", _time_labels("cpu_ms"), catalog)
            text = f"{number(part['cpu_ms'].sum())} ms" if len(part) else "none"
            write_after(axes, y, part["cpu_ms"].clip(lower=0).sum(), text)
    label_rows(work_axes, [phase for phase, _ in phases])
    rest_axes.spines[["top", "right", "left"]].set_visible(False)
    rest_axes.tick_params(axis="y", length=0)
    rest_axes.tick_params(axis="x", labelsize=SMALL)
    for axes, name in ((work_axes, "work"), (rest_axes, "polling, waiting, native threads")):
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel("CPU milliseconds per request")
        _leave_room(axes, 1.22)
    bars.label_segments(figure, segments)
    return figure


def plot_threads(threads: pd.DataFrame, catalog: Catalog = CATALOG) -> Figure:
    """What each thread does: one 100 % bar per thread, one panel per phase.

    ``threads``: phase, process, thread, component, share (0 to 1, of the thread's samples in the
    phase), ticks (all samples of the thread in the phase, the same on all its rows).
    """
    title = "What each thread does, by component"
    known = known_rows(threads, "share")
    if known.empty:
        return missing_data(title, "no thread has samples")
    percent = known.assign(percent=known["share"] * 100).fillna({"process": "unknown", "thread": "unnamed"})
    phases = [
        (phase, list(rows.groupby(["process", "thread"], sort=False, observed=True)))
        for phase, rows in by_phase(percent)
    ]
    handles = component_handles(known["component"], catalog)
    lines = [len(bars_of_phase) for _, bars_of_phase in phases]
    figure = new_figure(
        title,
        "share of the thread's samples in the phase; n = samples (ticks) of the thread",
        height_for(sum(0.32 * n + 0.55 for n in lines), len(handles)),
    )
    panels = panel_column(figure, [n + 1.2 for n in lines], handles, "component")
    segments = []
    for axes, (phase, of_thread) in zip(panels, phases, strict=True):
        for y, (_, rows) in enumerate(of_thread):
            segments += bars.stack(axes, y, rows, "percent", _share_labels, catalog, height=0.8)
        labels = [
            f"{shorten(f'{process} / {thread}', 42)} (n = {count(rows['ticks'].max())})"
            for (process, thread), rows in of_thread
        ]
        label_rows(axes, labels)
        axes.set_title(plain(phase), fontsize=10, loc="left")
        axes.set_xlim(0, 100)
    panels[-1].set_xlabel("share of the thread's samples (%)")
    bars.label_segments(figure, segments)
    return figure


def _marginal_phases(path: pd.DataFrame) -> list[str]:
    if "method" not in path:
        return []
    return [phase for phase, rows in by_phase(path) if (rows["method"] == "marginal").any()]


def _time_labels(value: str) -> bars.Labels:
    def labels(row: pd.Series) -> Sequence[str]:
        shown, name = number(row[value]), row["component"]
        texts = [f"{name}\n{shown}", shown]
        if pd.isna(row["low"]) or pd.isna(row["high"]):
            return texts
        return [f"{name}\n{shown}\n{interval(row['low'], row['high'])}", *texts]

    return labels


def _share_labels(row: pd.Series) -> Sequence[str]:
    shown = f"{row['percent']:.0f}"
    return [f"{row['component']} {shown} %", f"{shown} %", shown]


def _leave_room(axes: Axes, factor: float) -> None:
    """Make room for text to the right of the bars."""
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0) if low < 0 else 0, high * factor)
