"""Capturing pairs: the order of the runs, what is resumed or refused, and which pairs are complete."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from scoreprof_nb.capture import pairs, session
from scoreprof_nb.capture.pairs import capture_pairs, complete_pairs, planned, stopped_beside, stopped_runs
from scoreprof_nb.capture.session import CaptureResult
from scoreprof_nb.comparison.guards import stopped_guard
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.sync import copy_results
from tests.support.progress import quiet
from tests.support.stored_run import make_run

PAIRS = 3


def from_mapping(**values):
    return CompareParameters.from_mapping(values)


@pytest.fixture
def captured(monkeypatch):
    """Replace the capture by one that ends at once; lists the parameters of each captured run."""
    runs = []

    def capture(parameters, say):
        runs.append(parameters)
        folder = make_run(Path(parameters.run_dir), "single", requested=("single",))
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
    """Broken: a drift of the machine affects one side more than the other."""
    order = [run.side for run in planned(from_mapping(compare_dir="c"), 4)]
    assert order == ["control", "test", "test", "control", "control", "test", "test", "control"]


def test_every_run_is_captured_once_and_resumed_if_it_stopped(tmp_path, captured):
    """Broken: runs are captured twice, or a stopped one is not resumed."""
    parameters = from_mapping(compare_dir=str(tmp_path))
    assert capture_pairs(parameters, PAIRS, quiet, alike, lambda of_run: None) is None
    assert len(captured) == 6
    make_run(tmp_path / "runs" / "pair-02-test", requested=("single", "small"))
    assert capture_pairs(parameters, PAIRS, quiet, alike, lambda of_run: None) is None
    assert [Path(of_run.run_dir).name for of_run in captured[6:]] == ["pair-02-test"]
    control, test = complete_pairs(parameters, PAIRS)
    assert [path.name for path in control] == [f"pair-{pair:02d}-control" for pair in (1, 2, 3)]
    assert [path.name for path in test] == [f"pair-{pair:02d}-test" for pair in (1, 2, 3)]


def test_server_failure_ends_the_capture_and_complete_pairs_are_compared(tmp_path, captured, monkeypatch):
    """Broken: a failed run is followed by further launches, or complete pairs are lost."""
    finish = session.capture

    def fail_third(parameters, say):
        return CaptureResult((), "the server died") if len(captured) == 3 else finish(parameters, say)

    monkeypatch.setattr(session, "capture", fail_third)
    parameters = from_mapping(compare_dir=str(tmp_path))
    failure = capture_pairs(parameters, PAIRS, quiet, alike, lambda of_run: None)
    assert failure == "control of pair 2: the server died"
    assert [len(paths) for paths in complete_pairs(parameters, PAIRS)] == [1, 1]


def test_next_attempt_on_another_machine_knows_what_stopped_a_run(tmp_path, captured, monkeypatch):
    """Broken: a branch that crashes now and then leaves no trace after the Job's retry."""
    finish = session.capture
    monkeypatch.setattr(
        session, "capture", lambda parameters, say: CaptureResult((), "the \x1b[31mserver died\nlog")
    )
    first, results = tmp_path / "first", tmp_path / "results"
    first.mkdir()
    parameters = from_mapping(compare_dir=str(first), results_dir=str(results))
    capture_pairs(parameters, PAIRS, quiet, alike, lambda of_run: None)
    copy_results(first, results)
    monkeypatch.setattr(session, "capture", finish)
    second = tmp_path / "second"
    second.mkdir()
    parameters = from_mapping(compare_dir=str(second), results_dir=str(results))
    assert capture_pairs(parameters, PAIRS, quiet, alike, lambda of_run: None) is None
    (text,) = stopped_runs(second)["control"]
    assert text.startswith("pair 1, 20")
    assert text.endswith(": the server died")
    assert stopped_runs(second)["test"] == []


def test_last_step_knows_what_stopped_on_other_nodes(tmp_path, captured, monkeypatch):
    """Broken: test crashes on every node, its retries finish, and `make compare` shows an improvement."""
    finish = session.capture
    results = tmp_path / "results"
    for index in (0, 1):

        def stop_test(parameters, say):
            stops = parameters.label == "test"
            return CaptureResult((), "the server died") if stops else finish(parameters, say)

        for attempt, capture in enumerate((stop_test, finish)):  # each time on an empty disk
            monkeypatch.setattr(session, "capture", capture)
            local = tmp_path / f"node-{index}-{attempt}"
            local.mkdir()
            parameters = from_mapping(
                pairs=2, pair_index=index, compare_dir=str(local), results_dir=str(results)
            )
            capture_pairs(parameters, 2, quiet, alike, lambda of_run: None)
            copy_results(local, Path(parameters.published_dir))
    for run in captured:
        copy_results(Path(run.run_dir), Path(run.results_dir))

    last_step = from_mapping(control=f"{results}/runs/pair-*-control", test=f"{results}/runs/pair-*-test")
    folders = last_step.runs_of("control"), last_step.runs_of("test")
    assert [len(runs) for runs in folders] == [2, 2]
    stopped = stopped_beside(folders)
    assert [text[:6] for text in stopped["test"]] == ["pair 1", "pair 2"]
    assert stopped["control"] == []
    assert stopped_guard(stopped).blocks


