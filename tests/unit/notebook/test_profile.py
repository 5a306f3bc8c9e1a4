"""The start and the end of the profiling notebook."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from scoreprof_nb.capture.session import CaptureResult
from scoreprof_nb.notebook import profile
from scoreprof_nb.notebook.profile import CaptureFailed, EveryRequestFailed, finish, plain_variables, start
from scoreprof_nb.parameters.schema import ParameterError


@pytest.fixture
def report(tmp_path):
    """A report whose phases have these numbers of good and of failed requests."""

    def make(*counts):
        phases = {
            f"phase-{number}": {"requests": {"sent": ok + failed, "ok": ok, "failed": failed}}
            for number, (ok, failed) in enumerate(counts)
        }
        (tmp_path / "summary.json").write_text(json.dumps({"phases": phases}))
        return SimpleNamespace(folder=tmp_path, analysis=SimpleNamespace(status=lambda: "partial"))

    return make


@pytest.fixture
def published(monkeypatch):
    """What the notebook leaves for the runner."""
    metadata = []
    monkeypatch.setattr(profile, "publish_run_metadata", lambda *values: metadata.append(values))
    return metadata


def test_run_without_a_successful_request_has_failed(report):
    """Broken: exit code 0 for a run in which nothing was measured."""
    with pytest.raises(EveryRequestFailed, match="no request succeeded, 8 failed"):
        finish(report((0, 5), (0, 3)), CaptureResult(("phase-0", "phase-1")))


@pytest.mark.parametrize("counts", [[(1, 99), (0, 3)], [(5, 0)]])
def test_run_with_a_successful_request_has_not_failed(report, counts, capsys):
    finish(report(*counts), CaptureResult(()))
    assert capsys.readouterr().out.startswith("run folder: ")


def test_missing_phases_are_the_first_thing_to_report(report):
    with pytest.raises(CaptureFailed, match="status partial: the server died"):
        finish(report((0, 5)), CaptureResult((), "the server died"))


def test_run_with_an_unanswered_phase_has_failed(report):
    """Broken: exit code 0 for a run that lacks a phase."""
    with pytest.raises(CaptureFailed, match="every request failed in phase b. Start it again"):
        finish(report((5, 0), (0, 3)), CaptureResult(("a", "b"), "every request failed in phase b", ("b",)))


@pytest.mark.parametrize("error", [CaptureFailed("why"), EveryRequestFailed("why")])
def test_failure_is_one_line_in_the_notebook(error):
    assert error._render_traceback_() == [f"{type(error).__name__}: why"]


@pytest.mark.parametrize("name", ["rules_file", "requests_file"])
def test_file_is_checked_before_anything_is_captured(published, tmp_path, name):
    with pytest.raises(ParameterError, match=f"parameter {name}="):
        start({name: str(tmp_path / "none")})
    assert published == []


def test_folders_are_absolute_and_known_to_the_runner(published, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    parameters = start({"run_dir": "runs/a", "hold_s": 3})
    assert parameters.run_dir == str(tmp_path / "runs" / "a")
    assert published == [(parameters.run_dir, "", 3.0)]


def test_secret_is_not_in_the_error(published):
    with pytest.raises(ParameterError) as caught:
        start({"server_environment": "API_KEY=verysecret oops"})
    assert "verysecret" not in str(caught.value)


def test_misspelt_variable_is_an_error_in_a_fresh_notebook_only():
    namespace = {"phase_z": 1, "phase_s": 2, "Path": Path, "_hidden": 1, "In": ["", "1"]}
    assert plain_variables(namespace, frozenset({"phase_s"})) == {"phase_z": 1, "phase_s": 2}
    namespace["In"] = ["cell"] * 9
    assert plain_variables(namespace, frozenset({"phase_s"})) == {"phase_s": 2}
