"""The comparing notebook's parameters, the order of its runs, and that no run is captured twice."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from papermill.inspection import inspect_notebook

from scoreprof_nb.capture import pairs, session
from scoreprof_nb.capture.pairs import capture_pairs, complete_pairs, planned, stopped_runs
from scoreprof_nb.capture.session import CaptureResult
from scoreprof_nb.parameters.compare import OF_SIDE, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.sync import copy_results
from tests.support.paths import COMPARE_NOTEBOOK as NOTEBOOK
from tests.support.stored_run import make_run

DEFAULTS = CompareParameters()


def from_mapping(**values):
    return CompareParameters.from_mapping(values)


def quiet(text):
    pass


# ---- the notebook


def test_parameter_cell_is_the_class():
    """papermill --help-notebook shows exactly what the code accepts."""
    shown = inspect_notebook(str(NOTEBOOK))
    assert list(shown) == list(CompareParameters.model_fields)
    for name in CompareParameters.model_fields:
        assert shown[name]["help"] == CompareParameters.help_of(name), name


def test_parameter_cell_has_the_defaults():
    cell = next(c for c in nbformat.read(NOTEBOOK, 4).cells if "parameters" in c.metadata.get("tags", []))
    namespace = {}
    exec(cell.source, namespace)
    assert {name: namespace[name] for name in DEFAULTS.as_dict()} == DEFAULTS.as_dict()


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
    with pytest.raises(ParameterError, match=f"parameter {named}="):
        from_mapping(**{name: value})


def test_wrong_value_of_a_side_has_the_sides_name():
    """The user wrote test_server_environment, and would search in vain for server_environment."""
    with pytest.raises(ParameterError, match="parameter test_server_environment="):
        from_mapping(test_server_environment="no equals sign")
    with pytest.raises(ParameterError, match="parameter control_label="):
        from_mapping(control_label=" ")


def test_each_side_has_its_own_server_and_shares_the_rest():
    parameters = from_mapping(
        test_server_flags="--x 1", model_path="/models/a", test_model_path="/models/b", phase_s=9, rate_hz=50
    )
    control, test = (parameters.of_run(side, Path("r")) for side in ("control", "test"))
    differ = {name for name, value in control.as_dict().items() if test.as_dict()[name] != value}
    assert differ == {"server_flags", "model_path", "label"}
    assert (control.model_path, test.model_path) == ("/models/a", "/models/b")
    assert (test.phase_s, test.rate_hz) == (9, 50)


def test_every_profiling_parameter_can_be_given():
    """Without a parameter here, no comparison can be made under it."""
    missing = Parameters.names() - CompareParameters.names()
    assert missing - set(OF_SIDE) == {"run_dir", "port", "server_url"}


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
    assert from_mapping(fail_on="regression", pairs=5).captures


def test_each_run_has_a_results_folder_of_its_own():
    parameters = from_mapping(results_dir="/results/x")
    assert (
        parameters.of_run("test", Path("c/runs/pair-01-test")).results_dir == "/results/x/runs/pair-01-test"
    )


def test_run_folders_by_name_and_by_pattern(tmp_path):
    for name in ("main-1", "main-2", "fixes-1"):
        make_run(tmp_path / name, "single")
    parameters = from_mapping(control=f"{tmp_path}/main-*", test=f"{tmp_path}/fixes-1, {tmp_path}/main-2")
    assert [path.name for path in parameters.runs_of("control")] == ["main-1", "main-2"]
    assert [path.name for path in parameters.runs_of("test")] == ["fixes-1", "main-2"]


@pytest.mark.parametrize("text", ["{0}/nothing", "{0}/none-*", "{0}/run, {0}/run"])
def test_name_without_a_run_is_an_error(tmp_path, text):
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
    """All of its runs may be complete, so that nothing but the comparison is made again."""
    (tmp_path / "runs").mkdir()
    values = {"test_model_path": str(tmp_path / "none"), name: str(tmp_path)}
    from_mapping(**values).check_files()


@pytest.mark.parametrize("name", ["compare_dir", "results_dir"])
def test_history_may_begin_with_the_runs_that_are_captured_now(tmp_path, name):
    folder = tmp_path / "made-by-the-capture"
    values = {"test_server_flags": "--x 1", "history": str(folder), name: str(folder / "new")}
    from_mapping(**values).check_files()


# ---- capturing pairs


@pytest.fixture
def captured(monkeypatch):
    """Replace the capture by one that ends at once; lists the parameters of each captured run."""
    runs = []

    def capture(parameters, say):
        runs.append(parameters)
        folder = make_run(Path(parameters.run_dir), "single", asked=("single",))
        manifest = folder.read_manifest()
        folder.write_manifest(
            dataclasses.replace(manifest, status="complete", parameters=parameters.as_dict())
        )
        return CaptureResult(("single",))

    monkeypatch.setattr(session, "capture", capture)
    monkeypatch.setattr(pairs, "prepare", lambda parameters, phases: SimpleNamespace(provenance={}))
    return runs


def alike(provenance):
    assert set(provenance) == {"control", "test"}


def test_sides_alternate_so_that_drift_affects_both():
    order = [run.side for run in planned(from_mapping(pairs=4, compare_dir="c"))]
    assert order == ["control", "test", "test", "control", "control", "test", "test", "control"]


def test_every_run_is_captured_once_and_resumed_if_it_stopped(tmp_path, captured):
    parameters = from_mapping(pairs=3, compare_dir=str(tmp_path))
    assert capture_pairs(parameters, quiet, alike, lambda of_run: None) is None
    assert len(captured) == 6
    make_run(tmp_path / "runs" / "pair-02-test", asked=("single", "small"))
    assert capture_pairs(parameters, quiet, alike, lambda of_run: None) is None
    assert [Path(of_run.run_dir).name for of_run in captured[6:]] == ["pair-02-test"]
    control, test = complete_pairs(parameters)
    assert [path.name for path in control] == [f"pair-{pair:02d}-control" for pair in (1, 2, 3)]
    assert [path.name for path in test] == [f"pair-{pair:02d}-test" for pair in (1, 2, 3)]


def test_server_failure_ends_the_capture_and_complete_pairs_are_compared(tmp_path, captured, monkeypatch):
    finish = session.capture

    def fail_third(parameters, say):
        return CaptureResult((), "the server died") if len(captured) == 3 else finish(parameters, say)

    monkeypatch.setattr(session, "capture", fail_third)
    parameters = from_mapping(pairs=3, compare_dir=str(tmp_path))
    failure = capture_pairs(parameters, quiet, alike, lambda of_run: None)
    assert failure == "control of pair 2: the server died"
    assert [len(paths) for paths in complete_pairs(parameters)] == [1, 1]


def test_next_attempt_on_another_machine_knows_what_stopped_a_run(tmp_path, captured, monkeypatch):
    """Broken: a branch that crashes now and then leaves no trace after the Job's retry."""
    finish = session.capture
    monkeypatch.setattr(session, "capture", lambda parameters, say: CaptureResult((), "the server died\nlog"))
    first, results = tmp_path / "first", tmp_path / "results"
    first.mkdir()
    parameters = from_mapping(pairs=1, compare_dir=str(first), results_dir=str(results))
    capture_pairs(parameters, quiet, alike, lambda of_run: None)
    copy_results(first, results)
    monkeypatch.setattr(session, "capture", finish)
    second = tmp_path / "second"
    second.mkdir()
    parameters = from_mapping(pairs=1, compare_dir=str(second), results_dir=str(results))
    assert capture_pairs(parameters, quiet, alike, lambda of_run: None) is None
    (text,) = stopped_runs(second)["control"]
    assert text.startswith("pair 1, 20")
    assert text.endswith(": the server died")
    assert stopped_runs(second)["test"] == []


