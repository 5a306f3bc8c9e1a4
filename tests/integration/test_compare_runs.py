"""Comparisons with the real server: chance is no regression, a known cost is one, wrong scores are blocked.

The comparing notebook captures pairs of a control and a test side with a known cost in tokenising, once a
large and once a small cost. Further runs are compared with these.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from scoreprof_nb.analysis.run_analysis import analyse
from scoreprof_nb.capture.session import capture
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.format import escape_markdown
from scoreprof_nb.run_folder.store import load_run
from tests.support.paths import ROOT
from tests.support.schemas import assert_matches_schema
from tests.support.server_runs import left_behind
from tests.truth.truth import INJECT, INJECTIONS

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]  # the first test of a fixture captures its pairs
NOTEBOOK = ROOT / "notebooks" / "compare_runs.ipynb"
PHASE_S = 6.0
PAIRS = 6  # a verdict needs five; on a busy machine one may lose its request path
WIDE = 2.0  # half widths of a 95 % interval: hardly ever missed
# The large cost is well above the noise between launches on a busy machine, so that the verdict on p50 does
# not depend on chance. The small cost must be found in its component.
SPIN_MS, SMALL_MS = 80.0, 10.0
SCORES = "sgl_jax.srt.managers.tokenizer_manager:TokenizerManager.score_request:skew:0.1"
SHORT = {"phases": "single", "phase_s": PHASE_S, "warmup_s": 30}


def injected(spec: str, calls: Path | str = "") -> str:
    """The server's environment for an injection that records its calls in a file."""
    environment = {"SCOREPROF_INJECT": spec, "SCOREPROF_INJECT_CALLS": str(calls), "PYTHONPATH": str(INJECT)}
    return shlex.join(f"{name}={value}" for name, value in environment.items())


