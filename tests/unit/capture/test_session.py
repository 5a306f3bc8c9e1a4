"""The session: finished phases are kept and not repeated, and two measurements are never mixed."""

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from scoreprof_nb.analysis.requests import measured_requests
from scoreprof_nb.capture import session
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.server import free_port
from scoreprof_nb.capture.session import capture
from scoreprof_nb.capture.workload import request_bodies
from scoreprof_nb.parameters.profile import MEASURED, Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import Manifest
from scoreprof_nb.run_folder.store import load_run, write_phase
from tests.support.standin import kill, lives, wait_ended, write_server
from tests.support.stored_run import REQUESTS, THREADS, record

SECRET = "s3cr3tvalue42"
CHANGED = {
    "server_url": "http://127.0.0.1:1",
    "model_path": "/models/other",
    "server_python": "/opt/other/bin/python",
    "server_flags": "--page-size 64",
    "server_environment": "A=1",
    "device": "tpu",
    "phase_s": 25.0,
    "single_items": 2,
    "small_items": 5,
    "large_items": 33,
    "concurrency": 2,
    "label_token_ids": [1, 2],
    "requests_file": "own.jsonl",
    "rate_hz": 99,
    "py_spy_mode": "blocking",
    "seed": 1,
}


class Prepared(Exception):
    """The session went on to prepare a launch."""

    def __init__(self, phases):
        self.phases = phases


@pytest.fixture
def no_launch(monkeypatch):
    """A capture that gets as far as preparing a launch raises Prepared with the missing phases."""

    def prepare(parameters, phases):
        raise Prepared(phases)

    monkeypatch.setattr(session, "prepare", prepare)


def quiet(text):
    pass


def folder_with(path, parameters, *done, asked=("single", "small"), status="partial"):
    folder = RunFolder(path)
    for name in done:
        with folder.staged_phase(name) as staging:
            (staging / "recording-1.speedscope.json").write_text("{}")
            write_phase(staging, record(name), REQUESTS, THREADS)
    kept = {
        **parameters.as_dict(),
        "server_flags": Redactor()(parameters.server_flags),
    }
    folder.write_manifest(
        Manifest(
            run_id="first", label="run", parameters=kept, phases=tuple(asked), started_s=1e9, status=status
        )
    )
    return folder


def state(path):
    """Every file with its content and modification time."""
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.rglob("*") if file.is_file()}


# ---- resuming


def test_every_measured_parameter_is_tried_below():
    assert set(CHANGED) == set(MEASURED)
    assert all(getattr(Parameters(), name) != value for name, value in CHANGED.items())


@pytest.mark.usefixtures("no_launch")
@pytest.mark.parametrize("name", MEASURED)
def test_resuming_with_another_measured_parameter_is_refused(tmp_path, name):
    """One report would show phases that were measured differently side by side."""
    done = "file" if name == "requests_file" else "single"  # the file matters to its own phase only
    parameters = Parameters(run_dir=str(tmp_path), phases=f"{done},small", requests_file="first.jsonl")
    folder_with(tmp_path, parameters, done, asked=(done, "small"))
    before = state(tmp_path)
    with pytest.raises(ParameterError, match="use that value or another run_dir") as caught:
        capture(parameters.with_values(**{name: CHANGED[name]}), quiet)
    assert caught.value.name == name
    assert repr(CHANGED[name]) in str(caught.value)
    assert repr(getattr(parameters, name)) in str(caught.value)
    assert state(tmp_path) == before


@pytest.mark.usefixtures("no_launch")
def test_resuming_captures_only_what_is_missing(tmp_path):
    parameters = Parameters(run_dir=str(tmp_path))
    folder_with(tmp_path, parameters, "single", asked=("single", "small", "large"))
    with pytest.raises(Prepared) as caught:
        capture(parameters, quiet)
    assert caught.value.phases == ("small", "large")


