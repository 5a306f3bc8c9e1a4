"""The comparison notebook's parameters: its cell, its values, and the files they name."""

from pathlib import Path

import nbformat
import pytest
from papermill.inspection import inspect_notebook

from scoreprof_nb.parameters.compare import OF_SIDE, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.parameters.what_if import WhatIfParameters
from tests.support.paths import COMPARE_NOTEBOOK as NOTEBOOK
from tests.support.stored_run import make_run

DEFAULTS = CompareParameters()


def from_mapping(**values):
    return CompareParameters.from_mapping(values)


# ---- the notebook


def test_parameter_cell_is_the_class():
    """Broken: papermill --help-notebook shows other parameters than the code accepts."""
    shown = inspect_notebook(str(NOTEBOOK))
    assert list(shown) == list(CompareParameters.model_fields)
    for name in CompareParameters.model_fields:
        assert shown[name]["help"] == CompareParameters.help_of(name), name


def test_parameter_cell_has_the_defaults():
    """Broken: the comparison notebook shows a default that does not hold."""
    cell = next(c for c in nbformat.read(NOTEBOOK, 4).cells if "parameters" in c.metadata.get("tags", []))
    namespace = {}
    exec(cell.source, namespace)
    for name in CompareParameters.model_fields:
        assert namespace[name] == CompareParameters.default_of(name), name


# ---- values


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("pairs", 0, "pairs"),
        ("delta", 0.04, "delta"),  # within the noise of nearly every machine
        ("history", "gs://bucket/runs", "history"),
        ("fail_on", "always", "fail_on"),
        ("phase_s", 1, "phase_s"),
        ("rate_hz", 0, "rate_hz"),
        ("pair", 6, "pair"),
        ("control", "runs/a", "test"),  # given without the other
    ],
)
def test_wrong_value_is_named(name, value, named):
    """Broken: a wrong value is accepted, or the error names another parameter."""
    with pytest.raises(ParameterError, match=f"parameter {named}="):
        from_mapping(**{name: value})


def test_wrong_value_of_a_side_has_the_sides_name():
    """Broken: the user wrote test_server_environment, and the error names server_environment."""
    with pytest.raises(ParameterError, match="parameter test_server_environment="):
        from_mapping(test_server_environment="no equals sign")
    with pytest.raises(ParameterError, match="parameter control_label="):
        from_mapping(control_label=" ")


def test_each_side_has_its_own_server_and_shares_the_rest():
    """Broken: a side gets the other side's server, or the sides do not share the rest."""
    parameters = from_mapping(
        test_server_flags="--x 1", model_path="/models/a", test_model_path="/models/b", phase_s=9, rate_hz=50
    )
    control, test = (parameters.of_run(side, Path("r")) for side in ("control", "test"))
    differ = {name for name, value in control.as_dict().items() if test.as_dict()[name] != value}
    assert differ == {"server_flags", "model_path", "label"}
    assert (control.model_path, test.model_path) == ("/models/a", "/models/b")
    assert (test.phase_s, test.rate_hz) == (9, "50")


def test_every_profiling_parameter_can_be_given():
    """Broken: no comparison can be made under some profiling parameter."""
    missing = Parameters.names() - CompareParameters.names()
    assert missing - set(OF_SIDE) - WhatIfParameters.names() == {
        "run_dir",
        "port",
        "server_url",
        "server_log",
    }


def test_history_adds_to_a_comparison():
    """Broken: with a history nothing is captured, and the gate passes without judging anything."""
    assert not from_mapping(history="runs").captures
    assert from_mapping(history="runs", test_server_flags="--x 1").captures
    with pytest.raises(ParameterError, match="fail_on"):
        from_mapping(history="runs", fail_on="regression")


def test_a_gate_needs_enough_pairs_for_a_verdict():
    """Broken: a branch that is twice as slow passes with four pairs."""
    with pytest.raises(ParameterError, match="pairs"):
        from_mapping(fail_on="regression", pairs=4)
    assert from_mapping(fail_on="regression", pairs=6).captures


