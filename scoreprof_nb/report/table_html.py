"""Tables as HTML: numbers to the right, intervals in small print, long tables folded.

Alignment is an attribute and not only a style, so that it survives where viewers remove styles. A script on
the page, where it may run, lets a reader sort a table and filter a long one; without it nothing is missing.
"""

import re
from typing import Any

import pandas as pd

from scoreprof_nb.report.blocks import Link, Table
from scoreprof_nb.report.format import NOT_KNOWN, escape_html

FOLD_ROWS = 15  # a longer table is folded
FILTER_ROWS = 16  # a longer table gets a filter
# Where a path or a qualified name may be broken over two lines.
_MAY_BREAK = re.compile(r"(/|\.(?=[A-Za-z_&]))")
_LEADING_NUMBER = re.compile(r"[<~]?\s*([+-]?\d[\d,]*(?:\.\d+)?)")
_WITH_DETAIL = re.compile(r"([^()]*\d[^()]*|n/a) \(([^()]*)\)(.*)")


def table_html(table: pd.DataFrame | Table) -> str:
    """A table as HTML. All texts are escaped here."""
    whole = table if isinstance(table, Table) else Table(table)
    rows = whole.rows
    right = [_is_numeric(rows[name].tolist()) for name in rows.columns]
    lines = [_row(values, right) for values in rows.itertuples(index=False, name=None)]
    body, foot = lines[: len(lines) - whole.totals], lines[len(lines) - whole.totals :]
    head = "".join(
        f'<th align="{_side(of_number)}" scope="col">{escape_html(name)}</th>'
        for name, of_number in zip(rows.columns, right, strict=True)
    )
    filtered = " sp-filter" if len(body) >= FILTER_ROWS else ""
    html = (
        f'<table class="sp-table sortable{filtered}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody>{f'<tfoot>{chr(10).join(foot)}</tfoot>' if foot else ''}</table>"
    )
    folded = len(rows) > FOLD_ROWS if whole.folded is None else whole.folded
    title = escape_html(whole.title)
    if folded:
        summary = f"{title or 'Table'} ({len(body):,} rows)"
        fold = f'<details class="sp-fold"><summary>{summary}</summary>'
        return f'{fold}<div class="sp-wide">{html}</div></details>'
    caption = f'<div class="sp-caption">{title}</div>' if title else ""
    return f'{caption}<div class="sp-wide">{html}</div>'


def _row(values: tuple[Any, ...], right: list[bool]) -> str:
    return "<tr>" + "".join(_cell(value, side) for value, side in zip(values, right, strict=True)) + "</tr>"


def _cell(value: Any, right: bool) -> str:
    text = cell_text(value)
    sort = ""
    if right:
        number = _LEADING_NUMBER.match(text)
        sort = f' data-sort="{number[1].replace(",", "") if number else -1}"'
    return f'<td align="{_side(right)}"{sort}>{_content(value, text, right)}</td>'


def _content(value: Any, text: str, right: bool) -> str:
    if isinstance(value, Link):
        return f'<a href="{escape_html(value.target)}">{escape_html(text)}</a>'
    detail = _WITH_DETAIL.fullmatch(text) if right else None
    if detail:
        main, inner, after = map(escape_html, detail.groups())
        return f"<span>{main}</span> <small>({inner})</small>{after}"
    if text == NOT_KNOWN:
        return text
    return _MAY_BREAK.sub(r"\1<wbr>", escape_html(text))


def cell_text(value: Any) -> str:
    """The text of a cell: numbers with thousands separators, what is not known as ``n/a``."""
    if isinstance(value, Link):
        return value.text
    if value is None or (not isinstance(value, str | list | dict) and pd.isna(value)):
        return NOT_KNOWN
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}" if 0 < abs(value) < 1 else f"{value:,.1f}"
    if isinstance(value, int) or hasattr(value, "__index__"):
        return f"{int(value):,}"
    return str(value)


def _is_numeric(values: list[Any]) -> bool:
    """Whether a column holds numbers: alone, or at the beginning of each text that is not empty."""
    texts = [cell_text(value) for value in values if not isinstance(value, Link | bool)]
    shown = [text for text in texts if text not in ("", NOT_KNOWN, "none", "–")]
    if not shown:
        return NOT_KNOWN in texts
    return len(texts) == len(values) and all(map(_LEADING_NUMBER.match, shown))


def _side(right: bool) -> str:
    return "right" if right else "left"
