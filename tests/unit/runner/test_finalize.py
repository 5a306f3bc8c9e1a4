"""The end of a run: what log, termination message and results folder show once the machine is gone."""

import json
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from scoreprof_nb.run_folder.files import RUN_MIME
from scoreprof_nb.runner.executed_notebook import read_executed_notebook
from scoreprof_nb.runner.finalize import (
    MESSAGE_BYTES,
    TERMINATION_LOG,
    print_summary,
    publish_results,
    results_are_missing,
    write_termination_message,
)
from tests.support.stored_run import make_run


@pytest.fixture
def executed(tmp_path):
    """Make an executed notebook that names a run folder and a results folder."""

    def make(error=None, given=None):
        run_metadata = {"run_dir": str(tmp_path / "run"), "results_dir": str(tmp_path / "bucket")}
        outputs = [new_output("display_data", {RUN_MIME: run_metadata})]
        if error:
            outputs.append(new_output("error", ename=error[0], evalue=error[1], traceback=[]))
        path = tmp_path / "out.ipynb"
        metadata = {"papermill": {"parameters": given or {}}}
        nbformat.write(new_notebook(cells=[new_code_cell("", outputs=outputs)], metadata=metadata), path)
        return read_executed_notebook(path)

    return make


def write_summary(folder, **changes):
    summary = {
        "run_id": "first",
        "status": "complete",
        "phases": {"single": {"latency_ms": {"p50": 44.5}}, "small": {"latency_ms": {"p50": None}}},
        "findings": [{"text": "single: device_wait takes 20 ms"}, {"text": "less"}],
        **changes,
    }
    (folder.path / "summary.json").write_text(json.dumps(summary))
    (folder.path / "summary.md").write_text("# run: complete\n\nReport: somewhere\n")


def test_report_and_summary_are_in_the_results_folder_and_the_manifest_is_last(tmp_path, executed):
    folder = make_run(tmp_path / "run", "single")
    write_summary(folder)
    report = publish_results(executed())
    assert report == tmp_path / "bucket" / "report.ipynb"
    for name in ("report.ipynb", "report.html", "summary.json", "summary.md", "manifest.json"):
        assert (tmp_path / "bucket" / name).exists()


def test_secrets_of_the_parameters_are_kept_nowhere(tmp_path, executed, monkeypatch, capsys):
    """Broken: a bucket and a cluster's log contain the key of a registry."""
    make_run(tmp_path / "run", "single")
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "termination"))
    given = {"server_environment": "REGISTRY_KEY=mysecretvalue", "server_flags": "--api-key othersecret"}
    failed = executed(("ServerFailed", "mysecretvalue and othersecret are wrong"), given)
    report = publish_results(failed)
    write_termination_message(1, failed, report)
    print_summary(failed)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.ipynb", "report.html", "termination"} <= {path.name for path in kept}
    for path in kept:
        if path.name != "out.ipynb" or path.parent != tmp_path:
            assert b"mysecretvalue" not in path.read_bytes(), path
            assert b"othersecret" not in path.read_bytes(), path
    assert "secret" not in failed.error
    assert "[redacted] and [redacted] are wrong" in failed.error


def test_report_stays_in_the_run_folder_without_a_results_folder(tmp_path, executed, capsys):
    make_run(tmp_path / "run", "single")
    (tmp_path / "bucket").write_text("not a folder")
    report = publish_results(executed())
    assert report == tmp_path / "run" / "report.ipynb"
    assert "could not copy" in capsys.readouterr().err
    assert results_are_missing(executed(), report), "exit code 0 would make the Job complete"


def test_results_are_not_missing_where_they_were_copied_or_not_asked_for(tmp_path, executed):
    """Broken: every run fails at its end."""
    make_run(tmp_path / "run", "single")
    assert not results_are_missing(executed(), publish_results(executed()))
    nowhere = replace(executed(), results_dir=None)
    assert not results_are_missing(nowhere, publish_results(nowhere))


def test_log_alone_answers_the_question(tmp_path, executed, capsys):
    write_summary(make_run(tmp_path / "run", "single"))
    print_summary(executed())
    assert "# run: complete" in capsys.readouterr().out


def test_refused_parameter_says_nothing_about_an_existing_run(tmp_path, executed, capsys, monkeypatch):
    write_summary(make_run(tmp_path / "run", "single"))
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "message"))
    refused = executed(error=("ParameterError", "parameter phase_s=0: must be from 2 to 86400"))
    print_summary(refused)
    write_termination_message(42, refused, None)
    message = json.loads((tmp_path / "message").read_text())
    assert capsys.readouterr().out == ""
    assert message["exit_code"] == 42
    assert message["status"] is None
    assert "phase_s=0" in message["error"]


def test_termination_message_sums_up_the_run(tmp_path, executed, monkeypatch):
    make_run(tmp_path / "run", "single")
    folder = make_run(tmp_path / "run", "small")
    folder.write_manifest(replace(folder.read_manifest(), status="complete"))
    write_summary(folder)
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "message"))
    write_termination_message(0, executed(), Path("/results/report.ipynb"))
    assert json.loads((tmp_path / "message").read_text()) == {
        "exit_code": 0,
        "status": "complete",
        "run_id": "first",
        "error": None,
        "report": "/results/report.ipynb",
        "p50_ms": {"single": 44.5, "small": None},
        "top_finding": "single: device_wait takes 20 ms",
        "verdict": None,
    }


def test_preempted_run_is_never_called_complete(tmp_path, executed, monkeypatch):
    """Broken: a preempted run is called complete because of the summary of an earlier report."""
    write_summary(make_run(tmp_path / "run", "single"))
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "message"))
    write_termination_message(143, executed(), None)
    assert json.loads((tmp_path / "message").read_text())["status"] == "capturing"


@pytest.mark.parametrize("letter", ["x", "é", "\n"])
def test_termination_message_is_short_and_json(tmp_path, executed, monkeypatch, letter):
    folder = make_run(tmp_path / "run", "single")
    write_summary(folder, findings=[{"text": letter * 9000}])
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "message"))
    write_termination_message(1, executed(error=("CaptureFailed", letter * 9000)), Path("/x" * 300))
    data = (tmp_path / "message").read_bytes()
    assert len(data) <= MESSAGE_BYTES
    assert json.loads(data)["exit_code"] == 1


def test_without_the_variable_nothing_is_written(tmp_path, executed, monkeypatch):
    monkeypatch.delenv(TERMINATION_LOG, raising=False)
    write_termination_message(0, executed(), None)
    assert not (tmp_path / "message").exists()


@pytest.mark.parametrize("phases", [{"single": 5}, {"single": {}}, {"single": {"latency_ms": []}}])
def test_damaged_summary_costs_the_message_only_its_numbers(tmp_path, monkeypatch, executed, phases):
    """Broken: an old or damaged summary.json ends the runner with a traceback."""
    write_summary(make_run(tmp_path / "run", "single"), phases=phases, findings=[3])
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "message"))
    write_termination_message(1, executed(("Error", "it failed")), None)
    message = json.loads((tmp_path / "message").read_text())
    assert (message["p50_ms"], message["top_finding"], message["error"]) == ({}, None, "Error: it failed")
