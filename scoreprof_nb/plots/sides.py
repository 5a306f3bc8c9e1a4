"""Figures of a comparison: verdicts, the request path of both sides, runs, and many runs over time."""

from types import MappingProxyType

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from scoreprof_nb import palette
from scoreprof_nb.plots import bars
from scoreprof_nb.plots.layout import (
    SMALL,
    by_phase,
    component_handles,
    finite,
    height_for,
    known_rows,
    label_rows,
    new_figure,
    number,
    panel_column,
    panel_grid,
    panel_row,
    plain,
    say_missing,
    shorten,
)

# Colour and marker of a verdict; which way it goes is told by the marker too, never by colour alone.
_GREY, _WORSE, _BETTER = "#777777", "#D55E00", "#0072B2"
_VERDICT_MARKS = MappingProxyType(
    {
        "regression": (_WORSE, "v"),
        "improvement": (_BETTER, "^"),
        "suggestive regression": (_WORSE, "1"),
        "suggestive improvement": (_BETTER, "2"),
        "blocked": ("#000000", "X"),
        "no meaningful change": (_GREY, "o"),
        "changed, size uncertain": (_GREY, "D"),
        "inconclusive": (_GREY, "s"),
        "insufficient": (_GREY, "_"),
        "not known": (_GREY, "x"),
    }
)
_SIDE_MARKS = MappingProxyType({"control": ("#000000", "o"), "test": ("#D55E00", "D")})
_NEAR_TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5, 2)
_FAR_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_LARGEST_CHANGES = 8
_SMALLEST_CHANGE = 0.005  # of the longest bar: smaller ones are in the table


def plot_verdicts(metrics: pd.DataFrame, mark: str = "") -> Figure:
    """test / control of each phase and metric with its interval, and the margin of what is meaningful.

    ``metrics``: phase, metric, ratio, low, high (95 %, NaN = not known), delta, verdict; ``mark`` goes
    before the title.
    """
    title = f"{mark}Is test different from control? Ratio of each phase and metric"
    known = known_rows(metrics, "ratio")
    if known.empty:
        return say_missing(title, "no metric is known on both sides")
    rows = known.to_dict("records")
    verdicts = [name for name in _VERDICT_MARKS if name in set(known["verdict"])]
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=shape, linestyle="", markersize=7, label=name)
        for name in verdicts
        for colour, shape in [_VERDICT_MARKS[name]]
    ]
    handles.append(Patch(facecolor="#DDDDDD", label="not meaningful"))
    figure = new_figure(
        title,
        f"n = {int(known['pairs'].max())} pairs of runs; lines: 95 % interval; left of 1: test has less "
        "(of throughput, less is worse)",
        height_for(0.32 * len(rows), len(handles)),
    )
    (axes,) = panel_row(figure, [1], handles, "verdict")
    for y, row in enumerate(rows):
        axes.fill_betweenx(
            [y - 0.5, y + 0.5], 1 - row["delta"], 1 + row["delta"], color="#DDDDDD", linewidth=0
        )
        colour, shape = _VERDICT_MARKS[row["verdict"]]
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.6)
        axes.plot(row["ratio"], y, color=colour, marker=shape, markersize=7, linestyle="")
        text = f"{row['ratio']:.3f}"
        axes.annotate(
            text,
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=SMALL,
        )
    axes.axvline(1, color="black", linewidth=0.8)
    label_rows(axes, [f"{row['phase']}: {row['metric']}" for row in rows])
    _log_ratios(axes, known)
    axes.set_xlabel("test / control, log scale; the ratio at the right")
    return figure


