"""What all figures share: size, title, denominator line, legend column, text for missing data."""

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scoreprof_nb.components import palette
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.run_folder.plain_text import plain_text

WIDTH_IN = 10.0
DPI = 100  # 1000 px wide
SMALL = 8.5
LEGEND_IN = 1.5
_LEGEND_ROW_IN = 0.2


def new_figure(title: str, denominator: str, height_in: float) -> Figure:
    """A figure with its title above and, below, what its numbers are relative to and how many there are."""
    layout = ConstrainedLayoutEngine(h_pad=0.07)
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=layout)
    figure.suptitle(textwrap.fill(plain(title), 95), x=0.008, ha="left", fontsize=12, fontweight="bold")
    lines = [textwrap.fill(line, 150) for line in plain(denominator).splitlines()]
    figure.supxlabel("\n".join(lines), x=0.008, ha="left", fontsize=SMALL, color="#444444")
    return figure


def lay_out(figure: Figure) -> None:
    """Give the axes their places, once: drawing the figure does not move them any more."""
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)


def missing_data(title: str, missing: str) -> Figure:
    """A figure that states in words what is missing."""
    figure = new_figure(title, "no data", 1.6)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"Not shown: {missing}.", ha="center", va="center", transform=axes.transAxes)
    return figure


def finite(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with infinite values as NaN: an infinite bound is as good as an unknown one."""
    return frame.replace([np.inf, -np.inf], np.nan)


def known_rows(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows in which all of ``columns`` are known."""
    return frame if frame.empty else finite(frame).dropna(subset=list(columns))


def by_phase(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each phase, phases in order of appearance."""
    return [
        (str(phase), rows) for phase, rows in frame.groupby("phase", sort=False, observed=True, dropna=False)
    ]


def write_after(axes: Axes, y: float, end: float, text: str) -> None:
    """Text to the right of a bar that ends at ``end``."""
    axes.annotate(text, (end, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=SMALL)


def panel_row(
    figure: Figure, width_ratios: Sequence[float], legend: Sequence[Artist], legend_title: str
) -> list[Axes]:
    """Panels side by side that share the y axis, and the legend in a column of its own."""
    grid = figure.add_gridspec(1, len(width_ratios) + 1, width_ratios=_with_legend_column(width_ratios))
    first = figure.add_subplot(grid[0, 0])
    others = [figure.add_subplot(grid[0, column], sharey=first) for column in range(1, len(width_ratios))]
    for axes in others:
        axes.tick_params(labelleft=False)
    _fill_legend_column(figure.add_subplot(grid[0, -1]), legend, legend_title)
    return [first, *others]


def panel_column(
    figure: Figure, height_ratios: Sequence[float], legend: Sequence[Artist], legend_title: str
) -> list[Axes]:
    """Panels one above the other, and the legend in a column of its own."""
    grid = figure.add_gridspec(
        len(height_ratios), 2, height_ratios=height_ratios, width_ratios=_with_legend_column([1])
    )
    panels = [figure.add_subplot(grid[row, 0]) for row in range(len(height_ratios))]
    _fill_legend_column(figure.add_subplot(grid[:, 1]), legend, legend_title)
    return panels


def panel_grid(figure: Figure, count: int, legend: Sequence[Artist], legend_title: str) -> list[Axes]:
    """``count`` small panels, two to a row, and the legend in a column of its own."""
    columns = min(count, 2)
    grid = figure.add_gridspec(
        -(-count // columns), columns + 1, width_ratios=_with_legend_column([1] * columns)
    )
    panels = [figure.add_subplot(grid[index // columns, index % columns]) for index in range(count)]
    _fill_legend_column(figure.add_subplot(grid[:, -1]), legend, legend_title)
    return panels


def _with_legend_column(width_ratios: Sequence[float]) -> list[float]:
    share = LEGEND_IN / WIDTH_IN
    return [*(ratio / sum(width_ratios) * (1 - share) for ratio in width_ratios), share]


def _fill_legend_column(axes: Axes, handles: Sequence[Artist], title: str) -> None:
    axes.set_axis_off()
    axes.legend(
        handles=handles,
        title=title,
        loc="upper left",
        borderaxespad=0,
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        handlelength=1.4,
        alignment="left",
    )


def height_for(content_in: float, legend_rows: int) -> float:
    """The height of a figure in inches, with room for the content and the whole legend."""
    return 1.1 + max(content_in, _LEGEND_ROW_IN * (legend_rows + 2))


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """One row per label, the first at the top, at y = 0, 1, 2, ..."""
    axes.set_yticks(range(len(labels)), [plain(str(label)) for label in labels], fontsize=SMALL)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.spines[["top", "right", "left"]].set_visible(False)


def component_handles(components: Iterable[str], catalog: Catalog) -> list[Artist]:
    """Legend entries of the components, in the order of the segments."""
    return [
        Patch(
            facecolor=catalog[name].colour,
            hatch=palette.hatch(name),
            hatchcolor="#777777",
            edgecolor="#777777" if palette.hatch(name) else "white",
            label=plain(name),
        )
        for name in sorted(set(components), key=catalog.index.__getitem__)
    ]


def number(value: float) -> str:
    """A number for a label: one decimal, two below 1."""
    return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.2f}"


def interval(low: float, high: float) -> str:
    """An interval for a label, or that it is not known."""
    return "interval not known" if pd.isna(low) or pd.isna(high) else f"{number(low)}–{number(high)}"


def count(value: float) -> str:
    """A count for a label, or that it is not known."""
    return "not known" if pd.isna(value) else f"{int(value):,}"


def counts_line(frame: pd.DataFrame, column: str, what: str) -> str:
    """ "n = 120 profiled requests", or one n for each phase if they differ."""
    counts = {phase: count(rows[column].max()) for phase, rows in by_phase(frame)}
    if len(set(counts.values())) == 1:
        each = " in each phase" if len(counts) > 1 else ""
        return f"n = {next(iter(counts.values()))} {what}{each}"
    return f"{what}: " + ", ".join(f"n = {n} ({phase})" for phase, n in counts.items())


def unknown_line(frame: pd.DataFrame, column: str) -> str:
    """The components of each phase whose value is not known; empty if all are known."""
    missing = [
        f"{phase}: {', '.join(rows['component'])}" for phase, rows in by_phase(frame[frame[column].isna()])
    ]
    return f"\nnot known, not drawn: {'; '.join(missing)}" if missing else ""


def spans_decades(values: pd.Series) -> bool:
    """Whether the positive values span more than a factor of 10, so that a log axis reads better."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive) and positive.max() > 10 * positive.min())


def log_ticks(axis: Axis) -> None:
    """Plain numbers (1, 2, 5, 10, ...) as the ticks of a log axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def shorten(text: str, length: int) -> str:
    """The text, with its middle removed if it is longer than ``length``."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"


def plain(text: str) -> str:
    """Plain text that matplotlib does not read as mathematics: function names may contain dollar signs."""
    return plain_text(text).replace("$", r"\$")
