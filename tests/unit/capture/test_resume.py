"""Resuming a run: finished phases are kept and not repeated, and two measurements are never mixed."""

import time
from types import SimpleNamespace

import pytest

from scoreprof_nb.capture import run_clock, session
from scoreprof_nb.capture.resume import last_log_time_s, with_rate
from scoreprof_nb.capture.run_clock import now_s
from scoreprof_nb.capture.session import capture
from scoreprof_nb.parameters.profile import MEASURED, Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import Manifest
from scoreprof_nb.run_folder.store import write_phase
from tests.support.progress import quiet
from tests.support.stored_run import REQUESTS, THREADS, record

SECRET = "s3cr3tvalue42"
CHANGED = {
    "server_url": "http://127.0.0.1:1",
    "server_log": "other.log",
    "model_path": "/models/other",
    "server_python": "/opt/other/bin/python",
    "server_flags": "--page-size 64",
    "server_environment": "A=1",
    "device": "tpu",
    "phase_s": 25.0,
    "single_items": 2,
    "small_items": 5,
    "large_items": 33,
    "prefix_cache": "warm",
    "query_tokens": "50",
    "item_tokens": "20+-5",
    "concurrency": "2",
    "rates": "2,5",
    "label_token_ids": [1, 2],
    "requests_file": "own.jsonl",
    "rate_hz": "99",
    "py_spy_mode": "blocking",
    "seed": 1,
    "what_if_ms": 5.0,
    "what_if_kind": "sleep",
    "what_if_s": 60.0,
    "what_if_components": "tokenize",
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


def folder_with(path, parameters, *done, requested=("single", "small"), status="partial"):
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
            run_id="first",
            label="run",
            parameters=kept,
            phases=tuple(requested),
            started_s=1e9,
            status=status,
        )
    )
    return folder


def state(path):
    """Every file with its content and modification time."""
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.rglob("*") if file.is_file()}


# ---- resuming


def test_every_measured_parameter_is_tried_below():
    """Broken: a measured parameter is missing from the test below."""
    assert set(CHANGED) == set(MEASURED)
    assert all(getattr(Parameters(), name) != value for name, value in CHANGED.items())


@pytest.mark.usefixtures("no_launch")
@pytest.mark.parametrize("name", MEASURED)
def test_resuming_with_another_measured_parameter_is_refused(tmp_path, name):
    """Broken: one report shows phases side by side that were measured differently."""
    done = "file" if name == "requests_file" else "single"  # the file matters to its own phase only
    url = CHANGED["server_url"] if name == "server_log" else ""  # a log is that of an attached server
    parameters = Parameters(
        run_dir=str(tmp_path), phases=f"{done},small", requests_file="first.jsonl", server_url=url
    )
    folder_with(tmp_path, parameters, done, requested=(done, "small"))
    before = state(tmp_path)
    with pytest.raises(ParameterError, match="use that value or another run_dir") as caught:
        capture(parameters.with_values(**{name: CHANGED[name]}), quiet)
    assert caught.value.name == name
    assert repr(CHANGED[name]) in str(caught.value)
    assert repr(getattr(parameters, name)) in str(caught.value)
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("given", "before", "done", "rate_hz"),
    [
        ("auto", 100, ("single",), "100"),  # as written by an older version
        ("auto", "75", ("single",), "75"),
        ("auto", "75", (), "30"),  # nothing is measured yet
        ("auto", None, (), "30"),
        ("40", "75", (), "40"),
    ],
)
def test_rate_of_a_resumed_run_is_kept(tmp_path, monkeypatch, given, before, done, rate_hz):
    """Broken: a run that is resumed on another machine, or by a newer version, has phases of two rates."""
    monkeypatch.setattr("scoreprof_nb.capture.sampling_rate.available_cpus", lambda pid: 1.0)
    earlier = Manifest("first", "run", {"rate_hz": before}, ("single", "small"), 1e9)
    parameters = Parameters(run_dir=str(tmp_path), rate_hz=given)
    assert with_rate(parameters, earlier if before else None, done).rate_hz == rate_hz


