"""docs/performance.md: a page of measured sections, of which ``make bench`` replaces one or all.

A section is what its measurement returned, between two marks, with the command, the day, the commit and the
kind of machine under it. The text around the sections comes from here, so nothing on the page is typed by hand.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

INTRO = """\
# Performance

What the kit itself costs. Each section was measured and written by the command in its last line; nothing here is
typed by hand. Numbers that stand in one table were measured side by side in one run: compare those, and not a number
of one section with a number of another, which may be of another day or machine.
"""
NOT_MEASURED = "Not measured yet."
_BLOCK = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n(?P<body>.*?)\n<!-- end (?P=name) -->", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """``name``: for ``make bench ONLY=name``; ``measure``: runs the measurement and returns Markdown."""

    name: str
    title: str
    measure: Callable[[], str]


def stamped(section: Section, text: str, measured_on: str) -> str:
    """A section's body: its measured text, and where that comes from."""
    return f"{text.strip()}\n\n*`make bench ONLY={section.name}`: {measured_on}*"


def read_bodies(page: str) -> dict[str, str]:
    """The body of each section that stands on a page, by name."""
    return {block["name"]: block["body"].strip() for block in _BLOCK.finditer(page)}


def render(sections: Sequence[Section], bodies: Mapping[str, str]) -> str:
    """The page. A section without a body says that it was not measured; a body without a section is dropped."""
    parts = [INTRO]
    for section in sections:
        body = bodies.get(section.name, NOT_MEASURED)
        parts.append(
            f"## {section.title}\n\n<!-- begin {section.name} -->\n\n{body}\n\n<!-- end {section.name} -->\n"
        )
    return "\n".join(parts)
