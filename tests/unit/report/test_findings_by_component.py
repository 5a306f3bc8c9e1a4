"""One finding per component, the host's first; nothing that chance explains."""

import re

import pytest

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.headline import GROUPS, headline_group
from scoreprof_nb.engines.sglang_jax_known import KNOWN_FIXES
from scoreprof_nb.report.answer import answer, first_to_try, trust
from scoreprof_nb.report.component_findings import KINDS
from scoreprof_nb.report.finding_cards import finding_cards, finding_text
from scoreprof_nb.report.findings import SMALLEST_MS
from scoreprof_nb.report.group_table import group_table
from tests.support.written_run import reported, write_run


@pytest.fixture
def report(tmp_path):
    write_run(tmp_path, recording="timed", phases=2)
    return reported(tmp_path)[0]


def test_a_component_of_several_phases_is_one_finding(report):
    """Broken: device_wait fills the first four places of the list, once per phase."""
    names = [finding.component.name for finding in report.component_findings]
    assert len(names) == len(set(names))
    batch = next(f for f in report.component_findings if f.component.name == "batch")
    assert list(batch.costs) == ["small", "large"]
    assert batch.evidence.place.startswith("calc_priority (schedule_policy.py")


def test_the_hosts_findings_come_first_and_the_largest_of_them_first(report):
    kinds = [KINDS.index(finding.group.kind) for finding in report.component_findings]
    assert kinds == sorted(kinds)
    host = [f.largest.ms_per_request for f in report.component_findings if f.group.kind == "host"]
    assert host == sorted(host, reverse=True)


def test_nothing_within_its_interval_of_zero_is_a_finding(report):
    """Broken: a component of 1.3 ms (0.0 to 2.9) is recommended for a week's work."""
    assert report.findings
    assert all(not finding.low < SMALLEST_MS for finding in report.findings)


def test_every_component_has_a_group_and_every_known_fix_a_component():
    assert {headline_group(component).name for component in CATALOG.components} <= set(GROUPS)
    assert set(KNOWN_FIXES) <= set(CATALOG.names)


def test_cards_have_an_anchor_a_place_and_what_others_did(report):
    html = finding_cards(report).text
    assert 'id="finding-batch"' in html
    assert "calc_priority" in html
    assert "sglang #5141" in html
    assert "at most" in html


def test_answer_names_the_limit_its_share_and_what_to_try_first(report):
    """Broken: the reader must find the answer in a table."""
    text = answer(report)  # the ticks are a grid here: of ten in a request, the edges count less
    assert re.search(r"is limited by the scheduler: (50|51|52)\.\d ms \(95 % interval", text)
    assert re.search(r"of its 100\.0 ms, that is (50|51|52)%", text)
    assert "try first batch" in text
    assert first_to_try(report, report.analysis.phases[0]).component.name == "batch"
    assert finding_text(report.component_findings[0]).startswith("batch (")


def test_trust_counts_the_checks_that_ran(report):
    checks = [check for phase in report.analysis.phases for check in phase.quality.checks]
    ran = sum(check.passed is not None for check in checks)
    failed = sum(check.passed is False for check in checks)
    assert f"{failed} of {ran} checks failed" in trust(report) or f"All {ran} checks" in trust(report)
    assert "equal requests got equal scores" in trust(report).lower()


def test_first_table_sums_to_the_mean_latency(report):
    """Broken: the groups of the first table leave out a component, or count one twice."""
    table = group_table(report.analysis)
    rows = table.rows.iloc[: len(table.rows) - table.totals]
    for column in table.rows.columns[1:]:
        parts = [float(text.split(" ")[0]) for text in rows[column] if text != "none"]
        assert sum(parts) == pytest.approx(100.0, abs=0.06 * len(parts))
        assert table.rows[column].iloc[-2].startswith("100.0 ")
