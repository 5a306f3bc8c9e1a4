"""What some runs lack: the rest is compared, and what is missing is said with how much and why."""

import json
import math
import re

import pytest

from scoreprof_nb import plots
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.comparison.attribution import WHOLE_PATH
from scoreprof_nb.comparison.claims import NOT_KNOWN, REGRESSION
from scoreprof_nb.report import comparison_tables as tables
from scoreprof_nb.report.comparison_caveats import caveats
from scoreprof_nb.report.comparison_files import as_markdown, write_files
from scoreprof_nb.report.comparison_verdict import conditions_markdown
from tests.support.compared_runs import BASE, PAIRS, compared, report_of, side, verdicts
from tests.support.schemas import assert_matches_schema

SLOWER = {**BASE, "tokenize": 14.0}
LOST = "no samples of http / main"
MISSING = "no clock"


def without_path(runs, *numbers):
    for number in numbers:
        phase = runs[number].phases[0]
        phase.path = RequestPath(phase.path.table.iloc[:0], None, LOST)
    return runs


def marginal(runs, *numbers):
    for number in numbers:
        phase = runs[number].phases[0]
        phase.path = RequestPath(phase.path.table, "marginal", MISSING)
    return runs


def tokenize(comparison):
    return comparison.components.set_index("component").loc["tokenize"]


def test_a_run_without_a_request_path_costs_its_pair_only():
    """Broken: one run of twelve without a path, and no component is named."""
    comparison = compared(test=without_path(side(path=SLOWER, at=1), 2))
    row = tokenize(comparison)
    assert (row["pairs"], row["verdict"]) == (5, REGRESSION)
    assert row["change_ms"] == pytest.approx(10, abs=0.3)
    excluded = f"request path of phase small: 1 of 12 runs have none ({LOST}); 5 of 6 pairs used"
    assert comparison.excluded == (excluded,)
    assert excluded in as_markdown(report_of(comparison))
    assert excluded in "\n".join(conditions_markdown(report_of(comparison)))


def test_too_few_pairs_with_a_path_give_no_verdict():
    """Broken: a verdict from four pairs, since the comparison has six."""
    comparison = compared(side(), without_path(side(path=SLOWER, at=1), 2, 3))
    assert set(comparison.components["verdict"]) == {NOT_KNOWN}
    assert tokenize(comparison)["change_ms"] == pytest.approx(10, abs=0.3)
    one = compared(side(), without_path(side(path=SLOWER, at=1), 0, 1, 2, 3, 4))
    assert set(one.components["verdict"]) == {NOT_KNOWN}
    three = compared(side(pairs=3), side(path=SLOWER, pairs=3, at=1))
    assert set(three.components["verdict"]) == {NOT_KNOWN}


def test_no_path_at_all_is_a_row_that_says_so(tmp_path):
    """Broken: a comparison without any request path fails, or shows a change of zero."""
    comparison = compared(without_path(side(), *range(PAIRS)), side(at=1))
    (row,) = comparison.components.to_dict("records")
    assert (row["component"], row["pairs"], row["verdict"]) == (WHOLE_PATH, 0, NOT_KNOWN)
    assert math.isnan(row["change_ms"])
    assert "6 of 12 runs have none" in comparison.excluded[0]
    assert tables.components_table(comparison).iloc[0]["change ms"] == "n/a"
    write_files(report_of(comparison, compare_dir=tmp_path))
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert_matches_schema(written, "comparison")
    assert written["components"][0]["change_ms"] is None
    assert "request path | n/a" in (tmp_path / "comparison.md").read_text()
    plots.plot_path_change(comparison.components)


def test_a_marginal_path_is_never_subtracted_from_a_joint_one():
    """Broken: another method of finding components is a change of the server."""
    comparison = compared(test=marginal(side(path=SLOWER, at=1), *range(PAIRS)))
    assert list(comparison.components["component"]) == [WHOLE_PATH]
    assert comparison.excluded == (
        f"request path of phase small: 6 of 12 runs have a marginal path ({MISSING}), "
        "which cannot be compared with a joint one; 0 of 6 pairs used",
    )
    some = compared(marginal(side(), 0), marginal(side(path=SLOWER, at=1), 0))
    assert (tokenize(some)["pairs"], tokenize(some)["method"]) == (5, "joint")
    assert "2 of 12 runs have a marginal path" in some.excluded[0]


def test_two_marginal_paths_are_compared_and_marked():
    """Broken: two marginal paths are not compared, or pass for joint ones."""
    comparison = compared(marginal(side(), *range(PAIRS)), marginal(side(path=SLOWER, at=1), *range(PAIRS)))
    assert (tokenize(comparison)["method"], tokenize(comparison)["verdict"]) == ("marginal", REGRESSION)
    assert comparison.excluded == ()
    assert any("small is marginal on both sides" in text for text in caveats(comparison))


def test_a_metric_that_a_run_lacks_is_a_row_that_is_not_known():
    """Broken: CPU time, lost in one run, is not even mentioned."""
    test = side(at=1)
    test[3].phases[0].threads.cpu = test[3].phases[0].threads.cpu.iloc[:0]
    test[4].phases[0].latency.throughput = None
    comparison = compared(test=test)
    assert verdicts(comparison)["CPU per request"] == verdicts(comparison)["throughput"] == NOT_KNOWN
    assert [text.partition(" is not known: ")[::2] for text in comparison.excluded] == [
        ("throughput of phase small", "1 of 12 runs have none (no request answered without py-spy)"),
        ("CPU per request of phase small", "1 of 12 runs have none (no CPU time of a block with py-spy)"),
    ]
    assert re.search(r"CPU per request, ms +\| n/a", as_markdown(report_of(comparison)))


def test_too_few_requests_for_p90_are_said():
    """Broken: p90 is missing without a reason."""
    comparison = compared(side(requests=20), side(requests=20, at=1))
    assert verdicts(comparison)["p90"] == NOT_KNOWN
    assert "fewer than 29 requests" in comparison.excluded[0]


def test_a_warm_up_that_nobody_saw_the_compiles_of_did_not_fail():
    """Broken: a server without a log is said to have been cold, or a cold one is not."""
    said = [
        any("the warm-up did not suffice" in text for text in caveats(comparison))
        for comparison in (
            compared(side(compiles=None, warm=False), side(at=1)),
            compared(side(compiles=9, warm=False), side(at=1)),
        )
    ]
    assert said == [False, True]
