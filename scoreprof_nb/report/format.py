"""How reports write numbers and texts: one format for each kind of number, one way to escape a text.

Every number that is not known is written as ``n/a``, an interval that is not known as ``–``. Labels,
failures, log lines and file names come from outside: ``escape_markdown`` and ``code_block`` make them
harmless in Markdown, ``escape_html`` in HTML.
"""

import html
import math
import re
from datetime import UTC, datetime

from scoreprof_nb.run_folder.plain_text import plain_text

NOT_KNOWN = "n/a"
NO_INTERVAL = "–"
SMALLEST_P = 0.001

# Characters that begin a tag, an entity, code, math or a table cell: only a reference is inert for all
# Markdown dialects, and a backslash before "$" or "|" is not.
_BY_REFERENCE = re.compile(r"[<>&`$|\\]")
# Emphasis, links, images, strikethrough: a backslash will do. An underscore within a word is no emphasis.
_BY_BACKSLASH = re.compile(r"[*\[\]~]|(?<![^\W_])_|_(?![^\W_])")
# What a Markdown dialect turns into a link by itself.
_AUTOLINK = re.compile(r"(?i)((?:https?|ftp|mailto|xmpp))(:)|(www)(\.)|(@)")
# A heading, a list, a rule or a definition, when the text stands at the start of a line.
_LINE_START = re.compile(r"^([#=:]|[+-](?![\w.])|\d+(?=[.)](?:\s|$)))")


def number(value: float | None, digits: int = 1) -> str:
    """``12.3``."""
    return f"{value:z.{digits}f}" if _is_known(value) else NOT_KNOWN


def signed(value: float | None, digits: int = 1) -> str:
    """``+12.3``."""
    return f"{value:+z.{digits}f}" if _is_known(value) else NOT_KNOWN


def milliseconds(value: float | None) -> str:
    """``12.3 ms``."""
    return f"{value:.1f} ms" if _is_known(value) else NOT_KNOWN


def speedup(value: float | None) -> str:
    """``1.25x``."""
    return f"{value:.2f}x" if _is_known(value) else NOT_KNOWN


def percent(share: float | None, digits: int = 1) -> str:
    """``3.1%``, of a share from 0 to 1."""
    return f"{share:.{digits}%}" if _is_known(share) else NOT_KNOWN


def percent_change(ratio: float | None) -> str:
    """``+3.1%``, of a ratio such as 1.031."""
    return f"{ratio - 1:+.1%}" if ratio is not None and math.isfinite(ratio) else NOT_KNOWN


def p_value(p: float | None) -> str:
    """``0.031``, or ``<0.001``."""
    if p is None or not math.isfinite(p):
        return NOT_KNOWN
    return f"{p:.3f}" if p >= SMALLEST_P else f"<{SMALLEST_P:g}"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """``11.0 to 13.9``."""
    if not (_is_known(low) and _is_known(high)):
        return NO_INTERVAL
    return f"{number(low, digits)} to {number(high, digits)}"


def with_interval(
    value: float | None, low: float | None, high: float | None, unit: str = "", digits: int = 1
) -> str:
    """``12.3 ms (11.0 to 13.9)``; ``12.3 ms (–)`` when the interval is not known."""
    if not _is_known(value):
        return NOT_KNOWN
    return f"{number(value, digits)}{unit} ({interval(low, high, digits)})"


def ratio(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """``1.031 (1.010 to 1.052)``; ``1.031`` when the interval is not known."""
    if _is_known(value) and not _is_known(low):
        return number(value, digits)
    return with_interval(value, low, high, digits=digits)


def change(value: float | None, low: float | None, high: float | None, digits: int = 1) -> str:
    """``+1.5 (+1.0 to +2.0)``; ``+1.5`` when the interval is not known."""
    text = signed(value, digits)
    known = _is_known(value) and _is_known(low)
    return f"{text} ({signed(low, digits)} to {signed(high, digits)})" if known else text


def share(value: float | None, low: float | None, high: float | None, digits: int = 1) -> str:
    """``3.1% (1.0% to 5.2%)``."""
    return f"{percent(value, digits)} ({percent(low, digits)} to {percent(high, digits)})"


def count(hits: int, n: int, low: float, high: float) -> str:
    """``3 of 40 (2.6% to 19.9%)``."""
    return f"{hits} of {n} ({percent(low)} to {percent(high)})"


def timestamp(epoch_s: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds")


def one_line(text: str, most: int | None = None) -> str:
    """The text with each run of white space as one blank, cut off after ``most`` characters."""
    line = " ".join(text.split())
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def escape_markdown(text: object) -> str:
    """The text as one line of Markdown that shows the text and nothing else: no HTML, link, image, code,
    math, emphasis, heading, list or table cell stems from it."""
    line = _BY_BACKSLASH.sub(r"\\\g<0>", one_line(plain_text(str(text))))
    # A reference last, or else its "#" and ";" were looked at again; the backslashes just added must stay.
    parts = re.split(r"(\\[*\[\]~_])", line)
    parts = [part if at % 2 else _references(part) for at, part in enumerate(parts)]
    return _LINE_START.sub(_reference_of_start, "".join(parts))


def code_block(text: str) -> str:
    """The lines as a Markdown code block that none of them can end."""
    body = "\n".join(plain_text(line) for line in text.splitlines())
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def escape_html(text: object) -> str:
    """The text for HTML, as the content of an element or in a quoted attribute."""
    return html.escape(plain_text(str(text)))


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _references(text: str) -> str:
    escaped = _BY_REFERENCE.sub(lambda match: _reference(match[0]), text)
    return _AUTOLINK.sub(
        lambda match: (match[1] or match[3] or "") + _reference(match[2] or match[4] or match[5]), escaped
    )


def _reference(character: str) -> str:
    return f"&#{ord(character)};"


def _reference_of_start(match: re.Match[str]) -> str:
    if match[1].isdigit():  # an ordered list: "1." or "1)"
        return f"{_reference(match[1][0])}{match[1][1:]}"
    return _reference(match[1])
