"""comparison.json: what tools read is what docs/comparison.md says."""

import re

import pytest

from scoreprof_nb.report.comparison_files import as_json
from tests.support.compared_runs import compared, report_of, side
from tests.support.paths import ROOT
from tests.support.schemas import assert_matches_schema

DOCUMENT = ROOT / "docs" / "comparison.md"


def documented():
    """Key to the words in backticks in its row of the tables."""
    words = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = line.strip("| ").split(" | ")
        for key in re.findall(r"`([^`]+)`", cells[0]) if line.startswith("| `") else ():
            words[key] = set(re.findall(r"`([^`]+)`", " ".join(cells[1:])))
    return words


@pytest.fixture(scope="module")
def written():
    """Of two sides that differ in everything that has a table."""
    control = side(stack="main@a.py > old@b.py", parameters={"server_flags": "--x 1"})
    test = side(2.0, stack="main@a.py > new@b.py", at=1)
    return as_json(report_of(compared(control, test)))


def test_output_matches_the_shipped_schema(written):
    assert_matches_schema(written, "comparison")


def test_every_key_is_documented(written):
    assert written.keys() == documented().keys()


def test_every_column_of_every_table_is_documented(written):
    tables = {key: value[0] for key, value in written.items() if isinstance(value, list) and value}
    tables = {key: row for key, row in tables.items() if isinstance(row, dict)}
    assert tables.keys() >= {"differences", "metrics", "components", "scores", "counts", "batching"}
    assert tables.keys() >= {"functions", "stacks", "runs"}
    for key, row in tables.items():
        assert row.keys() <= documented()[key], key
    assert written["control"].keys() <= documented()["control"]


def test_no_column_is_documented_that_is_not_there(written):
    """Broken: the page documents a column that is not in the file (what a column may hold stands in brackets)."""
    for key, rows in written.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            line = next(line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{key}`"))
            columns = re.sub(r"\([^()]*\)", "", line.rstrip(" |").rpartition(" | ")[2])
            assert set(re.findall(r"`([^`]+)`", columns)) == rows[0].keys(), key