@pytest.mark.usefixtures("no_launch")
def test_resuming_with_other_unmeasured_parameters_is_fine(tmp_path):
    """A longer start or another port measures the same."""
    parameters = Parameters(run_dir=str(tmp_path))
    folder_with(tmp_path, parameters, "single")
    with pytest.raises(Prepared):
        capture(parameters.with_values(startup_s=10.0, port=1234, label="other", rules_file="r.toml"), quiet)


@pytest.mark.usefixtures("no_launch")
def test_secret_flags_do_not_prevent_resuming(tmp_path):
    """The manifest has them redacted: equal flags must still compare equal."""
    parameters = Parameters(run_dir=str(tmp_path), server_flags=f"--api-key {SECRET} --page-size 1")
    folder_with(tmp_path, parameters, "single")
    with pytest.raises(Prepared):
        capture(parameters, quiet)


@pytest.mark.usefixtures("no_launch")
def test_run_without_a_finished_phase_may_change_every_parameter(tmp_path):
    """Nothing was measured yet, so nothing can be mixed."""
    folder_with(tmp_path, Parameters(), asked=("single",), status="failed")
    with pytest.raises(Prepared):
        capture(Parameters(run_dir=str(tmp_path), phases="small", **CHANGED), quiet)


@pytest.mark.usefixtures("no_launch")
def test_phase_that_the_manifest_does_not_know_is_not_mixed_with_others(tmp_path):
    """A capture killed after a phase was written and before the manifest was."""
    parameters = Parameters(run_dir=str(tmp_path), phases="single,small")
    folder_with(tmp_path, parameters, asked=("single", "small"), status="capturing")
    folder = RunFolder(tmp_path)
    with folder.staged_phase("single") as staging:
        write_phase(staging, record("single"), REQUESTS, THREADS)
    with pytest.raises(ParameterError, match="rate_hz=99"):
        capture(parameters.with_values(rate_hz=99), quiet)


@pytest.mark.usefixtures("no_launch")
def test_damaged_manifest_is_a_parameter_error_and_is_kept(tmp_path):
    """There may be finished phases beside it: they must not be overwritten."""
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ParameterError, match=r"run_dir=.*manifest\.json: cannot be read as JSON"):
        capture(Parameters(run_dir=str(tmp_path)), quiet)
    assert (tmp_path / "manifest.json").read_text() == "{"


def test_run_folder_that_cannot_be_made_is_a_parameter_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match=r"run_dir=.*cannot be written"):
        capture(Parameters(run_dir=str(tmp_path / "file" / "run")), quiet)


@pytest.mark.usefixtures("no_launch")
def test_wrong_parameter_leaves_an_empty_folder(monkeypatch, tmp_path):
    """Exit code 42 means that nothing was launched; a manifest would look like a run."""

    def prepare(parameters, phases):
        raise ParameterError("port", 1, "cannot be used")

    monkeypatch.setattr(session, "prepare", prepare)
    with pytest.raises(ParameterError):
        capture(Parameters(run_dir=str(tmp_path)), quiet)
    assert list(tmp_path.iterdir()) == []


# ---- complete


@pytest.mark.usefixtures("no_launch")
@pytest.mark.parametrize("phases", ["", "single", "small,single"])
def test_complete_folder_launches_nothing_and_changes_nothing(tmp_path, phases):
    """A run can be re-analysed years later, without a server and with other parameters."""
    folder_with(tmp_path, Parameters(), "single", "small", status="complete")
    before = state(tmp_path)
    progress = []
    result = capture(Parameters(run_dir=str(tmp_path), phases=phases, rate_hz=7, seed=3), progress.append)
    assert (result.captured, result.failure) == ((), None)
    assert state(tmp_path) == before
    assert "nothing to capture" in progress[0]


@pytest.mark.usefixtures("no_launch")
def test_complete_folder_of_a_killed_capture_is_complete(tmp_path):
    """Killed while stopping the server, after the last phase: the status must not stay ``capturing``."""
    folder = folder_with(tmp_path, Parameters(), "single", "small", status="capturing")
    capture(Parameters(run_dir=str(tmp_path)), quiet)
    assert folder.read_manifest().status == "complete"


