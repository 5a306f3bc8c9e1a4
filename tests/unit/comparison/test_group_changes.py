"""The first table of a comparison: groups whose changes sum to the latency's, with intervals of the sums."""

import numpy as np
import pytest
from scipy import stats

from scoreprof_nb.comparison.group_changes import HOST, TOTAL
from scoreprof_nb.report.comparison_groups import group_change_table
from scoreprof_nb.report.comparison_leads import title
from tests.support.compared_runs import BASE, NOISE, compared, report_of, side

SLOWER = {**BASE, "tokenize": 14.0}


@pytest.fixture(scope="module")
def comparison():
    """Test's tokenising takes 10 ms longer."""
    return compared(side(label="main"), side(path=SLOWER, at=1, label="fixes"))


@pytest.fixture(scope="module")
def rows(comparison):
    return comparison.groups.set_index("group")


def test_groups_sum_to_the_host_and_to_the_latency(rows):
    """Broken: a reader adds up the table, and it does not match."""
    groups = rows.drop(index=[HOST, TOTAL])
    for side_ms in ("control_ms", "test_ms", "change_ms"):
        assert groups[side_ms].sum() == pytest.approx(rows.loc[TOTAL, side_ms])
        host = groups.loc[groups["kind"] == "host", side_ms].sum()
        assert host == pytest.approx(rows.loc[HOST, side_ms])
    assert rows.loc[TOTAL, "control_ms"] == pytest.approx(sum(BASE.values()), rel=0.01)


def test_the_interval_of_a_sum_is_of_the_sums_of_the_pairs(rows):
    """Broken: the intervals of parts that vary together, or against each other, are added."""
    factors = [np.array([NOISE[(pair * 5 + at) % 6] for pair in range(6)]) for at in (0, 1)]
    changes = factors[1] * sum(SLOWER.values()) - factors[0] * sum(BASE.values())
    half = stats.t.ppf(0.975, 5) * changes.std(ddof=1) / np.sqrt(6)
    assert rows.loc[TOTAL, "low"] == pytest.approx(changes.mean() - half)
    assert rows.loc[TOTAL, "high"] == pytest.approx(changes.mean() + half)


def test_the_table_has_the_change_first_and_both_sides_and_the_headline_below(comparison):
    table = group_change_table(comparison)
    cells = dict(table.rows.itertuples(index=False, name=None))
    assert cells["tokenizer"].startswith("+10.")
    assert cells["tokenizer"].endswith("4.0 → 14.0")
    assert list(cells)[-3:] == [HOST, TOTAL, "mean latency, without py-spy and compiles"]
    assert table.totals == 3


def test_a_title_says_slower_when_it_is_slower(comparison):
    """Broken: the page asks whether test is faster when it is known to be slower."""
    assert title(report_of(comparison)) == "fixes against main: slower"
    assert title(report_of(compared(side(path=SLOWER), side(at=1)))) == "run against run: faster"
    assert title(report_of(compared())) == "run against run: no meaningful change"


def test_one_pair_without_sums_has_changes_and_no_intervals():
    """Broken: one run a side shows intervals that nothing supports."""
    groups = compared(side(pairs=1), side(pairs=1, path=SLOWER, at=1)).groups.set_index("group")
    assert groups.loc["tokenizer", "change_ms"] == pytest.approx(10, abs=0.5)
    assert groups["low"].isna().all()