def test_stopped_runs_count_for_the_side_that_has_their_kind(tmp_path):
    """Broken: crashes of a branch that is control this time count against the other, or for a run of
    another folder."""
    for job in ("first", "second"):
        (tmp_path / job / "runs").mkdir(parents=True)
        (tmp_path / job / "stopped.tsv").write_text(f"control\t{job} control\ntest\t{job} test\n")
    folders = (
        (tmp_path / "first" / "runs" / "pair-01-test",),
        (tmp_path / "second" / "runs" / "pair-01-test",),
    )
    assert stopped_beside(folders) == {"control": ["first test"], "test": ["second test"]}
    alone = (tmp_path / "first" / "single-test",), (tmp_path / "second" / "single-control",)
    assert stopped_beside(alone) == {"control": [], "test": []}


def test_runs_measured_with_other_parameters_are_refused(tmp_path, captured):
    """Broken: the folder's old runs are compared as if they had the new flags."""
    capture_pairs(from_mapping(compare_dir=str(tmp_path)), PAIRS, quiet, alike, lambda of_run: None)
    other = from_mapping(compare_dir=str(tmp_path), test_server_flags="--x 1")
    with pytest.raises(ParameterError, match="test_server_flags='--x 1'"):
        capture_pairs(other, PAIRS, quiet, alike, lambda of_run: None)


def test_sides_are_checked_against_each_other_before_the_first_launch(tmp_path, captured):
    """Broken: incomparable sides are noticed after hours of capture."""

    def refuse(provenance):
        raise ParameterError("allow_unlike", False, "not alike")

    with pytest.raises(ParameterError, match="not alike"):
        capture_pairs(from_mapping(compare_dir=str(tmp_path)), PAIRS, quiet, refuse, lambda of_run: None)
    assert captured == []


def test_mistake_on_the_second_side_is_reported_before_the_first_launch(tmp_path, captured, monkeypatch):
    """Broken: a wrong parameter of the second side is noticed after the first side was captured."""

    def prepare(parameters, phases):
        if parameters.label == "test":
            raise ParameterError("server_python", "/no/python", "is not an executable file")
        return SimpleNamespace(provenance={})

    monkeypatch.setattr(pairs, "prepare", prepare)
    with pytest.raises(ParameterError, match="test_server_python"):
        capture_pairs(from_mapping(compare_dir=str(tmp_path)), PAIRS, quiet, alike, lambda of_run: None)
    assert captured == []


def test_node_captures_its_own_pair_in_its_place_of_the_order(tmp_path, captured):
    """Broken: several nodes capture the same pair, or all control first."""
    results = tmp_path / "results"
    for index in (1, 0):
        of_node = {"compare_dir": str(tmp_path / f"node-{index}"), "results_dir": str(results)}
        parameters = from_mapping(pairs=2, pair_index=index, **of_node)
        assert capture_pairs(parameters, 2, quiet, alike, lambda of_run: None) is None
        assert [[path.name for path in paths] for paths in complete_pairs(parameters, 2)] == [
            [f"pair-0{index + 1}-{side}"] for side in ("control", "test")
        ]
    assert [Path(of_run.results_dir) for of_run in captured] == [
        results / "runs" / name
        for name in ("pair-02-test", "pair-02-control", "pair-01-control", "pair-01-test")
    ]


def test_nodes_share_no_file_of_the_comparison(tmp_path):
    """Broken: each node overwrites the report of the others, or takes their stopped runs for its own."""
    shared = {"pairs": 2, "results_dir": "/results/c"}
    assert from_mapping(**shared).published_dir == "/results/c"
    published = [from_mapping(**shared, pair_index=index).published_dir for index in (0, 1)]
    assert published == ["/results/c/pairs/pair-01", "/results/c/pairs/pair-02"]
    assert from_mapping(pairs=2, pair_index=0).published_dir == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pairs": 2, "pair_index": 2}, "must be below pairs=2"),
        ({"pair_index": -2}, "from -1 to 999"),
        ({"pair_index": 0, "control": "a", "test": "b"}, "compared all at once"),
        ({"pair_index": 0, "fail_on": "regression"}, "one pair has no verdict"),
    ],
)
def test_a_pair_that_cannot_be_captured_alone_is_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        from_mapping(**values)
