"""docs/performance.md holds what `make bench` measured, and nothing else."""

import re

import pytest

from tests.bench.machine import measured_on
from tests.bench.page import NOT_MEASURED, Section, read_bodies, render, stamped
from tests.bench.sections import SECTIONS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "performance.md"
TWO = tuple(Section(name, name.title(), lambda: "") for name in ("import", "history"))
SOURCE = re.compile(
    r"\*`make bench ONLY=(?P<name>[\w-]+)`: \d{4}-\d\d-\d\d, commit [0-9a-f]{7,40}(?: with uncommitted changes)?, "
    r"\d+ cores \([^)]+\), \d+ GB, Linux [\d.]+, Python [\d.]+\*\Z"
)


def test_nothing_on_the_page_was_typed_by_hand():
    """Broken: a number or a sentence on the page is from nowhere, or a section has no place to be written to."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(SECTIONS, read_bodies(page))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_each_section_says_where_its_numbers_are_from(section):
    """Broken: nobody can tell on what machine, and with which commit, a number was measured."""
    body = read_bodies(PAGE.read_text(encoding="utf-8"))[section.name]
    source = SOURCE.search(body)
    assert body == NOT_MEASURED or (source and source["name"] == section.name)


def test_the_page_holds_no_path_of_the_machine():
    """Broken: a folder of the machine that measured is published."""
    assert not re.search(
        r"(?<![\w.<`/])/(?:root|home|tmp|work|usr|var|opt)\b", PAGE.read_text(encoding="utf-8")
    )


def test_a_section_is_written_and_the_others_stay():
    """Broken: measuring one thing again loses or changes the numbers of another."""
    first = render(TWO, {"import": "0.4 x", "history": stamped(TWO[1], " 7 s\n", measured_on())})
    again = read_bodies(first) | {"import": "0.3 x"}
    second = render(TWO, again)
    assert "0.4 x" not in second
    assert read_bodies(second)["history"] == read_bodies(first)["history"]
    assert SOURCE.search(read_bodies(second)["history"])
    assert [line for line in second.splitlines() if line.startswith("## ")] == ["## Import", "## History"]


def test_a_section_that_was_never_measured_says_so():
    """Broken: a new section breaks the page, or looks as if it had no result."""
    assert read_bodies(render(TWO, {})) == {"import": NOT_MEASURED, "history": NOT_MEASURED}
