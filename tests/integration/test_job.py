"""Run the command of the Kubernetes Job, with the tiny model on the CPU.

Only what a laptop lacks is replaced: the mounts are local folders, the device is the CPU and phases are
short. The arguments and the environment are the manifest's, the entrypoint is the image's.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml

from scoreprof_nb import demo
from scoreprof_nb.run_folder.store import load_run
from tests.support.job import Command, command_of, parameter_files, render
from tests.support.paths import ROOT
from tests.support.server_runs import left_behind

pytestmark = [pytest.mark.server, pytest.mark.slow]
HERE = ("-p", "device", "cpu", "-p", "phases", "single,small", "-p", "phase_s", "4", "-p", "warmup_s", "30")
FLAGS = " ".join(demo.flags("0.0.2"))
END_S = 300
STOPPED_WITHIN_S = 8  # of the 15 that a spot node gives
SYS_PTRACE = 19  # its bit, of linux/capability.h


@pytest.fixture(scope="module")
def tiny_model(server_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([server_python, str(demo.TINY_MODEL), str(folder)], check=True, timeout=120)
    return folder


@pytest.fixture
def command(tiny_model: Path, may_trace: None, tmp_path: Path) -> Iterator[Command]:
    """The command of the Job, with the tiny model in the models bucket."""
    manifests = render("MODEL=tiny", "LABEL=feature/x", f"SERVER_FLAGS={FLAGS}")
    job_command = command_of(manifests, tmp_path)
    shutil.copytree(tiny_model, job_command.mounted("/models/tiny"))
    yield job_command
    assert not left_behind(tmp_path)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=END_S)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    return process.returncode, output


def results_of(command: Command) -> Path:
    (folder,) = command.mounted("/results/runs").iterdir()
    return folder


def message_of(command: Command) -> dict[str, object]:
    text = command.mounted("/dev/termination-log").read_text()
    assert len(text.encode()) <= 4096
    message: dict[str, object] = json.loads(text)
    return message


def test_job_leaves_results_a_summary_in_the_log_and_a_message(command: Command) -> None:
    """Broken: the results are lost with the Pod."""
    code, output = finish(command.start(*HERE))
    assert code == 0, output
    results = results_of(command)
    assert results.name.startswith("score-profiling-")
    run = load_run(results)  # checksums too: the copy is whole
    assert run.manifest.status == "complete"
    assert tuple(run.phases) == ("single", "small")
    assert run.manifest.label == "feature/x"
    for name in ("report.ipynb", "report.html", "summary.json", "summary.md", "score_api_profile.svg"):
        assert (results / name).exists(), name
    newest = max(results.rglob("*"), key=lambda path: path.stat().st_mtime_ns if path.is_file() else 0)
    assert newest.name == "manifest.json", "the manifest is copied last"
    assert output.startswith("ptrace_scope")
    if command.privileges:
        assert f"CapEff {1 << SYS_PTRACE:016x}" in output, (
            "nothing that the Job does needs another capability"
        )
    assert (results / "summary.md").read_text().strip() in output
    assert (results / "summary.md").read_text().strip().endswith(f"Report: {results / 'report.ipynb'}")
    assert output.strip().splitlines()[-1] == f"report: {results / 'report.ipynb'}"
    assert len(output) < 20_000
    assert_complete(message_of(command))
    assert compiled(command), "the second try of a Job would compile everything again"


def assert_complete(message: dict[str, object]) -> None:
    assert (message["exit_code"], message["status"], message["error"]) == (0, "complete", None)
    assert set(message["p50_ms"]) == {"single", "small"}  # type: ignore[call-overload]
    assert message["top_finding"]


def compiled(command: Command) -> set[str]:
    """The compiled programs in JAX's cache, in the results bucket."""
    return {path.name for path in command.mounted("/results/jax-cache").glob("*-cache")}


