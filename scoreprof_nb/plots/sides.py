"""Figures of a comparison: verdicts, and the request path of both sides."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

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

# Colour and marker of a verdict. The marker shows the direction too: colour alone is never enough. A
# suggestive verdict has a hollow marker.
_GREY, _WORSE, _BETTER = "#777777", "#D55E00", "#0072B2"
_VERDICT_MARKS = MappingProxyType(
    {
        "regression": (_WORSE, "v"),
        "improvement": (_BETTER, "^"),
        "suggestive regression": (_WORSE, "v"),
        "suggestive improvement": (_BETTER, "^"),
        "blocked": ("#000000", "X"),
        "no meaningful change": (_GREY, "o"),
        "changed, size uncertain": (_GREY, "D"),
        "inconclusive": (_GREY, "s"),
        "insufficient": (_GREY, "_"),
        "not known": (_GREY, "x"),
    }
)
# Ticks by the span of the axis (right / left): the first span that is wide enough. None overlap.
_RATIO_TICKS = (
    (1.3, (0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2, 1.25)),
    (2.2, (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4)),
    (6.0, (0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 2.5)),
    (30.0, (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5)),
    (np.inf, (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100)),
)
_LABEL_LENGTH = 40
_LARGEST_CHANGES = 8
_VISIBLE_SHARE = 0.02  # of a bar: a smaller segment has no entry in the legend
_SMALLEST_CHANGE = 0.005  # of the longest bar: smaller ones are in the table


def plot_verdicts(metrics: pd.DataFrame, mark: str = "") -> Figure:
    """test / control of each phase and metric with its interval, and the margin of what is meaningful.

    ``metrics``: phase, metric, ratio, low, high (95 %, NaN = not known), pairs, delta, verdict; ``mark``
    goes before the title.
    """
    title = f"{mark}Is test different from control? Ratio of each phase and metric"
    known = known_rows(metrics, "ratio")
    if known.empty:
        return missing_data(title, "no metric is known on both sides")
    rows = known.to_dict("records")
    verdicts = [name for name in _VERDICT_MARKS if name in set(known["verdict"])]
    handles: list[Artist] = [Line2D([], [], linestyle="", label=name, **_marker(name)) for name in verdicts]
    handles.append(Patch(facecolor="#DDDDDD", label="not meaningful"))
    excluded = metrics.drop(known.index)
    unknown = ", ".join(f"{row['phase']}: {row['metric']}" for row in excluded.to_dict("records"))
    figure = new_figure(
        title,
        f"n = {int(known['pairs'].max())} pairs of runs; lines: 95 % interval; left of 1: test is lower "
        "(for throughput, lower is worse)" + (f"\nratio not known: {unknown}" if unknown else ""),
        height_for(0.32 * len(rows), len(handles)),
    )
    (axes,) = panel_row(figure, [1], handles, "verdict")
    for y, row in enumerate(rows):
        axes.fill_betweenx(
            [y - 0.5, y + 0.5], 1 - row["delta"], 1 + row["delta"], color="#DDDDDD", linewidth=0
        )
        style = _marker(row["verdict"])
        axes.plot([row["low"], row["high"]], [y, y], color=style["color"], linewidth=1.6)
        axes.plot(row["ratio"], y, linestyle="", **style)
        _write_right(axes, y, f"{row['ratio']:.3f}  {_ratio_interval(row['low'], row['high'])}")
    axes.axvline(1, color="black", linewidth=0.8)
    label_rows(axes, [shorten(f"{row['phase']}: {row['metric']}", _LABEL_LENGTH) for row in rows])
    _log_ratios(axes, known)
    axes.set_xlabel("test / control, log scale; at the right the ratio and its interval")
    return figure


def _marker(verdict: str) -> dict[str, Any]:
    """The keyword arguments of ``plot`` for the marker of a verdict."""
    colour, shape = _VERDICT_MARKS[verdict]
    filling = "white" if verdict.startswith("suggestive") else colour
    return {"color": colour, "marker": shape, "markersize": 7, "markerfacecolor": filling}


def _ratio_interval(low: float, high: float) -> str:
    return "not known" if pd.isna(low) or pd.isna(high) else f"{low:.3f}–{high:.3f}"


def _write_right(axes: Axes, y: float, text: str) -> None:
    """Text beside the panel, where it covers no mark; the layout makes room for it."""
    axes.annotate(
        text,
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
    )


def _log_ratios(axes: Axes, known: pd.DataFrame) -> None:
    """A log axis with 1 in the middle that holds all known bounds."""
    margins = [1 + known["delta"], 1 - known["delta"]]
    bounds = pd.concat([*(known[name] for name in ("ratio", "low", "high")), *margins])
    reach = float(np.exp(np.log(bounds[bounds > 0]).abs().max())) * 1.03
    axes.set_xscale("log")
    axes.set_xlim(1 / reach, reach)
    ticks = next(ticks for span, ticks in _RATIO_TICKS if reach**2 < span)
    axes.set_xticks([tick for tick in ticks if 1 / reach <= tick <= reach])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def plot_path_change(changes: pd.DataFrame, mark: str = "", catalog: Catalog = CATALOG) -> Figure:
    """The request path of both sides as bars, and the change of each component beside them.

    ``changes``: phase, component, control_ms, test_ms, change_ms, low, high (95 % interval of change_ms).
    """
    title = f"{mark}Where the difference comes from: request path of control and test"
    known = known_rows(changes, "control_ms", "test_ms")
    if known.empty:
        return missing_data(title, "no request path is known on both sides")
    phases = by_phase(known)
    shown = [(phase, _largest(rows)) for phase, rows in phases]
    handles = component_handles(_named(phases), catalog)
    heights = [max(len(rows), 3) + 1.2 for _, rows in shown]
    figure = new_figure(
        title,
        "mean milliseconds of wall time per profiled request; right: test - control with its 95 % "
        "interval (±?: not known), "
        f"the {_LARGEST_CHANGES} largest changes per phase of at least {100 * _SMALLEST_CHANGE:g} % of a bar"
        + unknown_line(
            finite(changes).assign(both=lambda rows: rows["control_ms"] + rows["test_ms"]), "both"
        ),
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
            segments += bars.stack(left, y, of_side, "mean_ms", _labels, catalog)
            end = float(of_side["mean_ms"].clip(lower=0).sum())
            write_after(left, y, end, f"{number(float(of_side['mean_ms'].sum()))} ms")
        label_rows(left, ["control", "test"])
        both = rows[["control_ms", "test_ms"]]
        left.set_xlim(
            1.2 * float(both.clip(upper=0).sum().min()), 1.25 * float(both.clip(lower=0).sum().max()) or 1
        )
        left.set_xlabel("ms per request", fontsize=SMALL)
        left.set_title(plain(phase), loc="left", fontsize=SMALL + 1, fontweight="bold")
        _changes(right, largest, catalog)
    bars.label_segments(figure, segments)
    return figure


def _largest(rows: pd.DataFrame) -> pd.DataFrame:
    ranked = rows.reindex(rows["change_ms"].abs().sort_values(ascending=False, kind="stable").index)
    longest = float(rows[["control_ms", "test_ms"]].sum().max())
    return ranked[ranked["change_ms"].abs() >= _SMALLEST_CHANGE * longest].head(_LARGEST_CHANGES)


def _named(phases: Sequence[tuple[str, pd.DataFrame]]) -> list[str]:
    """The components that a reader can see: at least _VISIBLE_SHARE of a bar, or of the largest changes."""
    names: list[str] = []
    for _, rows in phases:
        for side in ("control_ms", "test_ms"):
            visible = rows[side].abs() >= _VISIBLE_SHARE * rows[side].abs().sum()
            names += list(rows.loc[visible, "component"])
        names += list(_largest(rows)["component"])
    return names


def _labels(row: "pd.Series[float]") -> list[str]:
    value = number(float(row["mean_ms"]))
    return [f"{row['component']}\n{value} ms", value]


def _changes(axes: Axes, rows: pd.DataFrame, catalog: Catalog) -> None:
    if rows.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no change to show", ha="center", va="center", transform=axes.transAxes)
        return
    for y, row in enumerate(rows.to_dict("records")):
        axes.barh(
            y,
            row["change_ms"],
            height=0.62,
            color=catalog[row["component"]].colour,
            hatch=palette.hatch(row["component"]),
            hatchcolor="#777777",
            edgecolor="#555555",
            linewidth=0.5,
        )
        known = pd.notna(row["low"]) and pd.notna(row["high"])
        axes.plot([row["low"], row["high"]], [y, y], color="black", linewidth=1.3)
        _write_right(axes, y, _signed(row["change_ms"]) + ("" if known else " (±?)"))
    axes.axvline(0, color="black", linewidth=0.8)
    label_rows(axes, list(rows["component"]))
    axes.set_xlabel("change, ms per request", fontsize=SMALL)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)
