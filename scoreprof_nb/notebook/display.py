"""What the notebooks' cells show: Markdown, tables and figures."""

import io
import re
from typing import Any

import pandas as pd
from IPython.display import HTML, Image, Markdown, display
from matplotlib.figure import Figure

from scoreprof_nb.report.format import NOT_KNOWN, escape_html

DPI = 110
# Where a path or a qualified name may be broken over two lines.
_MAY_BREAK = re.compile(r"(/|\.(?=[A-Za-z_&]))")


def show(output: str | pd.DataFrame | Figure) -> None:
    """Show Markdown, a table or a figure. Texts of a table are escaped here, Markdown where it is made."""
    if isinstance(output, str):
        display(Markdown(output))
    elif isinstance(output, Figure):
        buffer = io.BytesIO()
        output.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        display(Image(buffer.getvalue()))
    elif output.empty:
        display(Markdown("*No data.*"))
    else:
        display(HTML(_html(output)))


def _html(table: pd.DataFrame) -> str:
    """The table as HTML, with text aligned left and numbers right."""
    texts = [name for name in table.columns if table[name].map(lambda value: isinstance(value, str)).all()]
    styler = table.style.format(_cell).format_index(escape_html, axis="columns").hide(axis="index")
    left = styler.set_properties(subset=pd.Index(texts), **{"text-align": "left", "white-space": "pre-line"})
    text: str = left.set_table_styles([{"selector": "th", "props": "text-align: left"}]).to_html()
    return text


def _cell(value: Any) -> str:
    if value is None or (not isinstance(value, str | list | dict) and pd.isna(value)):
        return NOT_KNOWN
    if isinstance(value, float):
        return f"{value:,.3f}" if 0 < abs(value) < 1 else f"{value:,.1f}"
    return _MAY_BREAK.sub(r"\1<wbr>", escape_html(value))
