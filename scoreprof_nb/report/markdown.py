"""Tables in Markdown, aligned so that they read as plain text too."""

from collections.abc import Mapping, Sequence

from scoreprof_nb.report.format import escape_markdown


def markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of an aligned table. The keys of the first row are its columns; all texts are escaped."""
    if not rows:
        return ["(not known)"]
    columns = list(rows[0])
    lines = [
        [escape_markdown(text) for text in line]
        for line in (columns, *([row[column] for column in columns] for row in rows))
    ]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    aligned = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [aligned[0], rule, *aligned[1:]]
