"""A what-if experiment in the report and in summary.json, from a run folder with known numbers."""

import json
import re

import pytest

from scoreprof_nb import plots
from scoreprof_nb.notebook import sections
from scoreprof_nb.report import leads, profile_tables, what_if_table
from scoreprof_nb.report.answer import answer
from scoreprof_nb.report.component_tables import component_table, findings_overview
from scoreprof_nb.report.finding_cards import finding_cards
from scoreprof_nb.report.group_table import group_table
from scoreprof_nb.report.summary_markdown import summary_markdown
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.store import load_run
from scoreprof_nb.run_folder.what_if import Delayed, WhatIf, read_what_if, write_what_if
from tests.support.figures import assert_fits
from tests.support.what_if_run import BATCHES, TOKENIZES, Served, write_experiment
from tests.support.written_run import reported, write_run

SEE = "(see what-if)"
USUAL_MS, DELAY_MS = (20.0, 50.0), 20.0
TOKENIZE, BATCH, GONE = (
    Delayed("tokenize", "m:T._tokenize_one_request", calls=4.0, delay_ns=5_000_000),
    Delayed("batch", "m:P.calc_priority", calls=1.0, delay_ns=20_000_000),
    Delayed("softmax", "m:softmax", left_out="this server has no such function"),
)


def write(folder, *, lost=False, hidden=False):
    """A request tokenises for 20 ms and is in a batch for 50 ms, each 20 ms longer when delayed.

    ``lost``: the samples show half of the delay of tokenising as batch. ``hidden``: the latency does not
    grow with the batch's delay, which the stacks show instead of the time after it.
    """

    def serve(delayed):
        tokenizes, batches = USUAL_MS
        tokenizes += DELAY_MS * (delayed == 0)
        batches += DELAY_MS * (delayed == 1)
        shown = tokenizes - (DELAY_MS / 2 if lost and delayed == 0 else 0)
        return Served(
            http=[(TOKENIZES, 0, shown)],
            scheduler=[(BATCHES, shown, tokenizes + batches)],
            latency_ms=10 + tokenizes + batches - (DELAY_MS if hidden and delayed == 1 else 0),
        )

    write_experiment(folder, (TOKENIZE, BATCH, GONE), serve)