@dataclass(frozen=True)
class Compared:
    """A finished call of the comparing notebook."""

    code: int
    output: str
    folder: Path

    @property
    def content(self) -> dict[str, Any]:
        """comparison.json."""
        content: dict[str, Any] = json.loads((self.folder / "comparison.json").read_text())
        return content

    @property
    def calls(self) -> Path:
        """The file with the calls of the test side's injection."""
        return self.folder.with_name("calls")

    @property
    def cost_ms(self) -> float:
        """What the injection took per call."""
        durations_ns = [int(line.split()[1]) for line in self.calls.read_text().splitlines()]
        return sum(durations_ns) / len(durations_ns) / 1e6

    def misses_by(self, component: str) -> float:
        """The distance of the component's change from the cost, in half widths of its interval."""
        row = self.changes[component]
        return abs(row["change_ms"] - self.cost_ms) / ((row["high"] - row["low"]) / 2)

    def metric(self, name: str) -> dict[str, Any]:
        return next(row for row in self.content["metrics"] if row["metric"] == name)

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The rows of the components, by name."""
        return {row["component"]: row for row in self.content["components"]}

    @property
    def others(self) -> list[dict[str, Any]]:
        """The changes except ``tokenize``, and except ``device_wait``, because on a CPU the device's work
        competes with everything else for the cores."""
        return [row for name, row in self.changes.items() if name not in ("tokenize", "device_wait")]


def compared(folder: Path, **parameters: object) -> Compared:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scoreprof_nb", str(NOTEBOOK), str(folder / "out.ipynb")]
    for name, value in {"compare_dir": folder / "comparison", **parameters}.items():
        command += ["-p", name, str(value)]
    answer = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1100,
        cwd=folder,
        env=os.environ,
    )
    assert not left_behind(folder)
    return Compared(answer.returncode, answer.stdout, folder / "comparison")


def one_run(folder: Path, **parameters: object) -> Path:
    outcome = capture(
        Parameters.from_mapping({"run_dir": str(folder), **SHORT, **parameters}), lambda text: None
    )
    assert outcome.failure is None
    return folder


def spinning(folder: Path, ms: float, **parameters: object) -> Compared:
    """Let the notebook capture pairs. The test side spends ``ms`` more in tokenising."""
    tokenising = next(injection for injection in INJECTIONS if injection.name == "tokenising")
    return compared(
        folder,
        pairs=PAIRS,
        test_server_environment=injected(replace(tokenising, ms=ms).spec, folder / "calls"),
        test_label="spin",
        **SHORT,
        **parameters,
    )


@pytest.fixture(scope="module")
def spin(server_python: str, may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return spinning(tmp_path_factory.mktemp("spin"), SPIN_MS, fail_on="regression")


@pytest.fixture(scope="module")
def small(server_python: str, may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return spinning(tmp_path_factory.mktemp("small"), SMALL_MS)


def runs_of(spin: Compared, side: str) -> str:
    return str(spin.folder / "runs" / f"pair-*-{side}")


def test_known_cost_is_a_regression(spin: Compared) -> None:
    """Broken: a branch that is slower passes."""
    assert spin.metric("p50")["verdict"] == "regression", spin.output
    assert spin.content["verdict"] == "regression"
    assert spin.code == 3, "fail_on=regression is exit code 3"


def test_known_cost_is_in_the_right_component_with_the_right_size(spin: Compared) -> None:
    """Broken: it is slower, and the wrong component is named."""
    tokenize = spin.changes["tokenize"]
    assert spin.misses_by("tokenize") <= WIDE, (tokenize, spin.cost_ms)
    assert tokenize["verdict"] == "regression"
    assert tokenize["change_ms"] > 3 * max(row["change_ms"] for row in spin.others)


def test_ten_ms_are_found_in_the_right_component_with_the_right_size(small: Compared) -> None:
    """Broken: only changes of more than half of a request are found. Six pairs find it. Whether they also
    suffice for the correction over some fifteen components depends on how busy the machine is."""
    tokenize = small.changes["tokenize"]
    assert tokenize["verdict"] in ("regression", "changed, size uncertain"), small.content["components"]
    assert tokenize["low"] > 0
    assert small.misses_by("tokenize") <= WIDE, (tokenize, small.cost_ms)
    assert tokenize["change_ms"] > max(abs(row["change_ms"]) for row in small.others)
    assert not small.metric("p50")["verdict"].endswith("improvement")


def test_a_cost_lies_in_its_own_interval(spin: Compared, small: Compared) -> None:
    """Broken: the intervals are too narrow. Both miss in one of four hundred pairs of comparisons."""
    assert min(spin.misses_by("tokenize"), small.misses_by("tokenize")) <= 1


def test_known_cost_is_the_first_finding_of_a_run(spin: Compared) -> None:
    """Broken: a run's report lists another component before the largest. On a busy machine, waiting for the
    device takes longer than the cost: it is left out, and the quickest run is tested."""
    summaries = [
        json.loads((run / "summary.json").read_text()) for run in (spin.folder / "runs").glob("*-test")
    ]
    quickest = min(summaries, key=lambda summary: summary["phases"]["single"]["latency_ms"]["p50"])
    named = [row["component"] for row in quickest["findings"] if row["component"] != "device_wait"]
    assert named[0] == "tokenize", quickest["findings"]


def assert_adds_up(answer: Compared) -> float | None:
    """Assert that the components' changes sum to the change of the mean latency. Returns the sum, or None if
    no pair has request paths by the same method on both sides, which the comparison must then state."""
    content = answer.content
    rows, folders = content["components"], [content[side]["folders"] for side in ("control", "test")]
    if not rows[0]["pairs"]:
        assert any("request path" in text for text in content["left_out"])
        return None
    changes = []
    for pair in zip(*folders, strict=True):
        runs = [analyse(load_run(Path(folder)), load_rules()) for folder in pair]
        phases = [run.phases[0] for run in runs]
        if all(phase.path.method == rows[0]["method"] for phase in phases):
            before, after = (phase.requests.profiled()["latency_ms"].mean() for phase in phases)
            changes.append(after - before)
    assert len(changes) == rows[0]["pairs"]
    change_ms = float(sum(row["change_ms"] for row in rows))
    assert change_ms == pytest.approx(sum(changes) / len(changes), rel=0.01, abs=0.1)
    return change_ms


def implied(row: dict[str, Any]) -> str:
    """Return the verdict that follows from a row's numbers by the rules in docs/comparison.md."""
    low, high, delta = row["low"], row["high"], row["delta"]
    if low is None:
        return "not known"
    slower, faster = low > 1 + delta, high < 1 - delta
    if slower or faster:
        word = "regression" if slower != (row["metric"] == "throughput") else "improvement"
        if row["pairs"] == 1:
            return f"suggestive {word}"
        return word if row["p_corrected"] < 0.05 else "changed, size uncertain"
    if row["pairs"] > 1 and 1 - delta <= low and high <= 1 + delta:
        return "no meaningful change"
    return "changed, size uncertain" if row["pairs"] > 1 and not low <= 1 <= high else "inconclusive"


def test_verdicts_are_what_their_own_rows_say(spin: Compared, small: Compared) -> None:
    for one in (spin, small):
        assert one.content["metrics"]
        assert [row["verdict"] for row in one.content["metrics"]] == list(
            map(implied, one.content["metrics"])
        )


def test_changes_of_the_components_add_up_to_that_of_the_latency(spin: Compared) -> None:
    """Broken: the table of components explains a difference that was not measured."""
    assert_adds_up(spin)