@pytest.mark.usefixtures("no_launch")
def test_resuming_captures_only_what_is_missing(tmp_path):
    """Broken: a resumed run captures finished phases again."""
    parameters = Parameters(run_dir=str(tmp_path))
    folder_with(tmp_path, parameters, "single", requested=("single", "small", "large"))
    with pytest.raises(Prepared) as caught:
        capture(parameters, quiet)
    assert caught.value.phases == ("small", "large")


@pytest.mark.usefixtures("no_launch")
def test_damaged_phase_is_set_aside_and_captured_again(tmp_path):
    """Broken: a run goes on from a damaged phase, whose files get new checksums; or it is lost without a word."""
    parameters = Parameters(run_dir=str(tmp_path))
    folder = folder_with(tmp_path, parameters, "single", "small")
    (folder.phase_path("single") / "requests.parquet").write_bytes(b"half")
    said = []
    with pytest.raises(Prepared) as caught:
        capture(parameters, said.append)
    assert caught.value.phases == ("single",)
    assert "phase single is set aside as .single-damaged" in said[0]
    assert str(folder.phase_path("single") / "requests.parquet") in said[0]
    assert (folder.phases_path / ".single-damaged" / "requests.parquet").read_bytes() == b"half"


@pytest.mark.usefixtures("no_launch")
@pytest.mark.parametrize(
    ("file", "said", "missing"),
    [
        ("phases/single/threads.parquet", "phase single not restored: ", ("single", "small")),
        ("manifest.json", "nothing restored: ", ("single", "small")),
        ("server.log", "not restored: ", ("small",)),
        ("provenance.json", "not restored: ", ("small",)),
    ],
)
def test_what_is_damaged_in_the_results_folder_is_said(tmp_path, file, said, missing):
    """Broken: hours of captures are measured again, and nobody learns why."""
    parameters = Parameters(run_dir=str(tmp_path / "run"), results_dir=str(tmp_path / "results"))
    results = folder_with(tmp_path / "results", parameters, "single")
    results.log_path.write_text("1000000000.000000 ready\n")
    results.write_provenance({"kit": "1"})
    results.write_manifest(results.read_manifest())
    (results.path / file).write_text("{")
    lines = []
    with pytest.raises(Prepared) as caught:
        capture(parameters.with_values(phases="single,small"), lines.append)
    assert caught.value.phases == missing
    assert any(line.startswith(said) and str(tmp_path / "results" / file) in line for line in lines), lines


@pytest.mark.usefixtures("no_launch")
def test_resuming_with_other_unmeasured_parameters_is_fine(tmp_path):
    """Broken: a run cannot be resumed with a longer start-up limit or another port, which measure the same."""
    parameters = Parameters(run_dir=str(tmp_path))
    folder_with(tmp_path, parameters, "single")
    with pytest.raises(Prepared):
        capture(parameters.with_values(startup_s=10.0, port=1234, label="other", rules_file="r.toml"), quiet)


@pytest.mark.usefixtures("no_launch")
def test_secret_flags_do_not_prevent_resuming(tmp_path):
    """Broken: equal flags with a secret differ from the redacted ones in the manifest, and the run cannot be
    resumed.
    """
    parameters = Parameters(run_dir=str(tmp_path), server_flags=f"--api-key {SECRET} --page-size 1")
    folder_with(tmp_path, parameters, "single")
    with pytest.raises(Prepared):
        capture(parameters, quiet)


@pytest.mark.usefixtures("no_launch")
def test_run_without_a_finished_phase_may_change_every_parameter(tmp_path):
    """Broken: a run that has measured nothing yet refuses new parameters."""
    folder_with(tmp_path, Parameters(), requested=("single",), status="failed")
    changed = {**CHANGED, "what_if_ms": 0.0}  # an attached server has no what-if blocks
    with pytest.raises(Prepared):
        capture(Parameters(run_dir=str(tmp_path), phases="small", **changed), quiet)


