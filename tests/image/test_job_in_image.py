"""The Job's Pod, as rendered, in the image that tests/image/check.sh has built.

Only what a machine without a cluster lacks is replaced: buckets are folders, the model is tiny, and the device is
the CPU. The slow bucket is a FUSE mount (bindfs) that limits the rate, refuses renames and ignores modes.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scoreprof_nb import demo
from scoreprof_nb.run_folder.store import load_run
from tests.support.job import render
from tests.support.pod import END_S, HELPERS, Pod, in_container, root_of

CONTAINER = os.environ.get("IMAGE_CONTAINER", "")
FLAGS = f"SERVER_FLAGS={' '.join(demo.flags('0.0.2'))}"
SHORT = ("phase_s=4", "warmup_s=40")
ON_CPU = ("-p", "device", "cpu")
KEY = "open-sesame-1234"
STOPPED_WITHIN_S = 8  # of the 15 that a spot node gives
SYS_PTRACE = 19  # its bit, of linux/capability.h
PACKAGE = "/opt/kit/lib/python3.12/site-packages/scoreprof_nb"

pytestmark = pytest.mark.skipif(not CONTAINER, reason="run by tests/image/check.sh, which builds the image")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models bucket."""
    folder = tmp_path_factory.mktemp("models")
    program = ("/opt/server/bin/python", f"{PACKAGE}/demo/tiny_model.py", "/models/tiny")
    in_container(CONTAINER, *program, volumes={folder: "/models"})
    return folder


def pod_of(folder: Path, models: Path, *words: str) -> Pod:
    """The Pod of a single run of ``label=serving-fixes``."""
    manifests = render("MODEL=tiny", "label=serving-fixes", FLAGS, *SHORT, *words)
    pod = Pod(manifests, CONTAINER, folder, {"SCORE_KEY": KEY})
    (folder / "models").symlink_to(models)
    return pod


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=END_S)
    return process.returncode, output


def message_of(pod: Pod) -> dict[str, object]:
    text = pod.termination_log.read_text()
    assert len(text.encode()) <= 4096
    message: dict[str, object] = json.loads(text)
    return message


@contextmanager
def mounted(folder: Path, *command: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run([*command, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_wrong_model_ends_the_job_at_once(models: Path, tmp_path: Path) -> None:
    """Broken: in the image, retries of a wrong setting are paid for, and nobody learns what is wrong."""
    pod = pod_of(tmp_path, models, "MODEL=absent")
    code, output = finish(pod.start(*ON_CPU))
    assert code == 42, output
    assert "model_path='/models/absent'" in output
    assert message_of(pod)["exit_code"] == 42
    assert "model_path" in str(message_of(pod)["error"])


def test_pod_without_ptrace_says_so(models: Path, tmp_path: Path) -> None:
    """Broken: a node that forbids tracing gives an empty profile after half an hour on a TPU."""
    pod = pod_of(tmp_path, models)
    before = ("/opt/kit/bin/python", f"{HELPERS}/no_ptrace.py")
    code, output = finish(pod.start(*ON_CPU, before=before))
    assert code == 42, output
    assert "SYS_PTRACE" in output
    assert "no permission to trace" in str(message_of(pod)["error"])
    assert not (tmp_path / "scratch" / "run" / "server.log").exists(), "the server was launched"


def test_preempted_job_continues_on_an_empty_disk_with_a_slow_bucket(models: Path, tmp_path: Path) -> None:
    """Broken: a preempted run is lost or starts afresh; or a slow bucket costs the grace period of a stop."""
    pod = pod_of(tmp_path, models, "phases=single,small", "SECRET=keys", "api_key_env=SCORE_KEY")
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    results = tmp_path / "results"
    slow = ("bindfs", "--write-rate=2M", "--read-rate=8M", "--rename-deny", "--chmod-ignore", str(bucket))
    with mounted(results, *slow):
        process = pod.start(*ON_CPU)
        assert process.stdout is not None
        before = ""
        for line in process.stdout:
            before += line
            if "block 2 of " in line and "phase small" in before:
                break
        code, output, stop_s = pod.preempt(process)
        print(f"stopped {stop_s:.1f} s after SIGTERM")
        assert code == 143, before + output
        assert stop_s < STOPPED_WITHIN_S
        assert message_of(pod)["error"] == "stopped by SIGTERM"
        assert message_of(pod)["status"] == "partial"
        assert not pod.processes()
        kept = bucket / "runs" / pod.job
        assert load_run(kept).manifest.phases_done == ("single",)
        recordings = {path.name: path.stat().st_mtime_ns for path in (kept / "phases" / "single").iterdir()}

        pod.new_node(root_of(CONTAINER))
        code, after = finish(pod.start(*ON_CPU))
    assert code == 0, after
    assert_continued(pod, kept, recordings, after)
    for path in (*tmp_path.rglob("*"), root_of(CONTAINER) / "tmp"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in before + output + after


def assert_continued(pod: Pod, kept: Path, recordings: dict[str, int], output: str) -> None:
    """The run is whole, from both attempts, in the image's own words."""
    assert f"CapEff {1 << SYS_PTRACE:016x}, uid 0" in output.splitlines()[0], "not the manifest's privileges"
    run = load_run(kept)  # checksums too
    assert (run.manifest.status, run.manifest.label) == ("complete", "serving-fixes")
    assert tuple(run.phases) == ("single", "small")
    single = {path.name: path.stat().st_mtime_ns for path in (kept / "phases" / "single").iterdir()}
    assert single == recordings, "a finished phase is neither measured nor copied again"
    summary = json.loads((kept / "summary.json").read_text())
    assert summary["status"] == "complete"
    for name, phase in summary["phases"].items():
        assert phase["requests"]["ok"], name
        assert phase["quality"]["ticks"], name
    commit, baseline_commit = os.environ["IMAGE_COMMIT"], os.environ["IMAGE_BASELINE_COMMIT"]
    source = {"repo": "file:///repo", "branch": "serving-fixes", "commit": commit}
    image = summary["provenance"]["image"]
    assert summary["provenance"]["sglang_jax_source"] == image["server"] == source
    assert image["baseline"] == {"repo": "file:///repo", "branch": "main", "commit": baseline_commit}
    assert commit in (kept / "report.html").read_text(), "the report does not name the commit"
    message = message_of(pod)
    assert (message["exit_code"], message["status"], message["error"]) == (0, "complete", None)
    assert (kept / "summary.md").read_text().strip() in output
    assert output.strip().splitlines()[-1] == f"report: /results/runs/{pod.job}/report.ipynb"
    assert not pod.processes()
    assert list((kept.parents[1] / "jax-cache").iterdir()), "each retry compiles everything again"


def test_job_whose_results_have_no_room_fails(models: Path, tmp_path: Path) -> None:
    """Broken: the Job is complete, and its results are gone with the Pod; or the image's second server, of the
    baseline, does not run.
    """
    pod = pod_of(tmp_path, models, "phases=single", "server_python=/opt/baseline/bin/python")
    with mounted(tmp_path / "results", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        code, output = finish(pod.start(*ON_CPU))
    assert code == 1, output
    assert "No space left" in output
    assert "the results could not be copied to" in str(message_of(pod)["error"])
    run = tmp_path / "scratch" / "run"
    assert load_run(run).manifest.status == "complete"
    assert os.environ["IMAGE_BASELINE_COMMIT"] in (run / "provenance.json").read_text()
    assert not pod.processes()