def test_known_cost_is_among_the_functions_and_the_new_stacks(spin: Compared) -> None:
    functions = [row["function"] for row in spin.content["functions"]]
    assert any("injected_spin" in name or "_tokenize_one_request" in name for name in functions)
    new = [row for row in spin.content["stacks"] if row["which"] == "new"]
    assert any("_tokenize_one_request" in row["stack, innermost first"] for row in new)


def test_comparison_matches_the_shipped_schema(spin: Compared) -> None:
    """Broken: a tool that was written for the schema cannot read the comparison."""
    assert_matches_schema(spin.content, "comparison")


def test_scores_of_a_slower_side_are_the_same(spin: Compared) -> None:
    assert [row["same"] for row in spin.content["scores"]] == [True]
    assert not spin.content["blocked"]


def test_report_and_its_files_are_there(spin: Compared) -> None:
    for name in (
        "report.ipynb",
        "report.html",
        "comparison.json",
        "comparison.md",
        "diff_test.svg",
        "diff_control.svg",
    ):
        assert (spin.folder / name).stat().st_size > 100, name
    assert spin.output.strip().splitlines()[-1] == f"report: {spin.folder / 'report.ipynb'}"
    assert escape_markdown(spin.content["sentence"]) in spin.output
    assert not re.search(r"Traceback \(most recent", (spin.folder / "report.html").read_text())


def test_each_run_is_a_run_folder_of_its_own(spin: Compared) -> None:
    runs = sorted((spin.folder / "runs").iterdir())
    assert runs
    for run in runs:
        assert json.loads((run / "summary.json").read_text())["status"] == "complete"


def test_control_against_itself_is_no_regression(spin: Compared, small: Compared, tmp_path: Path) -> None:
    """Broken: chance is called a regression. Control against itself, and against other launches of it."""
    control = runs_of(spin, "control")
    same = compared(tmp_path / "same", control=control, test=control)
    assert same.content["verdict"] == "no meaningful change", same.content["sentence"]
    other = compared(
        tmp_path / "other", control=control, test=runs_of(small, "control"), fail_on="regression"
    )
    assert other.code == 0, other.output
    assert other.content["verdict"] not in ("regression", "mixed", "blocked")


def test_other_scores_block_an_improvement(spin: Compared, tmp_path: Path) -> None:
    """Broken: a branch that returns other scores is called faster."""
    wrong = one_run(tmp_path / "wrong", server_environment=injected(SCORES))
    answer = compared(
        tmp_path, control=spin.folder / "runs" / "pair-01-test", test=wrong, fail_on="regression"
    )
    assert answer.code == 3
    assert answer.content["verdict"] == "blocked"
    assert "other scores" in answer.content["sentence"]
    assert answer.content["scores"][0]["largest_difference"] == pytest.approx(0.1, abs=0.02)
    assert not any(row["verdict"].endswith("improvement") for row in answer.content["metrics"])


def test_setting_against_the_default_is_answered_by_its_tables(spin: Compared, tmp_path: Path) -> None:
    """Broken: a setting cannot be compared. Without overlap the scheduler runs the batch itself, without a forward
    thread."""
    plain = one_run(tmp_path / "plain", server_flags="--disable-overlap-schedule", label="no overlap")
    answer = compared(tmp_path, control=spin.folder / "runs" / "pair-01-control", test=plain)
    content = answer.content
    settings = {row["what"] for row in content["differences"] if row["kind"] == "compared"}
    assert "server_flags" in settings
    assert content["verdict"].startswith("suggestive") or content["verdict"] == "inconclusive"
    assert [row["verdict"] for row in content["metrics"]] == list(map(implied, content["metrics"]))
    change_ms = assert_adds_up(answer)
    p50 = answer.metric("p50")
    if change_ms is not None and p50["verdict"].startswith("suggestive"):
        assert (p50["ratio"] > 1) == (change_ms > 0)


def test_captures_with_different_settings_are_refused(spin: Compared, tmp_path: Path) -> None:
    """Broken: a rate of 50 Hz is compared with one of 100, and the difference is called the branch's."""
    slow = one_run(tmp_path / "slow", rate_hz=50)
    control = spin.folder / "runs" / "pair-01-control"
    refused = compared(tmp_path / "refused", control=control, test=slow)
    assert refused.code == 42
    assert "rate_hz: control 100, test 50" in refused.output
    allowed = compared(tmp_path / "allowed", control=control, test=slow, allow_unlike=True)
    assert allowed.code == 0
    assert "UNLIKE CAPTURES" in (allowed.folder / "comparison.md").read_text()
