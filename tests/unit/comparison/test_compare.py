"""A comparison of two sides of synthetic runs: verdicts, what is refused, what blocks, what is named."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from scoreprof_nb.analysis.scores import dtype_of
from scoreprof_nb.comparison.claims import IMPROVEMENT, INSUFFICIENT, NO_CHANGE, NOT_KNOWN, REGRESSION
from scoreprof_nb.comparison.comparability import check_comparability
from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.comparison.verdict import BLOCKED
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report import comparison_tables as tables
from scoreprof_nb.report.comparison_caveats import caveats
from scoreprof_nb.report.comparison_files import as_json, as_markdown, write_files
from scoreprof_nb.report.comparison_verdict import conditions_markdown, sentence
from tests.support.compared_runs import (
    BASE,
    NOISE,
    PAIRS,
    compared,
    phase,
    report_of,
    run,
    side,
    verdicts,
)
from tests.support.schemas import assert_matches_schema


def test_same_runs_are_no_meaningful_change():
    """Broken: identical sides get another verdict than no meaningful change."""
    runs = side()
    comparison = compare(runs, runs)
    assert set(verdicts(comparison).values()) == {NO_CHANGE}
    assert set(comparison.components["verdict"]) == {NO_CHANGE}
    assert report_of(comparison).verdict == NO_CHANGE


def test_twenty_percent_slower():
    """Broken: a comparison misses a regression of 20 %."""
    comparison = compared(test=side(1.2, at=1))
    metrics = ("mean", "p50", "p90", "throughput", "CPU per request", "device busy per request")
    assert verdicts(comparison) == dict.fromkeys(metrics, REGRESSION)
    assert report_of(comparison).verdict == REGRESSION
    assert "worse in mean of small +2" in sentence(report_of(comparison))


def test_twenty_percent_faster():
    """Broken: a comparison misses an improvement of 20 %."""
    comparison = compared(test=side(1 / 1.2, at=1))
    assert set(verdicts(comparison).values()) == {IMPROVEMENT}
    assert report_of(comparison).verdict == IMPROVEMENT


def test_the_component_that_changed_is_named_with_its_size():
    """Broken: the report says that the server is slower, but not where."""
    comparison = compared(test=side(path={**BASE, "tokenize": 14.0}, at=1))
    first = comparison.components.iloc[0]
    assert first["component"] == "tokenize"
    assert first["change_ms"] == pytest.approx(10, abs=0.3)
    assert first["low"] <= 10 <= first["high"]
    assert first["verdict"] == REGRESSION
    others = comparison.components[comparison.components["component"] != "tokenize"]
    assert REGRESSION not in set(others["verdict"])


@pytest.mark.parametrize("pairs", [1, PAIRS])
def test_waiting_behind_a_component_is_part_of_its_change(pairs):
    """Broken: with several requests in flight the components do not sum to the latency, and the time that
    requests wait behind a slower component is nobody's."""
    control, test = side(pairs=pairs), side(path={**BASE, "tokenize": 6.0}, at=1, pairs=pairs)
    for runs, behind in ((control, {"tokenize": 8.0}), (test, {"tokenize": 14.0, "device_wait": 1.0})):
        for one in runs:
            path = one.phases[0].path
            own = path.table.set_index("component", drop=False)
            queued = own.loc[list(behind)].assign(
                mean_ms=list(behind.values()),
                low=[0.9 * ms for ms in behind.values()],
                high=[1.1 * ms for ms in behind.values()],
            )
            one.phases[0].path = replace(path, queued=queued)
    comparison = compare(control, test)
    assert "of it queued ms" in tables.components_table(comparison)
    assert "of it queued ms" not in tables.components_table(compared())
    rows = comparison.components.set_index("component")
    assert rows.loc["tokenize", "queued_change_ms"] == pytest.approx(6)
    assert rows.loc["tokenize", "change_ms"] == pytest.approx(8, abs=0.2)
    assert rows.loc["device_wait", "queued_change_ms"] == pytest.approx(1)
    assert rows["control_ms"].sum() == pytest.approx(40 + 8, rel=0.02)
    assert rows["test_ms"].sum() == pytest.approx(42 + 15, rel=0.02)
    assert (rows["low"] <= rows["change_ms"]).all()
    assert (rows["change_ms"] <= rows["high"]).all()


