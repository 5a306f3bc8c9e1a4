"""A run as tables: they agree with the report, and the notebook's ten questions are answered."""

import json

import pandas as pd
import pytest

from scoreprof_nb.explore import Run, run_tables
from scoreprof_nb.run_folder.records import RunFolderError
from tests.support.paths import ROOT
from tests.support.written_run import GOOD, write_run

NOTEBOOK = ROOT / "notebooks" / "explore_run.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("explore") / "run"
    log = "".join(f"{r['sent_ns'] / 1e9 + 0.05:.6f} Prefill batch. #new-seq: 4\n" for r in GOOD)
    write_run(path, recording="timed", phases=2, log=log)
    return path


@pytest.fixture(scope="module")
def run(folder):
    return Run.load(folder)


def test_tables_have_the_documented_columns(run):
    """Broken: a notebook of last month fails, since a column has another name."""
    assert tuple(run.requests.columns) == run_tables.REQUEST_COLUMNS
    assert tuple(run.ticks.columns) == run_tables.TICK_COLUMNS
    assert tuple(run.path.columns) == run_tables.PATH_COLUMNS
    assert tuple(run.stacks().columns) == run_tables.STACK_COLUMNS
    assert tuple(run.log_events.columns) == run_tables.EVENT_COLUMNS


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("run.requests", run_tables.REQUEST_COLUMNS),
        ("run.path", run_tables.PATH_COLUMNS),
        ("run.ticks", run_tables.TICK_COLUMNS),
        ("run.stacks()", run_tables.STACK_COLUMNS),
        ("run.log_events", run_tables.EVENT_COLUMNS),
    ],
)
def test_columns_are_documented(table, columns):
    """Broken: a column is in no document, or a document promises one that is not there."""
    page = (ROOT / "docs" / "explore.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{table}`")]
    assert [cell.strip() for cell in row.split("|")][3].split(", ") == list(columns)


def test_breakdown_is_the_reports_request_path(run):
    """Broken: a question after the report gets another answer than the report."""
    asked = run.breakdown(["phase", "component"]).set_index(["phase", "component"])["ms"]
    paths = run.report.analysis.paths().set_index(["phase", "component"])["mean_ms"]
    pd.testing.assert_series_equal(
        asked[asked > 0].sort_index(), paths.sort_index(), check_names=False, rtol=1e-6
    )


@pytest.mark.parametrize("by", [["component"], ["phase", "group"], ["split", "kind_of_work"], ["items"]])
def test_breakdown_by_any_columns_sums_to_the_latency(run, by):
    table = run.breakdown(by)
    over = [name for name in by if name in ("phase", "split", "items")]
    shares = table.groupby(over)["share"].sum() if over else pd.Series([table["share"].sum()])
    assert shares.tolist() == pytest.approx([1.0] * len(shares))


def test_unknown_column_is_an_error(run):
    with pytest.raises(KeyError, match="colour"):
        run.breakdown(["colour"])


def test_stacks_are_chosen_by_component_and_by_function(run):
    assert set(run.stacks(component="tokenize")["component"]) == {"tokenize"}
    chosen = run.stacks(function="calc_priority", phase="small")
    assert chosen["ms_per_request"].sum() == pytest.approx(50, rel=0.02)
    assert run.stacks(function="no such function").empty


def test_callers_and_callees(run):
    callers = run.callers("calc_priority", phase="small")
    assert callers["function"].tolist() == ["event_loop_overlap (scheduler.py)"]
    assert callers["share"].tolist() == [1.0]
    callees = run.callees("event_loop_overlap", phase="small")
    assert callees["function"].iloc[0].startswith("calc_priority")
    assert run.callees("calc_priority")["function"].tolist() == ["(itself)"]


def test_other_rules_need_no_capture(run, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\ncomponent = "gc"\nprocess = ["scheduler"]\nany = ["calc_priority"]\n')
    assert "gc" in set(run.with_rules(rules).breakdown("component")["component"])
    assert "gc" not in set(run.breakdown("component")["component"])


def test_run_shows_its_answer_and_its_tables(run):
    html = run._repr_html_()
    assert "is limited by" in html
    assert "run.requests" in html


def test_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(RunFolderError):
        Run.load(tmp_path)


def test_every_question_of_the_notebook_is_answered(folder):
    """Broken: a cell of the notebook that people learn from fails, or shows an empty table."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.user_ns["display"] = lambda *tables: None
    questions = 0
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            questions += source.startswith("## ") and source[3].isdigit()
            continue
        if "parameters" in cell["metadata"].get("tags", ()):
            source = f"run_dir, rules_file = {str(folder)!r}, ''"
        result = shell.run_cell(source)
        assert result.success, f"{source}\n{result.error_in_exec}"
        if isinstance(result.result, pd.DataFrame):
            assert not result.result.empty, source
    assert questions >= 10