def recorders(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The py-spy processes that are recording."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [one for one in children if one.name() == "py-spy" and "record" in one.cmdline()]
    return []


def stop_while_recording(process: "subprocess.Popen[str]", phase: str) -> tuple[int, str, float]:
    """Send SIGTERM in the phase's first block with py-spy. Returns the exit code, the output after it and the seconds until the end."""
    assert process.stdout is not None
    lines = iter(process.stdout)
    assert any(f"phase {phase}" in line for line in lines)
    assert any("block 1 of " in line and "requests" in line for line in lines)
    deadline = time.monotonic() + 10
    while not recorders(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # a block takes 1 s
    assert recorders(process), "py-spy is not recording in this block"
    sent_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    return code, output, time.monotonic() - sent_s


def test_preempted_job_resumes_on_another_node(command: Command) -> None:
    """Broken: a preempted run starts again from nothing. The next Pod has only the results folder."""
    here = (*HERE, "-p", "phase_s", "8")
    first = command.start(*here)
    code, output, stop_s = stop_while_recording(first, "small")
    assert code == 143, output
    assert "block 2 of " not in output, "it was stopped in this block"
    assert stop_s < STOPPED_WITHIN_S
    print(f"stopped {stop_s:.1f} s after SIGTERM")
    assert message_of(command)["error"] == "stopped by SIGTERM"
    assert message_of(command)["status"] == "partial"
    kept = results_of(command)
    assert load_run(kept).manifest.phases_done == ("single",)
    assert (kept / "report.ipynb").exists(), "the notebook is saved as far as it got"
    recordings = {path.name: path.stat().st_mtime_ns for path in (kept / "phases" / "single").iterdir()}

    shutil.rmtree(command.mounted("/scratch"))
    command.mounted("/scratch").mkdir()
    cached = compiled(command)
    code, output = finish(command.start(*here))
    assert code == 0, output
    assert len(compiled(command) - cached) < len(cached) / 2, "it compiled everything again"
    assert results_of(command) == kept, "the same Job has the same folder"
    run = load_run(kept)
    assert run.manifest.status == "complete"
    assert tuple(run.phases) == ("single", "small")
    after = {path.name: path.stat().st_mtime_ns for path in (kept / "phases" / "single").iterdir()}
    assert after == recordings, "a finished phase is neither measured nor copied again"
    summary = json.loads((kept / "summary.json").read_text())
    assert (summary["status"], list(summary["phases"])) == ("complete", ["single", "small"])
    assert all(phase["latency_ms"]["p50"] for phase in summary["phases"].values())
    assert "small" in (kept / "report.html").read_text()
    cells = nbformat.read(kept / "report.ipynb", as_version=4).cells
    outputs = [one for cell in cells for one in cell.get("outputs", [])]
    assert len(outputs) > 10
    assert not any(one.output_type == "error" for one in outputs), "the report is still that of the stop"
    text = (kept / "summary.md").read_text().strip()
    assert text in output
    assert output.strip().endswith(f"report: {kept / 'report.ipynb'}")
    assert_complete(message_of(command))


def test_wrong_model_ends_the_job_at_once(command: Command) -> None:
    """Broken: retries are paid for. The podFailurePolicy fails the Job on exit code 42."""
    shutil.rmtree(command.mounted("/models/tiny"))
    code, output = finish(command.start(*HERE))
    assert code == 42, output
    assert "model_path" in output
    assert message_of(command)["exit_code"] == 42
    assert "model_path" in str(message_of(command)["error"])


def test_pod_without_ptrace_says_so(command: Command) -> None:
    """Broken: a namespace that forbids SYS_PTRACE gives an empty profile after half an hour on a TPU."""
    before = (sys.executable, str(ROOT / "tests" / "support" / "no_ptrace.py"))
    code, output = finish(command.start(*HERE, before=before))
    assert code == 42, output
    assert "SYS_PTRACE" in output
    assert "no permission to trace" in str(message_of(command)["error"])


def test_index_of_the_matrix_has_its_own_parameters_and_folder(
    tiny_model: Path, may_trace: None, tmp_path: Path
) -> None:
    """Broken: all configurations of a matrix are the same, or overwrite each other's results."""
    manifests = render("matrix", "MODEL=tiny")
    files = {name: text for name, text in parameter_files(manifests).items() if name[0].isdigit()}
    job_command = command_of(manifests, tmp_path)
    for name, text in files.items():
        parameters = yaml.safe_load(text)
        flags = f"{parameters.pop('server_flags', '')} {FLAGS}"  # its own first, which are what differs
        (job_command.mounted("/parameters") / name).write_text(
            yaml.safe_dump({**parameters, "server_flags": flags})
        )
    shutil.copytree(tiny_model, job_command.mounted("/models/tiny"))
    arguments = tuple(argument.replace("$(JOB_COMPLETION_INDEX)", "1") for argument in job_command.arguments)
    one = replace(job_command, arguments=arguments)
    code, output = finish(one.start(*HERE, "-p", "phases", "single"))
    assert code == 0, output
    (job,) = job_command.mounted("/results/runs").iterdir()
    run = load_run(job / "1")
    assert run.manifest.label == "no-overlap"
    assert "--disable-overlap-schedule" in yaml.safe_load(files["1.yaml"])["server_flags"]
    assert run.manifest.parameters["server_flags"].startswith("--disable-overlap-schedule ")
    launched = next(
        line for line in (job / "1" / "server.log").read_text().splitlines() if "launching" in line
    )
    assert "--disable-overlap-schedule" in launched


def test_comparing_job_resumes_after_a_preemption(tiny_model: Path, may_trace: None, tmp_path: Path) -> None:
    """Broken: the TPU time of finished runs is lost, or the wrong branches are compared."""
    manifests = render("compare", "MODEL=tiny", "LABEL=serving-fixes", f"SERVER_FLAGS={FLAGS}")
    job_command = command_of(manifests, tmp_path)
    shutil.copytree(tiny_model, job_command.mounted("/models/tiny"))
    file = job_command.mounted("/parameters") / "parameters.yaml"
    parameters = yaml.safe_load(file.read_text())
    sides = ("control_server_python", "test_server_python")
    assert [parameters[side] for side in sides] == ["/opt/baseline/bin/python", "/opt/server/bin/python"]
    python = os.environ["SCOREPROF_SERVER_PYTHON"]  # instead of the image's two environments
    file.write_text(yaml.safe_dump({**parameters, **dict.fromkeys(sides, python)}))
    here = (*HERE, "-p", "phases", "single", "-p", "pairs", "1")

    first = job_command.start(*here)
    assert first.stdout is not None
    for line in first.stdout:
        if "run 2 of 2" in line and "block 1" in line:
            break
    first.send_signal(signal.SIGTERM)
    code, output = finish(first)
    assert code == 143, output
    (kept,) = job_command.mounted("/results/comparisons").iterdir()
    control = kept / "runs" / "pair-01-control"
    assert load_run(control).manifest.status == "complete"
    recordings = {path.name: path.stat().st_mtime_ns for path in control.rglob("*.parquet")}

    shutil.rmtree(job_command.mounted("/scratch"))
    job_command.mounted("/scratch").mkdir()
    code, output = finish(job_command.start(*here))
    assert code == 0, output
    assert {path.name: path.stat().st_mtime_ns for path in control.rglob("*.parquet")} == recordings
    assert load_run(kept / "runs" / "pair-01-test").manifest.label == "serving-fixes"
    comparison = json.loads((kept / "comparison.json").read_text())
    assert (comparison["control"]["label"], comparison["test"]["label"]) == ("baseline", "serving-fixes")
    assert comparison["unlike"] is False
    for name in ("comparison.md", "report.html", "report.ipynb"):
        assert (kept / name).exists(), name
    text = (kept / "comparison.md").read_text().strip()
    assert text in output
    assert text.endswith(f"Report: {kept / 'report.html'}"), "not a folder that is gone with the Pod"
    assert comparison["control"]["folders"] == [str(control)]
    for side in ("control", "test"):
        assert (
            json.loads((kept / "runs" / f"pair-01-{side}" / "summary.json").read_text())["status"]
            == "complete"
        )
    assert not left_behind(tmp_path)


def test_pairs_of_two_nodes_are_compared_in_a_last_step(
    tiny_model: Path, may_trace: None, tmp_path: Path
) -> None:
    """Broken: pairs that were captured on several nodes overwrite each other or cannot be compared; or a server with
    an API key refuses the kit, or its key is written somewhere.
    """
    key = "open-sesame-1234"
    flags = f"SERVER_FLAGS={FLAGS}"
    manifests = render(
        "compare", "MODEL=tiny", "PARALLEL=2", "pairs=2", "SECRET=s", "api_key_env=SCORE_SERVER", flags
    )
    python = os.environ["SCOREPROF_SERVER_PYTHON"]  # instead of the image's two environments
    for index in (0, 1):
        job_command = command_of(manifests, tmp_path)
        file = job_command.mounted("/parameters") / "parameters.yaml"
        sides = dict.fromkeys(("control_server_python", "test_server_python"), python)
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **sides}))
        if not job_command.mounted("/models/tiny").exists():
            shutil.copytree(tiny_model, job_command.mounted("/models/tiny"))
        shutil.rmtree(job_command.mounted("/scratch"))  # another node
        job_command.mounted("/scratch").mkdir()
        arguments = tuple(
            argument.replace("$(JOB_COMPLETION_INDEX)", str(index)) for argument in job_command.arguments
        )
        environment = {**job_command.environment, "SCORE_SERVER": key, "SCOREPROF_LOG": "json"}
        one = replace(job_command, arguments=arguments, environment=environment)
        code, output = finish(one.start(*HERE, "-p", "phases", "single"))
        assert code == 0, output
        assert key not in output
        events = [json.loads(line) for line in output.splitlines() if line.startswith('{"severity"')]
        assert {(event.get("pair"), event.get("side")) for event in events} >= {
            (index + 1, "control"),
            (index + 1, "test"),
        }
        assert (events[-1]["event"], events[-1]["exit_code"]) == ("end", 0)
    (job,) = job_command.mounted("/results/comparisons").iterdir()
    assert sorted(path.name for path in (job / "runs").iterdir()) == [
        f"pair-{pair:02d}-{side}" for pair in (1, 2) for side in ("control", "test")
    ]
    assert sorted(path.name for path in (job / "pairs").iterdir()) == ["pair-01", "pair-02"]
    assert not (job / "comparison.json").exists()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path
    last_step = [sys.executable, "-m", "scoreprof_nb", str(ROOT / "notebooks" / "compare_runs.ipynb")]
    patterns = [f"{job}/runs/pair-*-{side}" for side in ("control", "test")]
    subprocess.run(
        [
            *last_step,
            "out.ipynb",
            "-p",
            "control",
            patterns[0],
            "-p",
            "test",
            patterns[1],
            "-p",
            "compare_dir",
            "all",
        ],
        cwd=tmp_path,
        check=True,
        timeout=END_S,
    )
    comparison = json.loads((tmp_path / "all" / "comparison.json").read_text())
    assert comparison["pairs"] == 2
    assert not left_behind(tmp_path)


def test_job_whose_results_have_no_room_fails(command: Command) -> None:
    """Broken: the Job is complete, and its results are gone with the Pod."""
    results = command.mounted("/results")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(results)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system")
    try:
        code, output = finish(command.start(*HERE, "-p", "phases", "single"))
    finally:
        subprocess.run(["umount", str(results)], check=True)
    assert code == 1, output
    assert "No space left" in output
    assert "the results could not be copied to" in str(message_of(command)["error"])