def test_a_component_that_only_one_side_has():
    """Broken: a component that is new on one side has no row."""
    comparison = compared(test=side(path={**BASE, "softmax": 5.0}, at=1))
    softmax = comparison.components.set_index("component").loc["softmax"]
    assert (softmax["control_ms"], softmax["verdict"]) == (0, REGRESSION)


def test_three_pairs_are_insufficient():
    """Broken: a comparison of three pairs gets a verdict."""
    comparison = compared(side(pairs=3), side(2.0, pairs=3, at=1))
    assert set(verdicts(comparison).values()) == {INSUFFICIENT}
    assert "too few pairs for a verdict" in sentence(report_of(comparison))


def test_one_run_a_side_is_suggestive_at_most():
    """Broken: a single pair gets a firm verdict."""
    comparison = compared(side(pairs=1), side(1.5, pairs=1, at=1))
    assert verdicts(comparison)["mean"] == f"suggestive {REGRESSION}"
    assert verdicts(comparison)["throughput"] == NOT_KNOWN
    assert report_of(comparison).verdict == f"suggestive {REGRESSION}"
    assert "one run per side" in "\n".join(conditions_markdown(report_of(comparison)))


def test_one_phase_faster_and_one_slower_is_a_regression():
    """Broken: an improvement of one phase hides the regression of another, or is not told."""

    def both(number, single, small):
        return run(phase(factor=single, name="single"), phase(factor=small), started_s=1e9 + number)

    control = [both(number, noise, noise) for number, noise in enumerate(NOISE)]
    test = [both(number, 1.3 * noise, 0.7 * noise) for number, noise in enumerate(NOISE[::-1])]
    report = report_of(compare(control, test))
    assert report.verdict == REGRESSION
    assert "worse in mean of single" in sentence(report)
    assert "better in mean of small" in sentence(report)


# ---- is test still correct?

STOPPED = {"control": (), "test": ("pair 6, 2026-11-24T15:00:00+00:00: the server ended",)}


def test_other_scores_block_an_improvement_and_come_first():
    """Broken: a branch that is fast because its scores are wrong counts as an improvement."""
    comparison = compared(test=side(0.5, scores=0.35, at=1))
    assert comparison.blocked
    assert verdicts(comparison)["mean"] == BLOCKED
    assert IMPROVEMENT not in set(comparison.components["verdict"])
    report = report_of(comparison)
    assert report.verdict == BLOCKED
    assert sentence(report).startswith("test (run) against control (run): other scores: 240 of 240 answers")
    assert "BLOCK" in as_markdown(report)
    assert set(tables.scores_table(comparison)["scores"]) == {"CHANGED"}


def test_scores_within_a_rounding_step_are_the_same():
    """Broken: a rounding step of the scores blocks a comparison."""
    comparison = compared(test=side(scores=0.25 + 2**-8, at=1))
    assert not comparison.blocked
    assert list(comparison.correctness.scores["same"]) == [True]


def test_tolerance_is_that_of_the_number_format():
    """Broken: the tolerance is that of another number format."""
    provenance = {"command": "python --dtype float32"}
    comparison = compared(side(provenance=provenance), side(scores=0.25 + 2**-8, at=1, provenance=provenance))
    assert comparison.blocked
    assert list(comparison.correctness.scores["logit_tolerance"]) == [1e-3]


def test_number_format_of_the_flag_then_of_the_model():
    """Broken: the number format ignores the server's flag."""
    assert dtype_of({"command": "x --dtype=float16"}) == "float16"
    assert dtype_of({"command": "x --dtype auto", "model_dtype": "float32"}) == "float32"
    assert dtype_of({"command": "x"}) == "not known"


def test_another_number_of_scores_is_another_answer():
    """Broken: an answer with another number of scores counts as the same."""
    control, test = side(), side(at=1)
    for one in test:
        requests = one.phases[0].phase.requests
        requests["scores"] = [[[0.25]] for _ in range(len(requests))]
    assert list(compare(control, test).guards.query("blocks")["guard"]) == ["scores"]


def test_payloads_of_one_side_only_are_counted():
    """Broken: payloads that only one side sent are ignored."""
    test = side(at=1)
    for one in test:
        one.phases[0].phase.requests["payload"] += 1
    row = compare(side(), test).correctness.scores.iloc[0]
    assert (row["payloads"], row["only_one_side"]) == (3, 2)