def _log_ratios(axes: Axes, known: pd.DataFrame) -> None:
    """A log axis about 1 with the intervals in it, and room at the right for the numbers."""
    bounds = (
        pd.concat([known[name] for name in ("ratio", "low", "high")]).replace([np.inf, 0], np.nan).dropna()
    )
    bounds = pd.concat([bounds, 1 + known["delta"], 1 - known["delta"]])
    low, high = float(bounds[bounds > 0].min()), float(bounds.max())
    axes.set_xscale("log")
    axes.set_xlim(low / 1.03, high * (high / low) ** 0.16 * 1.03)
    near = high / low < 3
    ticks = (
        [0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 5, 10]
        if near
        else [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100]
    )
    left, right = axes.get_xlim()
    axes.set_xticks([tick for tick in ticks if left <= tick <= right])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def plot_path_change(changes: pd.DataFrame, mark: str = "") -> Figure:
    """The request path of both sides as bars, and beside them the change of each component.

    ``changes``: phase, component, control_ms, test_ms, change_ms, low, high (95 % interval of change_ms).
    """
    title = f"{mark}Where the difference comes from: request path of control and test"
    known = known_rows(changes, "control_ms", "test_ms")
    if known.empty:
        return say_missing(title, "no request path is known on both sides")
    phases = by_phase(known)
    shown = [(phase, _largest(rows)) for phase, rows in phases]
    handles = component_handles(known["component"])
    heights = [max(len(rows), 3) + 1.2 for _, rows in shown]
    figure = new_figure(
        title,
        "mean milliseconds of wall time per profiled request; right: test - control with its 95 % interval, "
        f"the {_LARGEST_CHANGES} largest changes of each phase",
        height_for(0.26 * sum(heights) + 0.5 * len(phases), len(handles)),
    )
    panels = panel_column(figure, heights, handles, "component")
    segments = []
    for panel, (phase, rows), (_, largest) in zip(panels, phases, shown, strict=True):
        panel.set_axis_off()
        left = panel.inset_axes((0.0, 0.0, 0.47, 1.0))
        right = panel.inset_axes((0.68, 0.0, 0.32, 1.0))
        for y, side in enumerate(("control", "test")):
            of_side = rows.assign(mean_ms=rows[f"{side}_ms"])
            segments += bars.stack(left, y, of_side, "mean_ms", _labels)
            total = float(of_side["mean_ms"].sum())
            left.annotate(
                f"{number(total)} ms",
                (total, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL,
            )
        label_rows(left, ["control", "test"])
        left.set_xlim(0, 1.2 * float(rows[["control_ms", "test_ms"]].sum().max()))
        left.set_title(plain(phase), loc="left", fontsize=SMALL + 1, fontweight="bold")
        _changes(right, largest)
    bars.label_segments(figure, segments)
    return figure


def _largest(rows: pd.DataFrame) -> pd.DataFrame:
    ranked = rows.reindex(rows["change_ms"].abs().sort_values(ascending=False, kind="stable").index)
    longest = float(rows[["control_ms", "test_ms"]].sum().max())
    return ranked[ranked["change_ms"].abs() >= _SMALLEST_CHANGE * longest].head(_LARGEST_CHANGES)


def _labels(row: "pd.Series[float]") -> list[str]:
    value = number(float(row["mean_ms"]))
    return [f"{row['component']}\n{value} ms", value]


def _changes(axes: Axes, rows: pd.DataFrame) -> None:
    for y, row in enumerate(finite(rows).to_dict("records")):
        colour = palette.colour(row["component"])
        axes.barh(y, row["change_ms"], height=0.62, color=colour, edgecolor="#555555", linewidth=0.5)
        if pd.notna(row["low"]) and pd.notna(row["high"]):
            axes.plot([row["low"], row["high"]], [y, y], color="black", linewidth=1.3)
        axes.annotate(
            f"{row['change_ms']:+.1f}",
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    label_rows(axes, list(rows["component"]) or ["no change to show"])
    axes.set_title("change, ms per request", loc="left", fontsize=SMALL)


def plot_run_values(runs: pd.DataFrame, mark: str = "") -> Figure:
    """p50 of every run: what two launches of one side differ by, and the two of each pair joined.

    ``runs``: phase, side (control or test), pair, p50_ms.
    """
    title = f"{mark}p50 of every run, the two of a pair joined"
    known = known_rows(runs, "p50_ms")
    if known.empty:
        return say_missing(title, "no run has a p50")
    phases = by_phase(known)
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=shape, linestyle="", label=side)
        for side, (colour, shape) in _SIDE_MARKS.items()
    ]
    figure = new_figure(
        title,
        f"ms per request, without py-spy; n = {known['pair'].nunique()} pairs; scales differ",
        height_for(2.1 * -(-len(phases) // 2), len(handles)),
    )
    for axes, (phase, rows) in zip(panel_grid(figure, len(phases), handles, "side"), phases, strict=True):
        for _, pair in rows.groupby("pair"):
            axes.plot(pair["pair"], pair["p50_ms"], color="#999999", linewidth=1)
        for side, (colour, shape) in _SIDE_MARKS.items():
            of_side = rows[rows["side"] == side]
            axes.plot(
                of_side["pair"], of_side["p50_ms"], color=colour, marker=shape, linestyle="", markersize=5
            )
        axes.set_title(plain(phase), loc="left", fontsize=SMALL + 1)
        axes.set_xticks(sorted(rows["pair"].unique()))
        axes.set_xlabel("pair", fontsize=SMALL)
        axes.set_ylabel("p50, ms", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.margins(y=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_history(runs: pd.DataFrame, paths: pd.DataFrame) -> Figure:
    """p50 and the request path of many runs over time, one panel per phase.

    ``runs``: label, started_at (UTC timestamps), phase, p50_ms; ``paths``: the same keys, component,
    mean_ms. A bar is a run's request path, a mark its p50; labels are at the bars.
    """
    title = "p50 and request path of each run, in the order of time"
    known = known_rows(runs, "p50_ms")
    if known.empty:
        return say_missing(title, "no run has a p50")
    phases = by_phase(known)
    p50_mark = Line2D(
        [], [], color="black", marker="D", linestyle="", markersize=5, label="p50 without py-spy"
    )
    handles = [*component_handles(paths["component"]), p50_mark]
    order = known.drop_duplicates("run_id").sort_values("started_at", kind="stable")
    place = {run_id: x for x, run_id in enumerate(order["run_id"])}
    started = order["started_at"].dt.strftime("%m-%d %H:%M")
    names = [plain(f"{shorten(label, 13)}\n{at}") for label, at in zip(order["label"], started, strict=True)]
    figure = new_figure(
        title,
        "bars: mean milliseconds per profiled request, by component; times are UTC",
        height_for(1.9 * len(phases) + 0.5, len(handles)),
    )
    for axes, (phase, rows) in zip(
        panel_column(figure, [1] * len(phases), handles, "component"), phases, strict=True
    ):
        of_phase = bars.in_order(paths[paths["phase"] == phase])
        ends = dict.fromkeys(place, 0.0)
        for row in of_phase.to_dict("records"):
            if row["run_id"] in place:
                name, bottom = row["component"], ends[row["run_id"]]
                axes.bar(
                    place[row["run_id"]],
                    row["mean_ms"],
                    bottom=bottom,
                    width=0.6,
                    color=palette.colour(name),
                    hatch=palette.hatch(name),
                    edgecolor="white",
                    linewidth=0.5,
                )
                ends[row["run_id"]] += row["mean_ms"]
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
        step = -(-len(place) // 12)
        axes.set_xticks(range(0, len(place), step), names[::step], fontsize=7)
        axes.tick_params(axis="y", labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
