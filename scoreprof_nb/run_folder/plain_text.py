"""Text from outside (labels, log lines, names, error messages) as plain text.

A terminal obeys escape sequences: they move the cursor, change the title or hide what was printed. Marks that
set the writing direction make a text read differently from what it says ("Trojan Source", CVE-2021-42574).
"""

import re

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: the title, links
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # other strings
)
# Control characters but white space, lone surrogates, and the marks that set the writing direction.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def plain_text(text: str) -> str:
    """The text without escape sequences; every other control character is replaced by U+FFFD."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _ANSI.sub("", text))


def plain_json(text: str) -> str:
    """JSON with the same characters as JSON escapes: nothing is lost, and `cat` shows them."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