def test_now_and_then_a_wrong_answer_blocks_an_improvement():
    """Broken: wrong answers hide behind the median: two of five may be wrong."""
    test = side(0.8, at=1)
    for run_ in test:
        table = run_.phases[0].phase.requests
        for index in table.index[table["request"] % 10 < 4]:
            table.at[index, "scores"] = [[0.9, 0.1]]
    comparison = compared(test=test)
    row = comparison.correctness.scores.iloc[0]
    assert row["largest_difference"] == 0
    assert (row["control_deviating"], row["test_deviating"]) == (0, 96)
    assert comparison.blocked


def test_fewer_failures_are_no_reason_to_block():
    """Broken: a branch that fixes failures and is faster is blocked."""
    comparison = compared(side(failed=5), side(0.7, at=1))
    assert not comparison.blocked
    assert report_of(comparison).verdict == "improvement"


def test_a_test_side_that_did_not_always_run_to_its_end_is_blocked():
    """Broken: a branch that crashes now and then is an improvement once the run was tried again."""
    report = report_of(compared(test=side(0.5, at=1), stopped=STOPPED))
    assert report.verdict == "blocked"
    assert "runs that did not finish: test 1, control 0" in sentence(report)
    assert any("pair 6" in text for text in caveats(report.comparison))
    both = report_of(compared(test=side(0.5, at=1), stopped={**STOPPED, "control": STOPPED["test"]}))
    assert both.verdict == "improvement"


def test_tables_json_and_headline_agree_on_what_is_blocked():
    """Broken: the headline counts runs that did not finish, while table, figure and JSON show an improvement."""
    comparison = compared(test=side(0.5, at=1), stopped=STOPPED)
    assert comparison.blocked
    assert set(verdicts(comparison).values()) == {BLOCKED}
    assert IMPROVEMENT not in set(comparison.components["verdict"])
    assert set(tables.metrics_table(comparison)["verdict"]) == {BLOCKED}
    written = as_json(report_of(comparison))
    assert written["blocked"] is True
    assert {row["verdict"] for row in written["metrics"]} == {BLOCKED}
    text = as_markdown(report_of(comparison))
    assert IMPROVEMENT not in text
    assert "Scores: same. BLOCKED by: stopped runs." in text, "the scores did not change"


def test_missing_pairs_are_said_in_every_file():
    """Broken: a file does not mention missing pairs."""
    report = report_of(compared(), missing="test of pair 6: the server ended")
    assert as_json(report)["missing"] == "test of pair 6: the server ended"
    assert "some pairs were not captured: test of pair 6" in as_markdown(report)


def test_more_failures_block_an_improvement():
    """Broken: a branch that fails more often counts as an improvement."""
    comparison = compared(test=side(0.5, failed=5, at=1))
    assert list(comparison.guards.query("blocks")["guard"]) == ["failures"]
    assert verdicts(comparison)["mean"] == BLOCKED
    assert "failed requests: test 30 of 240, control 0 of 240 in small" in sentence(report_of(comparison))


def test_compiles_and_splits_are_compared_as_results_of_their_own():
    """Broken: a change of compiles or splits is hidden in the latency."""
    control, test = side(), side(at=1)
    for one in test:
        one.phases[0].requests.table.loc[:9, "compile_hit"] = True
    counts = compare(control, test).correctness.counts.set_index("what")
    assert counts.loc["compile_hit", "changed"]
    assert (counts.loc["compile_hit", "control"], counts.loc["compile_hit", "test"]) == (0, 60)
    assert not counts.loc["split", "changed"]


def test_compiles_and_batches_of_a_run_are_compared_over_the_pairs():
    """Broken: a branch that compiles more shapes, or splits each request, shows it nowhere."""
    comparison = compared(side(prefills=None), side(compiles=5, prefills=None, at=1))
    batching = comparison.batching.set_index("what")
    assert batching.loc["compiles in the warm-up", ["control", "test", "change", "low", "high"]].tolist() == [
        *(2, 5),
        *[3] * 3,
    ]
    assert batching.loc["compiles while measured", "change"] == 0
    table = tables.batching_table(comparison).set_index("mean of the runs")["change"]
    assert table["compiles in the warm-up"] == "+3.00 (+3.00 to +3.00)"
    assert table["prefill batches per request"] == "n/a"


