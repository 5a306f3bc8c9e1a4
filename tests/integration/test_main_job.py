"""The main job on the real server: its output, its files, and the laws that its numbers obey."""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import pytest

from scoreprof_nb.analysis.requests import within
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.stacks.recording import read_recording
from tests.support.paths import PROFILE_NOTEBOOK as NOTEBOOK
from tests.support.paths import ROOT
from tests.support.schemas import assert_matches_schema
from tests.support.server_runs import Finished, assert_refused, run_in

pytestmark = pytest.mark.server
# Of the machine, and not of the kit: on a busy one they may fail.
OF_THE_MACHINE = ("common ticks", "the mean with py-spy", "over the blocks")
PHASES = ("single", "small", "large", "mixed")
PROFILED = {4: (1, 2), 8: (1, 2, 4, 7)}  # of the blocks of a phase: half as many where requests are slow


@pytest.fixture(scope="module")
def summary(demo: Finished) -> dict:
    assert demo.code == 0, demo.output[-3000:]
    return json.loads((demo.folder / "summary.json").read_text())


def test_summary_matches_the_shipped_schema(summary: dict) -> None:
    """Broken: a tool that was written for the schema cannot read the summary."""
    assert_matches_schema(summary, "summary")


def test_last_line_says_where_the_report_is(demo: Finished) -> None:
    """Broken: users do not find the report."""
    assert demo.code == 0, demo.output[-3000:]
    assert demo.last_line == f"report: {demo.folder / 'report.ipynb'}"


def test_progress_is_shown(demo: Finished) -> None:
    """Broken: nothing is printed for minutes."""
    for phase in PHASES:
        assert f"phase {phase} (" in demo.output
    assert "s left" in demo.output
    assert "warm-up:" in demo.output


def test_every_file_is_there(demo: Finished) -> None:
    names = (
        "report.ipynb report.html score_api_profile.svg summary.json summary.md manifest.json provenance.json"
    )
    for name in [*names.split(), "server.log"]:
        assert (demo.folder / name).stat().st_size > 100, name
    for phase in PHASES:
        folder = demo.folder / "phases" / phase
        files = {path.name for path in folder.iterdir()}
        blocks = json.loads((folder / "phase.json").read_text())["blocks"]
        assert files == {
            "phase.json",
            "requests.parquet",
            "threads.parquet",
            "memory.parquet",
            "schedstat.parquet",
            "device.xplane.pb.gz",
            "device-requests.parquet",
            *(f"recording-{number}.speedscope.json" for number in PROFILED[len(blocks)]),
        }


@pytest.mark.parametrize("phase", PHASES)
def test_summary_keeps_the_contract(summary: dict, phase: str) -> None:
    """Broken: tools outside cannot read a run, or its numbers do not add up."""
    measured = summary["phases"][phase]
    requests = measured["requests"]
    assert requests["sent"] > 0
    assert requests["ok"] == requests["sent"]
    assert requests["failed"] == 0
    assert measured["latency_ms"]["mean"] > 0
    path = measured["request_path_ms"]
    mean = measured["profiled_latency_ms"]["mean"]
    assert sum(part["mean"] for part in path.values()) == pytest.approx(mean, rel=1e-6)
    assert all(part["ci95"][0] <= part["mean"] <= part["ci95"][1] for part in path.values())
    assert measured["threads"]
    for thread in measured["threads"]:
        assert sum(thread["share"].values()) == pytest.approx(1.0, abs=1e-9)
    assert measured["quality"]["unclassified_share"] < 0.02
    assert measured["quality"]["ticks"] > 100
    assert measured["cpu_ms_per_request"]["native_threads"]["mean"] > 0
    failed = [
        check
        for check in measured["checks"]
        if check["passed"] is False and not any(words in check["name"] for words in OF_THE_MACHINE)
    ]
    assert not failed


def test_request_path_is_joint(summary: dict) -> None:
    """Broken: the launcher's clock, or py-spy's error lines, do not reach the recordings.

    On a machine that is very busy py-spy may attach to one process too late; not in most phases.
    """
    methods = [phase["request_path_method"] for phase in summary["phases"].values()]
    assert methods.count("joint") >= 3, methods


def test_servers_log_is_understood(demo: Finished) -> None:
    """Broken: the server's log lines have changed, and what hit a request is unknown without notice."""
    analysis = make_report(Parameters(run_dir=str(demo.folder))).analysis
    phases = {phase.name: phase for phase in analysis.phases}
    for name in PHASES:
        row = phases[name].batching.summary
        assert None not in row.values(), row
        assert 0 <= row["decode_batches_at_least"] <= row["decode_batches_at_most"], row
        assert 0 <= row["split"] <= row["requests"], row
        assert 0 <= row["compile_hit"] <= row["requests"], row
    # One a request; on a busy machine a line may be read only after the next request was sent.
    assert phases["single"].batching.summary["prefills_per_request"] >= 0.9
    sequences = int(
        (phases["large"].batching.sizes["new_sequences"] * phases["large"].batching.sizes["batches"]).sum()
    )
    items = int(phases["large"].requests.table["items"].sum())
    assert items - 3 * 32 <= sequences <= items + 32, "but for requests between two blocks: one per item"


