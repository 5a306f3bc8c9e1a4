"""The session: a server that fails leaves its finished phases, a reason, and no process."""

import json
import re
import sys
from dataclasses import replace

import pandas as pd
import pytest

from scoreprof_nb.analysis.requests import measured_requests
from scoreprof_nb.capture import blocks, capacity, session
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.server import free_port
from scoreprof_nb.capture.session import capture
from scoreprof_nb.capture.workload import Workloads
from scoreprof_nb.parameters import load as load_parameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder import segments
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.store import load_run
from tests.support.progress import quiet
from tests.support.standin import kill, lives, wait_ended, write_server

SECRET = "s3cr3tvalue42"


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
                workloads=Workloads(parameters, (1, 2), {}),
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
    """Broken: a failed start is a traceback, looks like a wrong parameter, or shows a secret."""
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
    """Broken: a crash loses the finished phases, leaves a process, or prevents resuming."""
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
    (phase,) = load_run(tmp_path / "run").phases.values()
    assert phase.record.warmup.compiles is None  # its log says nothing: that is not "no compile"
    measured = measured_requests(phase, pd.DataFrame(columns=["time_ns", "text"]), phase.record.load).table
    for block in phase.record.blocks:
        start, stop = block.start_s * 1e9, block.stop_s * 1e9
        within = measured[measured["sent_ns"].between(start, stop) & measured["done_ns"].between(start, stop)]
        assert len(within) >= 1
        assert (within["block"] == block.number).all()
        cut = measured[(measured["sent_ns"] < stop) & (measured["done_ns"] > stop)]
        assert len(cut) < concurrency  # what other clients sent while the last answer was awaited
        assert not (cut["sent_ns"] <= block.until_s * 1e9).any()  # but nothing that belongs to the block


def test_interrupted_capture_keeps_finished_phases_and_ends_the_server(planned, launched, tmp_path):
    """Broken: Ctrl-C in a notebook cell loses finished phases or leaves the server running."""

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


def test_phase_in_which_every_request_failed_is_not_finished(planned, tmp_path):
    """Broken: the next start skips the phase and ends with exit code 0."""
    parameters = planned("large_fails")
    result = capture(parameters, quiet)
    assert (result.captured, result.unanswered) == (("single", "small"), ("small",))
    assert result.failure == "every request failed in phase small"
    manifest = RunFolder(tmp_path / "run").read_manifest()
    assert (manifest.status, manifest.failure) == ("partial", result.failure)
    failed = load_run(tmp_path / "run").phases["small"].requests
    assert set(failed["error"]) == {"http_500"}, "what failed is kept, as evidence"

    planned()
    again = capture(parameters, quiet)
    assert (again.captured, again.failure) == (("small",), None)
    assert RunFolder(tmp_path / "run").read_manifest().status == "complete"
    assert load_run(tmp_path / "run").phases["small"].requests["error"].isna().all()


def test_second_capture_into_the_same_folder_is_refused(planned, tmp_path):
    """Broken: two runs remove each other's unfinished phases, and mix their requests."""
    parameters = planned()
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with folder.locked(), pytest.raises(ParameterError, match="another run is being captured into it"):
        capture(parameters, quiet)
    assert not folder.has_manifest()
    result = capture(parameters.with_values(phases="single"), quiet)
    assert result.failure is None, "the lock is gone with the other capture"


def test_refused_server_flags_are_a_parameter_error(planned, monkeypatch, tmp_path):
    """Broken: flags that argparse refuses (exit code 2) are reported as a failed server."""
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


# ---- loads