@pytest.mark.parametrize("name", ["pairs", "pairs_at_most"])
def test_numbers_of_pairs_are_even(name):
    """Broken: one side is measured first more often, and a drift of the machine is called its change."""
    with pytest.raises(ParameterError, match=f"parameter {name}="):
        from_mapping(**{name: 9})
    assert from_mapping(**{name: 1}).captures


def test_capture_goes_on_only_where_a_verdict_may_follow():
    """Broken: one pair, for a quick look, takes 32 launches."""
    assert from_mapping(pairs=1).most_pairs == 1
    assert from_mapping().most_pairs == 16
    assert from_mapping(pairs=20).most_pairs == 20


def test_each_run_has_a_results_folder_of_its_own():
    """Broken: two runs of a comparison share a results folder."""
    parameters = from_mapping(results_dir="/results/x")
    assert (
        parameters.of_run("test", Path("c/runs/pair-01-test")).results_dir == "/results/x/runs/pair-01-test"
    )


def test_run_folders_by_name_and_by_pattern(tmp_path):
    """Broken: run folders cannot be given by name or by pattern."""
    for name in ("main-1", "main-2", "fixes-1"):
        make_run(tmp_path / name, "single")
    parameters = from_mapping(control=f"{tmp_path}/main-*", test=f"{tmp_path}/fixes-1, {tmp_path}/main-2")
    assert [path.name for path in parameters.runs_of("control")] == ["main-1", "main-2"]
    assert [path.name for path in parameters.runs_of("test")] == ["fixes-1", "main-2"]


@pytest.mark.parametrize("text", ["{0}/nothing", "{0}/none-*", "{0}/run, {0}/run"])
def test_name_without_a_run_is_an_error(tmp_path, text):
    """Broken: a name without a run is dropped silently."""
    make_run(tmp_path / "run", "single")
    parameters = from_mapping(control=text.format(tmp_path), test=str(tmp_path / "run"))
    with pytest.raises(ParameterError, match="control"):
        parameters.runs_of("control")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("noise_from", "{0}/none.json", "cannot be used"),
        ("noise_from", "{0}/broken.json", "cannot be used"),
        ("history", "{0}/none", "is not a folder"),
        ("history", "{0}/empty", "contains no run"),
        ("requests_file", "{0}/none.jsonl", "cannot be read"),
        ("requests_file", "{0}/broken.json", "line 1: not JSON"),
        ("test_model_path", "{0}/none", "no such folder"),
        ("control_server_python", "{0}/none", "is not an executable file"),
    ],
)
def test_file_that_cannot_be_used_is_named_before_anything_is_launched(tmp_path, name, value, problem):
    """Broken: the user learns of a missing file after hours of capture."""
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty").mkdir()
    values = {"test_server_flags": "--x 1", name: value.format(tmp_path)}
    with pytest.raises(ParameterError, match=rf"parameter {name}=.*{problem}"):
        from_mapping(**values).check_files()


def test_files_that_can_be_used_pass(tmp_path):
    """Broken: usable files are refused."""
    run = make_run(tmp_path / "runs" / "one", "single").path
    (run / "summary.json").write_text("{}")
    (tmp_path / "comparison.json").write_text("{}")
    (tmp_path / "own.jsonl").write_text('{"query": "q", "items": ["a"]}')
    from_mapping(
        test_server_flags="--x 1",
        noise_from=str(tmp_path / "comparison.json"),
        history=str(tmp_path / "runs"),
        requests_file=str(tmp_path / "own.jsonl"),
    ).check_files()


@pytest.mark.parametrize("name", ["compare_dir", "results_dir"])
def test_files_of_a_comparison_with_runs_are_left_to_the_capture(tmp_path, name):
    """Broken: a comparison whose runs are all captured cannot be made again without its model."""
    (tmp_path / "runs").mkdir()
    values = {"test_model_path": str(tmp_path / "none"), name: str(tmp_path)}
    from_mapping(**values).check_files()


@pytest.mark.parametrize("name", ["compare_dir", "results_dir"])
def test_history_may_begin_with_the_runs_that_are_captured_now(tmp_path, name):
    """Broken: a history is refused because the runs that will fill it are not captured yet."""
    folder = tmp_path / "made-by-the-capture"
    values = {"test_server_flags": "--x 1", "history": str(folder), name: str(folder / "new")}
    from_mapping(**values).check_files()