@pytest.mark.parametrize("phase", PHASES)
def test_prompts_are_cold_and_as_long_as_planned(demo: Finished, phase: str) -> None:
    """Broken: the server knows the prompts from earlier requests, or the report states another length than it
    was sent: tokens counted by word are not those of the whole text."""
    analysis = make_report(Parameters(run_dir=str(demo.folder))).analysis
    (of_phase,) = [one for one in analysis.phases if one.name == phase]
    cache = of_phase.prefix_cache
    assert cache.cached_share <= cache.explained_share
    assert cache.explained_share < 0.75  # of 32 items, 31 may take the query from the cache
    batches = within(of_phase.phase, analysis.run.log)["text"].str.extract(
        r"#new-seq: (\d+).*#new-token: (\d+).*#cached-token: (\d+)"
    )
    sequences, new, cached = batches.dropna().astype(int).sum()
    requests = of_phase.requests.table
    planned = requests["prompt_tokens"].sum() / requests["items"].sum()
    error = (requests["prompt_tokens"] / requests["items"]).std() / len(requests) ** 0.5
    assert abs((new + cached) / sequences - planned) < 4 * error + 0.02 * planned


def test_items_per_request_are_those_of_the_phases(summary: dict) -> None:
    items = {name: phase["requests"]["items_per_request"] for name, phase in summary["phases"].items()}
    assert (items["single"], items["small"], items["large"]) == (1, 4, 32)
    assert 1 < items["mixed"] < 32


def test_every_server_thread_is_found(summary: dict) -> None:
    """Broken: roles are not recognised, and the answer lacks a process."""
    threads = {(thread["process"], thread["thread"]) for thread in summary["phases"]["single"]["threads"]}
    assert {
        ("http", "main"),
        ("scheduler", "main"),
        ("scheduler", "forward"),
        ("detokenizer", "main"),
    } <= threads
    assert not [thread for thread in threads if thread[0] in ("clock", "resource_tracker", "other")]


def test_findings_are_in_words_and_largest_first(summary: dict) -> None:
    findings = summary["findings"]
    sizes = [finding["ms_per_request"] for finding in findings]
    assert sizes == sorted(sizes, reverse=True)
    assert findings[0]["max_speedup"] > 1
    assert "ms" in findings[0]["text"]


def test_scores_are_checked(summary: dict) -> None:
    assert summary["phases"].keys() == set(PHASES)
    for phase in summary["phases"].values():
        assert phase["scores"]["consistent"] is True
        assert len(phase["scores"]["digest"]) == 64


def without_nulls(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if value is not None}


def test_recordings_open_in_speedscope(demo: Finished) -> None:
    """Broken: the recordings cannot be used outside the kit. They are validated with speedscope's schema."""
    schema = json.loads((ROOT / "tests/captures/speedscope/file-format-schema.json").read_text())
    paths = sorted(demo.folder.glob("phases/*/recording-*.speedscope.json"))
    assert {path.parent.name for path in paths} == set(PHASES)
    for path in paths:
        # py-spy writes null where the format leaves a field out; speedscope takes both.
        document = json.loads(path.read_text(), object_pairs_hook=without_nulls)
        jsonschema.validate(document, schema)
        assert not read_recording(path).skipped


def test_flame_graph_is_an_image(demo: Finished) -> None:
    text = (demo.folder / "score_api_profile.svg").read_text()
    ElementTree.fromstring(text)
    assert "forward_batch_generation" in text


def test_report_has_figures_and_no_error(demo: Finished) -> None:
    notebook = json.loads((demo.folder / "report.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 7
    html = (demo.folder / "report.html").read_text()
    assert "demo run: where does a Score API request spend its time?" in html
    assert 'src="http' not in html, "the report must open without a network"


def test_summary_text_answers_alone(demo: Finished) -> None:
    text = (demo.folder / "summary.md").read_text()
    assert "Request path" in text
    assert "device_wait" in text
    assert len(text.splitlines()) < 120


def test_finished_run_is_analysed_again_without_a_server(demo: Finished, tmp_path: Path) -> None:
    """Broken: a report can be made only where the server ran. Here, sglang-jax is missing."""
    shutil.copytree(demo.folder, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    again = run_in(tmp_path, {"SCOREPROF_SERVER_PYTHON": "/nonexistent/python"})
    assert again.code == 0, again.output[-3000:]
    assert "nothing was launched" in again.output
    assert "launching" not in again.output
    old = json.loads((demo.folder / "summary.json").read_text())
    new = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert new["phases"] == old["phases"], "the same folder must give the same numbers"


def test_resume_with_another_workload_is_refused(demo: Finished, tmp_path: Path) -> None:
    """Broken: one report mixes two different workloads."""
    file = tmp_path / "requests.jsonl"
    file.write_text('{"query": "q", "items": ["a"]}\n')
    more = {"phases": "single,file", "requests_file": file}
    finished = run_in(tmp_path, run_dir=demo.folder, phase_s=8, rate_hz=50, **more)
    assert_refused(finished, "rate_hz='50'", "another run_dir")


def test_plain_papermill_works(demo: Finished, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(tmp_path / "out.ipynb"), "-p", "run_dir"]
    answer = subprocess.run([*command, str(demo.folder)], capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr[-3000:]


def test_help_lists_every_parameter() -> None:
    """Broken: a user cannot look up the parameters and their units."""
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(NOTEBOOK)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    for words in ("phase_s: float (default 24.0)", 'rate_hz: str (default "auto")', "server_url: str"):
        assert words in answer.stdout, answer.stdout


def test_repository_notebooks_carry_no_outputs() -> None:
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert paths
    for path in paths:
        cells = json.loads(path.read_text())["cells"]
        assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")], path