# ---- phases


@pytest.mark.usefixtures("no_launch")
@pytest.mark.parametrize(
    ("phases", "missing"),
    [
        ("", ("single", "small", "large", "mixed")),
        ("mixed", ("mixed",)),
        ("large, single", ("large", "single")),
    ],
)
def test_phases_of_a_new_run(tmp_path, phases, missing):
    with pytest.raises(Prepared) as caught:
        capture(Parameters(run_dir=str(tmp_path), phases=phases), quiet)
    assert caught.value.phases == missing


@pytest.mark.usefixtures("no_launch")
def test_phase_can_be_added_to_a_complete_run(tmp_path):
    folder_with(tmp_path, Parameters(), "single", asked=("single",), status="complete")
    with pytest.raises(Prepared) as caught:
        capture(Parameters(run_dir=str(tmp_path), phases="large"), quiet)
    assert caught.value.phases == ("large",)


def test_phases_of_two_servers_are_not_one_run(monkeypatch, tmp_path):
    """Broken: an image tag that is pushed again while the Job is preempted gives a report on two commits."""
    parameters = Parameters(run_dir=str(tmp_path / "run"), phases="single,small")
    folder_with(tmp_path / "run", parameters, "single")
    before = {"sglang_jax_source": {"commit": "aaa"}, "jax": "0.8.0", "hostname": "one"}
    RunFolder(tmp_path / "run").write_provenance(before)
    now = {**before, "hostname": "two"}

    def prepare(parameters, phases):
        if now == before | {"hostname": "two"}:
            raise Prepared(phases)  # would go on
        return SimpleNamespace(provenance=now)

    monkeypatch.setattr(session, "prepare", prepare)
    with pytest.raises(Prepared):
        capture(parameters, quiet)
    now["sglang_jax_source"] = {"commit": "bbb"}
    with pytest.raises(ParameterError, match="aaa.*bbb"):
        capture(parameters, quiet)
    assert RunFolder(tmp_path / "run").read_provenance() == before


# ---- a server that fails


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """``planned(*switches)``: the session launches the stand-in with these switches."""

    def plan(*switches):
        def prepare(parameters, phases):
            port = free_port()
            return Plan(
                command=(sys.executable, write_server(tmp_path), str(port), *switches),
                environment={},
                port=port,
                attached=None,
                recorder=None,
                bodies={name: request_bodies(parameters, name, [1, 2]) for name in phases},
                provenance={"jax": None},
                redact=Redactor.for_server(f"--api-key {SECRET}"),
            )

        monkeypatch.setattr(session, "prepare", prepare)
        return Parameters(
            run_dir=str(tmp_path / "run"),
            phases="single,small",
            phase_s=2.0,
            py_spy_mode="off",
            startup_s=30.0,
        )

    return plan


@pytest.fixture
def launched(monkeypatch):
    """The pids of all servers that the session launches."""
    pids = []
    capture_phase = session.capture_phase

    def watched(server, *arguments):
        pids.extend(process.pid for process in server.processes() if process.pid not in pids)
        capture_phase(server, *arguments)

    monkeypatch.setattr(session, "capture_phase", watched)
    return pids


def test_server_that_dies_at_startup_is_a_result_with_its_log(planned, tmp_path):
    """Neither a traceback nor exit code 42, and no secret in the message."""
    result = capture(planned("dies"), quiet)
    assert result.captured == ()
    assert "the server exited with code 3" in result.failure
    assert "cannot load the model" in result.failure
    assert SECRET not in result.failure
    manifest = RunFolder(tmp_path / "run").read_manifest()
    assert (manifest.status, manifest.phases_done, manifest.failure) == ("failed", (), result.failure)
    assert manifest.finished_s is not None
    assert dict(load_run(tmp_path / "run").phases) == {}


