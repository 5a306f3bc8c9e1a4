"""A comparison that goes on on another host: both runs of a pair are on one."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from scoreprof_nb.capture import pairs, session
from scoreprof_nb.capture.pairs import capture_pairs, complete_pairs
from scoreprof_nb.capture.session import CaptureResult
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.sync import copy_run, restore_run
from tests.support.progress import quiet
from tests.support.stored_run import make_run


class Preempted(Exception):
    pass


@pytest.fixture
def nodes(monkeypatch, tmp_path):
    """Captures on nodes with empty disks that share a results folder. ``captured``: (node, run); ``left``: how
    many runs until the node is preempted."""
    state = SimpleNamespace(captured=[], node="", left=0)

    def capture(parameters, say):
        folder = RunFolder(Path(parameters.run_dir))
        restore_run(Path(parameters.results_dir), folder.path)
        if folder.has_manifest():
            return CaptureResult(())
        if state.left == 0:
            raise Preempted
        state.left -= 1
        state.captured.append((state.node, folder.path.name))
        make_run(folder.path, "single", requested=("single",))
        complete = dataclasses.replace(
            folder.read_manifest(), status="complete", parameters=parameters.as_dict()
        )
        folder.write_provenance({"node": state.node, "host": "pod"})
        folder.write_manifest(complete)
        copy_run(folder.path, Path(parameters.results_dir))
        return CaptureResult(("single",))

    def prepare(parameters, phases):
        return SimpleNamespace(provenance={"node": state.node, "host": "another pod"})

    def go_on(node, runs, **values):
        state.node, state.left = node, runs
        compare_dir = tmp_path / f"disk-{len(state.captured)}"
        values = {"compare_dir": str(compare_dir), "results_dir": str(tmp_path / "results"), **values}
        parameters = CompareParameters.from_mapping(values)
        capture_pairs(parameters, 2, quiet, lambda provenance: None, lambda run: None)
        return complete_pairs(parameters, 2)

    monkeypatch.setattr(session, "capture", capture)
    monkeypatch.setattr(pairs, "prepare", prepare)
    state.go_on = go_on
    return state


def hosts(folders):
    return [RunFolder(path).read_provenance()["node"] for path in folders]


def test_pair_that_was_interrupted_is_captured_again_on_one_node(nodes):
    """Broken: after a preemption within the last pair, test has a node that control never met, and a comparison
    that took hours is refused."""
    with pytest.raises(Preempted):
        nodes.go_on("a", 3)
    control, test = nodes.go_on("b", 2)
    assert nodes.captured == [
        *(("a", f"pair-01-{side}") for side in ("control", "test")),
        *(("a", "pair-02-test"), ("b", "pair-02-test"), ("b", "pair-02-control")),
    ]
    assert hosts(control) == hosts(test) == ["a", "b"]


def test_pair_that_was_interrupted_goes_on_on_its_node(nodes):
    """Broken: a Pod that starts again on its node measures a finished run again."""
    with pytest.raises(Preempted):
        nodes.go_on("a", 3)
    nodes.go_on("a", 1)
    assert [run for _, run in nodes.captured][3:] == ["pair-02-control"]


def test_whole_pairs_are_kept_on_every_node(nodes):
    """Broken: the TPU time of finished pairs is lost."""
    nodes.go_on("a", 4)
    control, test = nodes.go_on("b", 0)
    assert hosts(control) == hosts(test) == ["a", "a"]


def test_index_of_many_nodes_has_its_pair_on_one_node(nodes):
    """Broken: one preempted Pod of twelve makes the last step refuse all pairs."""
    of_index = {"pairs": 2, "pair_index": 0}
    with pytest.raises(Preempted):
        nodes.go_on("a", 1, **of_index)
    control, test = nodes.go_on("b", 2, **of_index)
    assert hosts(control) == hosts(test) == ["b"]


def test_bucket_that_cannot_be_read_just_now_loses_no_run(nodes, monkeypatch):
    """Broken: a finished run is removed because its partner's manifest could not be read once."""
    nodes.go_on("a", 4)
    read = RunFolder.read_manifest

    def fails(folder):
        if folder.path.name == "pair-02-test" and "results" in folder.path.parts:
            raise RunFolderError("no") from OSError("input/output error")
        return read(folder)

    with monkeypatch.context() as broken:
        broken.setattr(RunFolder, "read_manifest", fails)
        with pytest.raises(OSError, match="input/output"):
            nodes.go_on("b", 0)
    control, test = nodes.go_on("b", 0)
    assert hosts(control) == hosts(test) == ["a", "a"]