def test_each_load_is_a_phase_with_its_own_record(planned, tmp_path, monkeypatch):
    """Broken: a load is not captured, or its phase does not say how its requests were sent."""
    monkeypatch.setattr(load_parameters, "LADDER", (0.25, 0.5))
    monkeypatch.setattr(capacity, "LEAST_S", 0.5)
    parameters = planned("slow=0.02").with_values(phases="single", concurrency="1,3", rates="auto")
    result = capture(parameters, quiet)
    assert result.failure is None
    run = load_run(tmp_path / "run")
    assert run.manifest.status == "complete"
    closed, many, *opened = run.phases.values()
    assert list(run.phases)[:2] == ["single", "single@3"]
    assert [phase.record.load.concurrency for phase in (closed, many)] == [1, 3]
    assert [phase.record.load.loop for phase in opened] == ["open", "open"]
    loads = [phase.record.load for phase in opened]
    assert loads[0].capacity_per_s == loads[1].capacity_per_s > 0
    shares = [load.offered_per_s / load.capacity_per_s for load in loads]
    assert shares == pytest.approx([0.25, 0.5], rel=0.01)
    for phase in run.phases.values():
        assert phase.record.kind == "single"
        table = phase.requests
        assert table["error"].isna().all()
        assert table["request"].is_unique
        repeats = table[table["repeat"]]
        assert len(repeats) == 4
        assert set(repeats["payload"]) <= set(table.loc[~table["repeat"], "payload"])
        assert len(table[~table["warmup"] & ~table["repeat"]]) > 0
    assert loads[0].client_cpu_s > 0
    assert capture(parameters, quiet).captured == ()  # the rates that were chosen are the run's


def test_replay_sends_at_the_files_times(planned, tmp_path):
    """Broken: recorded traffic is sent at other times than it came."""
    path = tmp_path / "own.jsonl"
    times_s = [round(0.1 * number, 1) for number in range(40)]
    lines = [{"query": "q", "items": ["a"], "repeat": False, "send_at_s": at_s} for at_s in times_s]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    capture(planned().with_values(phases="file", requests_file=str(path)), quiet)
    (phase,) = load_run(tmp_path / "run").phases.values()
    assert (phase.record.load.loop, phase.record.load.offered_per_s) == ("replay", 10)
    replayed = phase.requests[~phase.requests["warmup"]].sort_values("intended_ns")
    gaps_s = replayed["intended_ns"].diff().dropna() / 1e9
    assert len(replayed) >= 15
    assert gaps_s.to_list() == pytest.approx([0.1] * len(gaps_s), abs=1e-6)
    assert replayed["payload"].to_list() == list(range(len(replayed)))


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of a quarter of a second, of which four are enough to be kept."""
    monkeypatch.setattr(blocks, "LONGEST_BLOCK_S", 0.25)
    monkeypatch.setattr(segments, "KEPT_S", 0.5)


@pytest.mark.usefixtures("short_blocks")
def test_server_that_dies_late_in_a_long_phase_leaves_its_finished_blocks(planned, launched, tmp_path):
    """Broken: a crash in the last minute of an hour loses the hour."""
    parameters = planned("requests=1000000")

    def log_progress(text):
        if text.startswith("  block 6 of 8:"):
            kill(launched[1])
            wait_ended(launched[1])

    result = capture(parameters, log_progress)
    assert result.captured == ("single",)
    assert result.failure
    run = load_run(tmp_path / "run")
    assert run.manifest.status == "partial"
    record = run.phases["single"].record
    assert (len(record.blocks), record.planned_blocks, record.cut_off) == (6, 8, True)
    requests = run.phases["single"].requests
    assert requests["request"].is_unique
    assert record.answered == len(requests[~requests["warmup"]])


@pytest.mark.usefixtures("short_blocks")
def test_interrupted_long_phase_is_kept_by_the_next_start(planned, tmp_path):
    """Broken: the finished blocks of a killed capture are measured again, or never looked at."""
    parameters = planned("requests=1000000")

    def interrupt(text):
        if text.startswith("  block 5 of 8:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(parameters, interrupt)
    assert dict(load_run(tmp_path / "run").phases) == {}
    lines = []
    result = capture(parameters, lines.append)
    assert result.captured == ("small",)
    assert any("phase single was cut off: its 4 finished blocks of 8 are kept" in line for line in lines)
    run = load_run(tmp_path / "run")
    assert [phase.record.cut_off for phase in run.phases.values()] == [True, False]
    assert run.phases["small"].record.clock_steps == ()
    assert not list((tmp_path / "run" / "phases").glob(".*"))
