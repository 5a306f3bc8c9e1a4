"""The sections of a run's report: each says what it shows, and none that has nothing to show is there."""

import re

import pandas as pd
import pytest

from scoreprof_nb.notebook import display
from scoreprof_nb.notebook import sections as report_sections
from scoreprof_nb.notebook.display import Section, show
from scoreprof_nb.notebook.head import contents_of
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.blocks import Table
from scoreprof_nb.report.overview import phases_table
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.table_html import table_html
from tests.support.written_run import GOOD, failed, write_run

RUNS = {
    "timed": {"recording": "timed"},
    "whole": {"recording": "whole", "phases": 2},
    "damaged": {"recording": "damaged"},
    "py-spy off": {"recording": "off"},
    "py-spy failed": {"recording": "failed"},
    "two in flight": {"recording": "whole", "concurrency": 2},
    "all failed": {"recording": "whole", "requests": [failed(number) for number in range(40)]},
    "no request": {"recording": "whole", "requests": []},
}


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, as text."""
    texts = []
    monkeypatch.setattr(display, "display", lambda output: texts.append(str(output.data)))
    return texts


def made(tmp_path, **changes):
    write_run(tmp_path / "run", **changes)
    return make_report(Parameters(run_dir=str(tmp_path / "run")))


def all_sections(report):
    return [section for make in report_sections.SECTIONS for section in [make(report)] if section is not None]


@pytest.mark.parametrize("kind", RUNS)
def test_every_section_says_what_it_shows_in_this_run(tmp_path, shown, kind):
    """Broken: a run with little in it ends in an error, or in a heading with nothing below."""
    report = made(tmp_path, **RUNS[kind])
    report_sections.show_head(report)
    for section in all_sections(report):
        assert section.lead.strip(), section.title
        show(section)
    assert not any(re.search(r"\bnan\b", text) for text in shown)


@pytest.mark.parametrize("kind", ["whole", "py-spy off"])
def test_contents_lead_to_the_sections_that_are_there(tmp_path, shown, kind):
    """Broken: a link leads nowhere, or a section cannot be found."""
    report = made(tmp_path, **RUNS[kind])
    links = re.findall(r'href="#([\w-]+)"', contents_of(all_sections(report)).text)
    for section in all_sections(report):
        show(section)
    headings = re.findall(r'<h2 id="([\w-]+)"', "".join(shown))
    assert links == headings
    assert len(set(links)) == len(links)


def test_sections_with_nothing_in_them_are_left_out(tmp_path):
    report = made(tmp_path, recording="off")
    anchors = {section.anchor for section in all_sections(report)}
    assert "latency" in anchors
    assert not {"flame-graph", "hot-functions", "threads", "batching"} & anchors


def test_a_section_is_shown_once_with_its_heading_and_its_late_parts(shown):
    show(Section("an-anchor", "<Title>", "What it shows.", [lambda: "late", "now"]))
    assert shown == ['<h2 id="an-anchor">&lt;Title&gt;</h2>', "What it shows.", "late", "now"]


def test_nothing_is_shown_for_a_section_that_is_not_there(shown):
    show(None)
    assert shown == []


def test_the_phases_counts_sum_to_what_was_sent(tmp_path):
    """Broken: a reader adds up the columns, and they do not match."""
    requests = [*GOOD[:37], failed(37), failed(38, "http_500")]
    report = made(tmp_path, recording="whole", requests=requests)
    row = phases_table(report).rows.iloc[0]
    parts = ["without\npy-spy", "with\npy-spy", "in no block", "failed"]
    assert sum(row[part] for part in parts) == row["requests\nsent"] == 39


def test_a_long_table_is_folded_and_a_sum_stays_below():
    table = Table
    rows = pd.DataFrame({"name": [f"n{i}" for i in range(20)], "ms": range(20)})
    html = table_html(table(rows, "Twenty rows", totals=1))
    assert html.startswith('<details class="sp-fold"><summary>Twenty rows (19 rows)')
    assert re.search(r"<tfoot><tr>.*n19.*</tfoot>", html)
    assert "<details" not in table_html(table(rows.head(3)))