def test_what_the_log_does_not_tell_is_not_known():
    """Broken: counts that the log does not show appear as zero."""
    control, test = side(), side(at=1)
    for one in (*control, *test):
        one.phases[0].requests.table["split"] = pd.Series([pd.NA] * 40, dtype="boolean")
    counts = tables.counts_table(compare(control, test))
    assert counts.set_index("requests").loc["split over batches", "result"] == "not known"


# ---- unlike captures


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"parameters": {"rate_hz": 200}}, "rate_hz"),
        ({"parameters": {"py_spy_mode": "blocking"}}, "py_spy_mode"),
        ({"parameters": {"concurrency": 4}}, "concurrency"),
        ({"parameters": {"phase_s": 10.0}}, "phase_s"),
        ({"parameters": {"model_path": "/models/other"}}, "model"),
        ({"provenance": {"chip": "v5e"}}, "chip"),
        ({"provenance": {"jax": "0.9.0"}}, "jax"),
        ({"provenance": {"server_packages": {"flax": "1"}}}, "package flax"),
        ({"requests": 39}, None),
        ({"requests": 2}, None),  # fewer bodies were answered: slower, not another workload
        ({"workload": "8 small x 4; SHA-256 another"}, "requests of phase small"),
    ],
)
def test_unlike_captures_are_named(change, what):
    """Broken: sides captured differently are compared without a warning."""
    comparison = compared(test=side(at=1, **change))
    assert list(comparison.incomparable["what"]) == ([what] if what else [])
    assert report_of(comparison).mark == ("UNLIKE CAPTURES: " if what else "")


def test_what_is_compared_is_not_unlike():
    """Broken: the difference under test is reported as incomparable."""
    source = {"sglang_jax_source": {"commit": "abc", "branch": "serving-fixes"}, "sglang_jax": "0.0.3"}
    comparison = compared(
        test=side(at=1, label="serving-fixes", provenance=source, parameters={"server_flags": "--x 1"})
    )
    assert comparison.incomparable.empty
    assert set(comparison.comparability["what"]) == {
        "label",
        "sglang-jax",
        "branch",
        "commit",
        "server_flags",
    }


def test_the_same_model_in_another_folder_is_the_same():
    """Broken: the same model in two folders is called different."""
    assert compared(test=side(at=1, parameters={"model_path": "/mnt/models/tiny/"})).incomparable.empty


def test_a_run_of_a_side_that_is_unlike_the_others_is_found():
    """Broken: a run that differs from the others of its side goes unnoticed."""
    test = side(at=1)
    test[3].run.provenance["cpus"] = 8
    row = compare(side(), test).incomparable.iloc[0]
    assert (row["what"], row["control"], row["test"]) == ("cpus", "2", "2 / 8")


@pytest.mark.parametrize(
    ("control", "test", "unlike"), [(177.3, 177.1, 0), (177.3, 88.5, 1), (177.3, None, 1)]
)
def test_memory_is_that_of_the_machine_type(control, test, unlike):
    """Broken: two nodes of one type are refused, since one's kernel keeps some megabytes more."""
    sides = [side(at=at, provenance={"memory_gb": gb}) for at, gb in enumerate((control, test))]
    assert len(compared(*sides).incomparable) == unlike


def test_a_side_of_two_commits_is_no_side():
    """Broken: half of the runs are of another branch, and their mean is a verdict."""
    test = side(0.5, at=1)
    for run_ in test[3:]:
        run_.run.provenance["sglang_jax_source"] = {"commit": "bbb"}
    assert list(compared(test=test).incomparable["what"]) == ["commit"]


def test_the_model_may_differ_where_that_is_asked_for():
    """Broken: two models cannot be compared on request, or are without it."""
    test = side(at=1, parameters={"model_path": "/models/int8"})
    assert list(compared(test=test).incomparable["what"]) == ["model"]
    parameters = CompareParameters(test_model_path="/models/int8").compared
    assert compared(test=test, compared=parameters).incomparable.empty


def test_sides_are_checked_before_they_are_captured():
    """Broken: twelve runs later they are refused."""
    alike = {"chip": "v6e", "server_packages": {"flax": "1"}}
    check_comparability(CompareParameters(), {"control": alike, "test": {**alike, "sglang_jax": "0.0.3"}})
    with pytest.raises(ParameterError, match="package flax: control 1, test 2"):
        check_comparability(
            CompareParameters(), {"control": alike, "test": {**alike, "server_packages": {"flax": "2"}}}
        )