def test_runs_measured_with_other_parameters_are_refused(tmp_path, captured):
    """Broken: the folder's old runs are compared as if they had the new flags."""
    capture_pairs(from_mapping(pairs=1, compare_dir=str(tmp_path)), quiet, alike, lambda of_run: None)
    other = from_mapping(pairs=1, compare_dir=str(tmp_path), test_server_flags="--x 1")
    with pytest.raises(ParameterError, match="test_server_flags='--x 1'"):
        capture_pairs(other, quiet, alike, lambda of_run: None)


def test_sides_are_checked_against_each_other_before_the_first_launch(tmp_path, captured):
    def refuse(provenance):
        raise ParameterError("allow_unlike", False, "not alike")

    with pytest.raises(ParameterError, match="not alike"):
        capture_pairs(from_mapping(compare_dir=str(tmp_path)), quiet, refuse, lambda of_run: None)
    assert captured == []


def test_mistake_on_the_second_side_is_reported_before_the_first_launch(tmp_path, captured, monkeypatch):
    def prepare(parameters, phases):
        if parameters.label == "test":
            raise ParameterError("server_python", "/no/python", "is not an executable file")
        return SimpleNamespace(provenance={})

    monkeypatch.setattr(pairs, "prepare", prepare)
    with pytest.raises(ParameterError, match="test_server_python"):
        capture_pairs(from_mapping(compare_dir=str(tmp_path)), quiet, alike, lambda of_run: None)
    assert captured == []
