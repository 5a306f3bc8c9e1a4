"""What the notebooks' cells show: Markdown, HTML, tables and figures, one at a time or as a section."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML, Image, Markdown, display
from matplotlib.figure import Figure

from scoreprof_nb.plots.layout import lay_out
from scoreprof_nb.report.blocks import Html, Table
from scoreprof_nb.report.format import escape_html
from scoreprof_nb.report.table_html import table_html

DPI = 110
MARGIN_IN = 0.1
Output = str | Html | Table | pd.DataFrame | Figure
Part = Output | Callable[[], Output]


@dataclass(frozen=True)
class Section:
    """A section of a report.

    ``anchor``: the name that links lead to; ``lead``: Markdown, what the section shows in this run, never
    empty; ``parts``: what it consists of, in order; a part may be a function, called when it is shown.
    """

    anchor: str
    title: str
    lead: str
    parts: Sequence[Part]


def show(output: Output | Section | None) -> None:
    """Show Markdown, a table, a figure, or a whole section; nothing for None."""
    if isinstance(output, Section):
        display(HTML(f'<h2 id="{escape_html(output.anchor)}">{escape_html(output.title)}</h2>'))
        for part in (output.lead, *output.parts):
            show(part() if callable(part) else part)
    elif isinstance(output, str):
        display(Markdown(output))
    elif isinstance(output, Html):
        display(HTML(output.text))
    elif isinstance(output, Figure):
        display(Image(png(output)))
    elif output is not None:
        rows = output.rows if isinstance(output, Table) else output
        display(Markdown("*No data.*") if rows.empty else HTML(table_html(output)))


def png(figure: Figure) -> bytes:
    """The figure as a picture without empty margins, drawn once: ``bbox_inches="tight"`` draws it twice."""
    figure.set_dpi(DPI)
    lay_out(figure)
    box = figure.get_tightbbox().padded(MARGIN_IN)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches=box)
    return buffer.getvalue()