def test_server_that_dies_during_a_phase_leaves_the_finished_ones(planned, launched, tmp_path):
    """A crashed run keeps its finished phases, leaves no process, and is resumed with the others."""
    parameters = planned("requests=1000000")

    def log_progress(text):
        if text.startswith("phase small"):
            kill(launched[1])
            wait_ended(launched[1])

    result = capture(parameters, log_progress)
    assert result.captured == ("single",)
    assert re.match(
        r"(the|a process of the) server (ended|exited|was killed) .*\. The end of (its|the) log:\n",
        result.failure,
    )
    run = load_run(tmp_path / "run")
    assert list(run.phases) == ["single"]
    assert run.manifest.status == "partial"
    assert not list((tmp_path / "run" / "phases").glob(".*"))
    assert [pid for pid in launched if lives(pid)] == []
    phase = run.phases["single"]
    measured = phase.requests[~phase.requests["warmup"]]
    assert len(measured) > 0
    assert measured["error"].isna().all()
    assert [block.profiled for block in phase.record.blocks] == [False] * 4
    assert set(phase.threads["pid"]) == set(launched)

    planned("dies")
    again = capture(parameters, quiet)
    assert again.captured == ()
    assert RunFolder(tmp_path / "run").read_manifest().phases_done == ("single",)
    assert RunFolder(tmp_path / "run").read_manifest().run_id == run.manifest.run_id


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_block_cuts_a_request_off(planned, tmp_path, concurrency):
    """Broken: the longest requests are lost most often, and a block filled by one of them has none."""
    result = capture(planned("slow=0.6").with_values(phases="single", concurrency=concurrency), quiet)
    assert result.failure is None
    phase = load_run(tmp_path / "run").phases["single"]
    assert phase.record.warmup.compiles is None  # its log says nothing: that is not "no compile"
    measured = measured_requests(phase, pd.DataFrame(columns=["time_ns", "text"]), concurrency).table
    for block in phase.record.blocks:
        start, stop = block.start_s * 1e9, block.stop_s * 1e9
        within = measured[measured["sent_ns"].between(start, stop) & measured["done_ns"].between(start, stop)]
        assert len(within) >= 1
        assert (within["block"] == block.number).all()
        cut = measured[(measured["sent_ns"] < stop) & (measured["done_ns"] > stop)]
        assert len(cut) < concurrency  # what other clients sent while the last answer was awaited
        assert not (cut["sent_ns"] <= block.until_s * 1e9).any()  # but nothing that belongs to the block


def test_interrupted_capture_keeps_finished_phases_and_ends_the_server(planned, launched, tmp_path):
    """Ctrl-C in a notebook cell."""

    def log_progress(text):
        if text.startswith("  warm-up"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(planned(), log_progress)
    manifest = RunFolder(tmp_path / "run").read_manifest()
    assert (manifest.status, manifest.failure) == ("failed", "interrupted")
    assert not list((tmp_path / "run" / "phases").iterdir())
    assert launched
    assert [pid for pid in launched if lives(pid)] == []


def test_refused_server_flags_are_a_parameter_error(planned, monkeypatch, tmp_path):
    """argparse's exit code 2 and its error line mean that the flags are wrong, not the server."""
    parameters = planned()
    prepare = session.prepare
    program = (
        "import sys; print('usage: launch_server.py [-h]'); "
        "print('launch_server.py: error: unrecognized arguments: --nonsense'); sys.exit(2)"
    )
    monkeypatch.setattr(
        session,
        "prepare",
        lambda *arguments: replace(prepare(*arguments), command=(sys.executable, "-c", program)),
    )
    with pytest.raises(
        ParameterError, match=r"server_flags='--nonsense': .*unrecognized arguments: --nonsense"
    ):
        capture(parameters.with_values(server_flags="--nonsense"), quiet)
    assert RunFolder(tmp_path / "run").read_manifest().status == "failed"