@pytest.mark.usefixtures("no_launch")
def test_phase_that_the_manifest_does_not_know_is_not_mixed_with_others(tmp_path):
    """Broken: a capture killed between writing a phase and its manifest resumes with other parameters."""
    parameters = Parameters(run_dir=str(tmp_path), phases="single,small")
    folder_with(tmp_path, parameters, requested=("single", "small"), status="capturing")
    folder = RunFolder(tmp_path)
    with folder.staged_phase("single") as staging:
        write_phase(staging, record("single"), REQUESTS, THREADS)
    with pytest.raises(ParameterError, match="rate_hz='99'"):
        capture(parameters.with_values(rate_hz=99), quiet)


@pytest.mark.usefixtures("no_launch")
def test_damaged_manifest_is_a_parameter_error_and_is_kept(tmp_path):
    """Broken: finished phases beside a damaged manifest are overwritten."""
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ParameterError, match=r"run_dir=.*manifest\.json: cannot be read as JSON"):
        capture(Parameters(run_dir=str(tmp_path)), quiet)
    assert (tmp_path / "manifest.json").read_text() == "{"


def test_run_folder_that_cannot_be_made_is_a_parameter_error(tmp_path):
    """Broken: a run folder that cannot be created gives a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match=r"run_dir=.*cannot be written"):
        capture(Parameters(run_dir=str(tmp_path / "file" / "run")), quiet)


@pytest.mark.usefixtures("no_launch")
def test_wrong_parameter_leaves_an_empty_folder(monkeypatch, tmp_path):
    """Broken: a folder in which nothing was launched looks like a run."""

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
    """Broken: a run cannot be re-analysed later, without its server or with other parameters."""
    folder_with(tmp_path, Parameters(), "single", "small", status="complete")
    before = state(tmp_path)
    progress = []
    result = capture(Parameters(run_dir=str(tmp_path), phases=phases, rate_hz=7, seed=3), progress.append)
    assert (result.captured, result.failure) == ((), None)
    assert state(tmp_path) == before
    assert "nothing to capture" in progress[0]


@pytest.mark.usefixtures("no_launch")
def test_complete_folder_of_a_killed_capture_is_complete(tmp_path):
    """Broken: a run killed while its server was stopping is ``capturing`` forever."""
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
    """Broken: a new run captures other phases than were requested."""
    with pytest.raises(Prepared) as caught:
        capture(Parameters(run_dir=str(tmp_path), phases=phases), quiet)
    assert caught.value.phases == missing


@pytest.mark.usefixtures("no_launch")
def test_phase_can_be_added_to_a_complete_run(tmp_path):
    """Broken: a complete run cannot get another phase."""
    folder_with(tmp_path, Parameters(), "single", requested=("single",), status="complete")
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


@pytest.mark.usefixtures("no_launch")
def test_resumed_run_goes_on_after_the_last_line_of_its_log(tmp_path):
    """Broken: with a clock set back between two captures, the log lines of both fall into the same phase."""
    folder = folder_with(tmp_path, Parameters(), "single")
    ahead_s = time.time() + 3600
    folder.log_path.write_text(f"half a line\n{int(ahead_s)}.250000 the last one\nno stamp\n")
    assert last_log_time_s(folder.log_path) == int(ahead_s) + 0.25
    lines = []
    with pytest.raises(Prepared):
        capture(Parameters(run_dir=str(tmp_path), phases="single,small"), lines.append)
    assert any("s behind the run's last line" in line for line in lines)
    try:
        assert now_s() >= int(ahead_s)
    finally:
        run_clock.anchor()
    assert last_log_time_s(tmp_path / "nowhere") == 0