def made(path, **changes):
    write_run(path, recording="timed")
    folder = RunFolder(path).phase_path("small")
    write(folder, **changes)
    return reported(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(report, summary.json) of an experiment in which everything is felt and found."""
    return made(tmp_path_factory.mktemp("what-if") / "run")


def effect(report, number):
    return report.analysis.phases[0].what_if.effects[number]


def test_what_is_put_in_is_found_and_felt(run):
    """Broken: the whole way from the run folder to the numbers gives other ones."""
    for number in (0, 1):
        one = effect(run[0], number)
        assert one.put_in_ms == pytest.approx(DELAY_MS)
        assert one.sensitivity.value == pytest.approx(1.0, abs=0.01)
        assert one.path.value == pytest.approx(1.0, abs=0.15), one
        assert one.found.value == pytest.approx(1.0, abs=0.15), one
        assert one.calibrated
        assert not one.path_is_wrong


def test_summary_has_the_experiment(run):
    """Broken: a tool finds other numbers than the report shows."""
    what_if = run[1]["phases"]["small"]["what_if"]
    assert (what_if["put_in_ms"], what_if["kind"], what_if["rounds"]) == (20.0, "spin", 8)
    tokenize, batch = what_if["functions"]
    assert tokenize["calls_per_request"] == 4.0
    assert tokenize["sensitivity"]["mean"] == pytest.approx(1.0, abs=0.01)
    assert tokenize["throughput_per_ms"] is None
    assert batch["calibrated"] is True
    assert what_if["left_out"] == [
        {"component": "softmax", "function": "m:softmax", "reason": "this server has no such function"}
    ]
    assert set(what_if["felt_ms"]) == {"tokenize", "batch"}
    assert what_if["felt_ms"]["tokenize"]["mean"] == pytest.approx(20.0, rel=0.1)


def test_a_run_without_an_experiment_has_none(tmp_path):
    """Broken: a report promises what was not measured."""
    write_run(tmp_path, recording="timed")
    report, summary = reported(tmp_path)
    assert summary["phases"]["small"]["what_if"] is None
    assert sections.what_if(report) is None
    assert not any("what-if" in check.name for check in report.analysis.phases[0].quality.checks)


def test_section_says_what_it_is_about(run):
    section = sections.what_if(run[0])
    assert "removing batch would save" in section.lead
    conditions = what_if_table.conditions_markdown(run[0])
    assert "softmax (softmax) is left out: this server has no such function" in conditions
    assert "0.8 µs per request" in conditions  # 5 calls of 150 ns
    ranking = what_if_table.ranking_table(run[0])
    assert list(ranking["component"])[:2] == ["batch", "tokenize"]
    assert len(what_if_table.sensitivity_table(run[0])) == len(what_if_table.calibration_table(run[0])) == 2
    assert what_if_table.load_table(run[0]).empty


def test_figure_shows_both_numbers_of_each_function(run):
    figure = plots.plot_what_if(what_if_table.sensitivity_curve(run[0]))
    assert_fits(figure, figure.axes[:1])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["tokenize: _tokenize_one_request", "batch: calc_priority"]
    assert "n = 8 rounds" in figure.get_supxlabel()
    nothing = what_if_table.sensitivity_curve(run[0]).iloc[:0]
    assert "Not shown" in plots.plot_what_if(nothing).axes[0].texts[0].get_text()


def test_a_component_whose_samples_are_wrong_is_marked_wherever_it_is_read(tmp_path):
    """Broken: a rule takes half of a component's stacks for another's, and its numbers look like the others."""
    report, summary = made(tmp_path, lost=True)
    assert effect(report, 0).calibrated is False
    mark = "of each ms put in here, the samples find 0.5"
    texts = {finding["component"]: finding["text"] for finding in summary["findings"]}
    assert mark in texts["tokenize"]
    assert mark not in texts["batch"]
    assert mark in str(finding_cards(report).text)
    for table, name in (
        (component_table(report).rows, "tokenize"),
        (findings_overview(report).rows, "tokenize"),
        (profile_tables.cpu_table(report), "tokenize"),
        (profile_tables.threads_table(report), "http"),
        (group_table(report.analysis).rows, "tokenizer"),
    ):
        (row,) = [row for row in table.astype(str).itertuples(index=False) if SEE in str(row)]
        assert name in str(row)
    assert SEE in leads.path_lead(report)
    assert "what-if" not in answer(report), "it names batch"
    text = summary_markdown(report, "nowhere")
    assert (text.count(SEE), text.count(mark)) == (2, 1), "group and component; finding"
    failed = [check.name for check in report.analysis.phases[0].quality.checks if check.passed is False]
    assert "known delays are found where they were put in" in failed


def test_a_hidden_component_is_not_what_the_path_says(tmp_path):
    """Broken: the report promises a gain that an experiment of the same run has disproved."""
    report, _ = made(tmp_path, hidden=True)
    one = effect(report, 1)
    assert one.sensitivity.high < 0.1
    assert one.path.low > 0.5
    assert one.path_is_wrong
    assert "the request path is wrong for batch" in sections.what_if(report).lead
    assert re.search(r"try first batch .*; what-if: ", answer(report))


def test_an_experiment_without_a_function_says_so(tmp_path):
    """Broken: a branch that has none of the functions has no report."""
    write_run(tmp_path, recording="timed")
    folder = RunFolder(tmp_path).phase_path("small")
    write_what_if(folder, WhatIf(20.0, "spin", 150.0, (GONE,), ()), [])
    report, summary = reported(tmp_path)
    assert summary["phases"]["small"]["what_if"]["functions"] == []
    assert sections.what_if(report).lead
    assert GONE.left_out in what_if_table.conditions_markdown(report)


@pytest.mark.parametrize("name", ["what-if.json", "what-if-requests.parquet"])
def test_a_damaged_file_is_named(tmp_path, name):
    write_run(tmp_path, recording="off")
    folder = RunFolder(tmp_path).phase_path("small")
    write(folder)
    (folder / name).write_text("{")
    with pytest.raises(RunFolderError, match=name):
        read_what_if(folder)


def test_a_recording_that_is_gone_leaves_the_sensitivities(tmp_path):
    """Broken: the loss of one file hides what was measured without py-spy."""
    write_run(tmp_path, recording="timed")
    folder = RunFolder(tmp_path).phase_path("small")
    write(folder)
    for path in folder.glob("what-if-*.speedscope.json"):
        path.write_text("{")
    report, summary = reported(tmp_path)
    one = effect(report, 0)
    assert one.sensitivity.known
    assert not one.path.known
    assert one.calibrated is None
    assert summary["phases"]["small"]["what_if"]["functions"][0]["found"] is None
    assert "round 2" in what_if_table.conditions_markdown(report)


def test_files_of_the_experiment_are_in_the_run(tmp_path):
    write_run(tmp_path, recording="off")
    write(RunFolder(tmp_path).phase_path("small"))
    record = json.loads((tmp_path / "phases" / "small" / "what-if.json").read_text())
    assert [function["component"] for function in record["functions"]] == ["tokenize", "batch", "softmax"]
    assert load_run(tmp_path).phases["small"].record.blocks[0].number == 0