def test_sides_that_were_not_measured_in_turn_are_said():
    """Broken: sides that were not measured in turn are compared without a warning."""
    later = side(at=1)
    for run_ in later:
        run_.run.manifest.started_s += 1e6
    assert any("not measured alternately" in text for text in caveats(compared(test=later)))
    assert not any("alternately" in text for text in caveats(compared()))


# ---- what is left out, and where it comes from


def test_runs_without_a_partner_and_phases_of_one_side_are_named():
    """Broken: runs without a partner, or phases of one side, are dropped silently."""
    test = side(pairs=7, at=1)
    test[2].phases = (*test[2].phases, phase(name="large"))
    comparison = compare(side(), test)
    assert comparison.pairs == 6
    assert len(comparison.excluded) == 2
    assert any("large" in text for text in comparison.excluded)


def test_pairs_are_made_in_the_order_of_time():
    """Broken: a drift of the machine affects one side more than the other."""
    control = [run(phase(factor=2.0**number), started_s=number) for number in range(6)]
    test = [run(phase(factor=2.0**number), started_s=number + 0.5) for number in reversed(range(6))]
    assert set(compare(control, test).metrics["ratio"].round(6)) == {1.0}


def test_no_common_phase_is_an_error():
    """Broken: sides without a common phase give an empty report."""
    with pytest.raises(ValueError, match="no phase is common to all runs"):
        compare([run(phase(name="small"))], [run(phase(name="large"))])


def test_stacks_that_vanished_and_that_are_new():
    """Broken: stacks that only one side has are hidden, since widths follow the other side."""
    comparison = compared(side(stack="main@a.py > old@b.py:7"), side(stack="main@a.py > new@b.py:9", at=1))
    table = tables.stacks_table(comparison)
    assert set(table["which"]) == {"vanished", "new"}
    assert table.set_index("which").loc["new", "stack, innermost first"] == "new (b.py) < main (a.py)"


def test_the_same_code_in_another_installation_and_on_another_line_is_the_same_stack():
    """Broken: the same function in another installation or on another line is called new."""
    control = side(stack="work@/opt/server/lib/python3.12/site-packages/sgl_jax/a.py:7")
    test = side(stack="work@/opt/baseline/lib/python3.12/site-packages/sgl_jax/a.py:9", at=1)
    comparison = compare(control, test)
    assert len(comparison.stacks) == 1
    assert tables.stacks_table(comparison).empty


def test_functions_by_the_change_of_their_time():
    """Broken: functions are not sorted by the change of their time."""
    row = tables.functions_table(compared(test=side(2.0, at=1))).iloc[0]
    assert row["function"] == "work (sgl_jax/a.py)"
    assert row["time"] == "self"
    assert row["change_ms"] == pytest.approx(4, abs=0.2)


# ---- for automation


@pytest.mark.parametrize(
    ("fail_on", "factor", "fails"),
    [
        ("never", 2.0, False),
        ("regression", 2.0, True),
        ("regression", 1.0, False),
        ("regression", 0.5, False),
        ("not_improved", 0.5, False),
        ("not_improved", 1.0, True),
        ("not_improved", 2.0, True),
    ],
)
def test_gate(fail_on, factor, fails):
    assert report_of(compared(test=side(factor, at=1)), fail_on=fail_on).gate_fails == fails


def test_gate_does_not_pass_what_could_not_be_judged():
    """Broken: a branch whose every request fails, or four slow pairs, pass."""
    nothing = compared(side(failed=40), side(failed=40, at=1))
    assert report_of(nothing).verdict == BLOCKED, "no scores were checked"
    assert report_of(nothing, fail_on="regression").gate_fails
    assert report_of(compared(side(pairs=4), side(2.0, pairs=4, at=1)), fail_on="regression").gate_fails


def test_gate_stops_what_returns_other_scores():
    """Broken: a gate passes a branch that returns other scores."""
    assert report_of(compared(test=side(0.5, scores=0.35, at=1)), fail_on="regression").gate_fails


def test_json_is_json_and_says_what_the_report_says(tmp_path):
    """Broken: comparison.json is not valid JSON, or differs from the report."""
    report = report_of(compared(side(pairs=1), side(1.5, pairs=1, at=1)), compare_dir=tmp_path)
    write_files(report)
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert_matches_schema(written, "comparison")
    assert written["verdict"] == report.verdict
    assert written["metrics"][1]["low"] is None
    assert written["pairs"] == 1
    assert len((tmp_path / "comparison.md").read_text()) < 6000
