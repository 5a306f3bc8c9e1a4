"""What a section of a report consists of, apart from Markdown (``str``), tables and figures."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Html:
    """HTML that is shown as it is, in a notebook too. Whoever makes it escapes what comes from outside."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads to ``target``: ``#anchor`` of the same page, or an https address."""

    text: str
    target: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """Rows with a title.

    ``title``: what the rows are, in words; it is the summary of a folded table. ``totals``: how many of the
    last rows are sums, which stay below the others when a reader sorts. ``folded``: hidden until asked for;
    None: folded when it is long.
    """

    rows: pd.DataFrame
    title: str = ""
    totals: int = 0
    folded: bool | None = None
