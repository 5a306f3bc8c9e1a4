"""summary.json and the report of a run: what is unknown is null, with its reason."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from scoreprof_nb.analysis import run_analysis
from scoreprof_nb.analysis.ticks import phase_ticks
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report import profile_tables as tables
from scoreprof_nb.report import quality_tables
from scoreprof_nb.report.component_tables import component_table
from scoreprof_nb.report.findings import MARGINAL
from scoreprof_nb.report.group_table import group_table
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_files import files_table
from scoreprof_nb.report.profile_verdict import path_notes, verdict_markdown
from tests.support.written_run import (
    BLOCK_S,
    FAILURE,
    GOOD,
    LATENCY_MS,
    PER_BLOCK,
    check_result,
    failed,
    reported,
    request,
    write_run,
)

# As in design.md, The contract with everything outside.
TOP_KEYS = {"run_id", "label", "status", "started_at", "finished_at", "provenance", "phases", "findings"}
PHASE_KEYS = {
    "requests": {"sent", "ok", "failed", "compile_hit", "split", "items_per_request"},
    "latency_ms": {"mean", "p50", "p90", "p95", "p99"},
    "profiled_latency_ms": {"mean", "p50"},
    "throughput": {"requests_per_s", "items_per_s", "requests_per_s_ci95", "items_per_s_ci95"},
    "latency_ci95_ms": {"mean", "p50", "p90", "p95", "p99"},
    "warmup": {"sufficient", "text"},
    "request_path_ms": set(),
    "cpu_ms_per_request": set(),
    "threads": set(),
    "quality": {"rate_hz", "effective_rate_hz", "ticks", "lost_share", "behind_s", "unclassified_share"},
    "observer_effect": {"p50_ratio", "ci95", "mean_ratio", "mean_ci95"},
    "scores": {"consistent", "digest"},
}


# ---- without recordings


@pytest.mark.parametrize("recording", ["failed", "off"])
def test_latency_is_there_and_the_path_is_not(tmp_path, recording):
    """Broken: a py-spy that fails costs the latencies too, or leaves an empty chart without a reason."""
    write_run(tmp_path, recording=recording)
    report, summary = reported(tmp_path)
    phase = summary["phases"]["small"]
    assert summary["status"] == "complete"
    assert phase["latency_ms"]["mean"] == pytest.approx(LATENCY_MS)
    assert phase["latency_ms"]["p50"] == pytest.approx(LATENCY_MS)
    assert phase["request_path_ms"] == {}
    assert phase["request_path_method"] is None
    assert phase["threads"] == []
    assert not report.has_path
    assert path_notes(report) == "- small: no request path: no stacks were recorded"
    assert "No request path: no stacks were recorded" in verdict_markdown(report)


@pytest.mark.parametrize("recording", ["failed", "off"])
def test_cpu_without_stacks_is_not_said_to_be_of_native_threads(tmp_path, recording):
    """Broken: CPU time of Python threads is shown as XLA's when there are no stacks."""
    write_run(tmp_path, recording=recording)
    summary = reported(tmp_path)[1]
    assert "native_threads" not in summary["phases"]["small"]["cpu_ms_per_request"]
    assert "native_threads" not in {finding["component"] for finding in summary["findings"]}


def test_reason_of_a_failed_recording_is_shown(tmp_path):
    write_run(tmp_path)
    report, _ = reported(tmp_path)
    passed, text = check_result(report, "every recording is complete")
    assert passed is False
    assert FAILURE in text


def test_requests_are_counted_and_unknown_percentiles_are_null(tmp_path):
    """Broken: p90 is given for 20 requests, which are too few, or p50 is not."""
    write_run(tmp_path)
    phase = reported(tmp_path)[1]["phases"]["small"]
    assert phase["requests"] == {
        "sent": 40,
        "ok": 40,
        "failed": 0,
        "failed_by_kind": {},
        "compile_hit": None,
        "split": None,
        "items_per_request": 4.0,
    }
    assert [phase["latency_ms"][name] for name in ("p90", "p95", "p99")] == [None] * 3
    assert phase["profiled_latency_ms"] == {"mean": None, "p50": None}  # py-spy failed
    assert phase["throughput"] == {
        "requests_per_s": pytest.approx(PER_BLOCK / BLOCK_S),
        "requests_per_s_ci95": [pytest.approx(PER_BLOCK / BLOCK_S)] * 2,  # no slice differs
        "items_per_s": pytest.approx(4 * PER_BLOCK / BLOCK_S),
        "items_per_s_ci95": [pytest.approx(4 * PER_BLOCK / BLOCK_S)] * 2,
    }
    assert phase["observer_effect"]["p50_ratio"] is None
    assert phase["scores"]["consistent"] is True
    assert re.fullmatch(r"[0-9a-f]{64}", phase["scores"]["digest"])
    assert {name: value for name, value in phase["quality"].items() if value is not None} == {"ticks": 0}


def test_without_profiled_blocks_there_is_nothing_to_compare(tmp_path):
    write_run(tmp_path, recording="off")
    phase = reported(tmp_path)[1]["phases"]["small"]
    assert phase["profiled_latency_ms"] == {"mean": None, "p50": None}
    assert set(phase["observer_effect"].values()) == {None}


def test_warm_up_is_not_counted(tmp_path):
    slow = request(0, warmup=True, done_ns=GOOD[0]["sent_ns"] + 10**10)
    write_run(tmp_path, requests=[slow, *GOOD[1:]])
    phase = reported(tmp_path)[1]["phases"]["small"]
    assert phase["requests"]["sent"] == 39
    assert phase["latency_ms"]["mean"] == pytest.approx(LATENCY_MS)


def test_servers_log_says_what_was_hit(tmp_path):
    inside_s = GOOD[3]["sent_ns"] / 1e9 + 0.05
    line = f"{inside_s:.6f} Prefill batch. #new-seq: 2, #cache_miss: 1\n"
    write_run(tmp_path, log=line * 2)
    requests = reported(tmp_path)[1]["phases"]["small"]["requests"]
    assert (requests["compile_hit"], requests["split"]) == (1, 1)


WHY_NO_PATH = "samples could not be put on common ticks"
TWO_IN_FLIGHT = sorted(
    GOOD
    + [
        {**row, "request": 100 + row["request"], "sent_ns": row["sent_ns"] + 10**6, "worker": 1}
        for row in GOOD
    ],
    key=lambda row: row["request"],
)


def test_with_two_in_flight_and_no_common_ticks_there_is_no_path_and_it_says_so(tmp_path):
    """Broken: the log says that the path is not known, but not why, nor what else is."""
    write_run(tmp_path, concurrency=2, recording="whole", requests=TWO_IN_FLIGHT)
    report, summary = reported(tmp_path)
    assert summary["phases"]["small"]["request_path_ms"] == {}
    text = (tmp_path / "summary.md").read_text()
    for shown in (path_notes(report), verdict_markdown(report), text):
        assert "with more than one request in flight" in shown
        assert WHY_NO_PATH in shown
    for shown in (verdict_markdown(report), text):
        assert re.search(r"Busiest thread: scheduler / main, working 5% \(\d+% to \d+%\) of the time", shown)


def test_cpu_findings_say_their_interval_or_that_it_is_not_known(tmp_path):
    """Broken: where there is no path, the figure that is read first has no interval, or a wrong one."""
    write_run(tmp_path, concurrency=2, recording="whole", requests=TWO_IN_FLIGHT)
    report, summary = reported(tmp_path)
    findings = {finding["component"]: finding for finding in summary["findings"]}
    low, high = findings["tokenize"]["ci95"]
    assert low <= findings["tokenize"]["ms_per_request"] <= high
    assert f"(95 % interval {low:.1f} to {high:.1f})" in findings["tokenize"]["text"]
    assert findings["native_threads"]["ci95"] is None
    assert "95 % interval not known" in findings["native_threads"]["text"]
    assert summary["phases"]["small"]["cpu_ms_per_request"]["native_threads"]["ci95"] is None
    assert tables.cpu_table(report).set_index("component").loc["native_threads", "small"] == "5.0 (–)"


def test_marginal_method_is_marked_wherever_its_numbers_are_read(tmp_path):
    """Broken: shares that cannot tell what overlaps are read as what a request waits for."""
    write_run(tmp_path, recording="whole")  # without the launcher's clock
    report, summary = reported(tmp_path)
    assert summary["phases"]["small"]["request_path_method"] == "marginal"
    assert MARGINAL in verdict_markdown(report)
    assert any("marginal" in column for column in component_table(report).rows.columns)
    assert any("marginal" in column for column in group_table(report.analysis).rows.columns)
    assert all(
        "of the average profiled request, by the marginal method" in finding["text"]
        for finding in summary["findings"]
    )
    text = (tmp_path / "summary.md").read_text()
    assert "small (marginal)" in text
    assert MARGINAL in text
    assert report.analysis.paths()["method"].unique().tolist() == ["marginal"]


# ---- the contract


def test_keys_are_those_of_the_contract(tmp_path):
    """Broken: a program that reads summary.json fails, since a key is gone."""
    write_run(tmp_path, phases=2)
    summary = reported(tmp_path)[1]
    assert summary.keys() >= TOP_KEYS
    assert summary["schema_version"] == 1
    assert list(summary["phases"]) == ["small", "large"]
    for phase in summary["phases"].values():
        assert phase.keys() >= PHASE_KEYS.keys()
        for key, inner in PHASE_KEYS.items():
            assert not inner or phase[key].keys() >= inner, key


def test_run_is_identified_with_times_and_provenance(tmp_path):
    write_run(tmp_path)
    summary = reported(tmp_path)[1]
    assert (summary["run_id"], summary["label"]) == (tmp_path.name, "main")
    assert summary["started_at"] == "2023-11-14T22:13:10+00:00"
    assert summary["finished_at"] == "2023-11-14T22:14:10+00:00"
    assert summary["provenance"] == {"jax": "0.8.0", "packages": {"flax": None}}


def test_same_folder_gives_the_same_summary(tmp_path):
    """Broken: a report made again shows other numbers: the analysis is not seeded."""
    write_run(tmp_path)
    first = reported(tmp_path)[1]
    assert reported(tmp_path)[1] == first


# ---- failures


@pytest.mark.parametrize(
    ("failures", "status"), [(0, "complete"), (1, "complete"), (2, "partial"), (100, "partial")]
)
def test_more_than_1_percent_failed_is_partial(tmp_path, failures, status):
    """Broken: a run with more than 1 % failed requests counts as complete, or one failure in 100 makes it
    partial.
    """
    requests = [failed(n) if n < failures else request(n) for n in range(100)]
    write_run(tmp_path, requests=requests)
    report, summary = reported(tmp_path)
    phase = summary["phases"]["small"]
    assert summary["status"] == status
    assert phase["requests"]["failed"] == failures
    assert phase["requests"]["failed_by_kind"] == ({"timeout": failures} if failures else {})
    assert check_result(report, "at most 1 %")[0] is (failures <= 1)
    assert ("requests failed" in verdict_markdown(report)) == (failures > 0)


def test_failures_are_counted_by_kind_and_not_in_the_latency(tmp_path):
    requests = [*GOOD[:30], failed(30, "http_500"), failed(31, "http_500"), failed(32), *GOOD[33:]]
    requests[30]["done_ns"] += 10**10
    write_run(tmp_path, requests=requests)
    phase = reported(tmp_path)[1]["phases"]["small"]
    assert phase["requests"]["failed_by_kind"] == {"http_500": 2, "timeout": 1}
    assert (phase["requests"]["sent"], phase["requests"]["ok"]) == (40, 37)
    assert phase["latency_ms"]["mean"] == pytest.approx(LATENCY_MS)


@pytest.mark.parametrize(
    "requests",
    [[], [failed(n) for n in range(40)], [request(n) for n in range(3)]],
    ids=["none", "failed", "few"],
)
def test_phase_with_next_to_nothing_is_still_reported(tmp_path, requests):
    """Broken: a phase with hardly any data has no report."""
    write_run(tmp_path, requests=requests)
    report, summary = reported(tmp_path)
    assert summary["phases"]["small"]["latency_ms"]["p50"] is None
    assert summary["phases"]["small"]["requests"]["sent"] == len(requests)
    assert "small" in verdict_markdown(report)


def test_unknown_mean_is_not_shown_as_nan(tmp_path):
    write_run(tmp_path, requests=[failed(n) for n in range(40)])
    report, _ = reported(tmp_path)
    for text in (verdict_markdown(report), (tmp_path / "summary.md").read_text()):
        assert not re.search(r"\bnan\b", text)


@pytest.mark.parametrize(("status", "phases"), [("partial", 1), ("failed", 0)])
def test_status_of_the_capture_is_kept(tmp_path, status, phases):
    write_run(tmp_path, status=status, phases=phases)
    assert reported(tmp_path)[1]["status"] == status


@pytest.mark.parametrize(("phases", "status"), [(1, "partial"), (0, "failed")])
def test_capture_that_was_cut_off_is_not_complete(tmp_path, phases, status):
    """Broken: a capture that was killed counts as complete."""
    write_run(tmp_path, status="capturing", phases=phases)
    assert reported(tmp_path)[1]["status"] == status


def test_scores_that_differ_are_said(tmp_path):
    """Broken: a server that gives other scores to equal payloads looks correct."""
    requests = [request(n, scores=[[0.25 + 0.1 * (n == 8), 0.75]] * 4) for n in range(40)]
    write_run(tmp_path, requests=requests)
    assert reported(tmp_path)[1]["phases"]["small"]["scores"]["consistent"] is False


def test_scores_of_unequal_length_do_not_end_the_report(tmp_path):
    """Broken: scores of unequal length, which the load accepts, end the report."""
    requests = [request(n, scores=[[0.25], [0.25, 0.75], [0.25], [0.25]]) for n in range(40)]
    write_run(tmp_path, requests=requests)
    assert reported(tmp_path)[1]["phases"]["small"]["requests"]["sent"] == 40


# ---- summary.md, and what the notebook shows


def test_markdown_is_bounded_and_names_what_failed(tmp_path):
    write_run(tmp_path, phases=2)
    reported(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("# main: complete\n")
    assert len(text.splitlines()) < 80
    assert "FAILED checks:\n- small: every recording is complete" in text
    assert f"Report: {tmp_path / 'report.ipynb'}" in text


def test_log_summary_shows_intervals_and_n(tmp_path):
    """Broken: whoever reads the log alone takes a chance difference for a real one."""
    slower = [{**row, "done_ns": row["done_ns"] + row["request"] * 7 % 40 * 10**6} for row in GOOD]
    write_run(tmp_path, requests=slower, recording="whole")
    report, _ = reported(tmp_path)
    lines = (tmp_path / "summary.md").read_text().splitlines()
    row = report.analysis.phases[0].latency.table.set_index("which").loc["all"]
    shown = [
        f"{row['mean_ms']:.1f} ({row['mean_low']:.1f} to {row['mean_high']:.1f})",
        f"{row['p50_ms']:.1f} (–)",  # 20 requests in two blocks do not tell how far the median can be off
    ]
    latency = next(line for line in lines if line.startswith("| small"))
    assert [cell.strip() for cell in latency.split("|")[2:5]] == ["20", *shown]
    tokenize = next(line for line in lines if line.startswith("| tokenize"))
    assert re.search(r"\d+\.\d \(\d+\.\d to \d+\.\d\)", tokenize)
    assert any("n = 20" in line for line in lines)


@pytest.mark.parametrize("skipped", [0, 1, 5000])
def test_log_summary_is_bounded_whatever_the_run(tmp_path, monkeypatch, skipped):
    """Broken: a damaged recording makes a log of megabytes."""
    causes = tuple(f"block 2: profile {number}: sample {'x' * 500}" for number in range(skipped))
    monkeypatch.setattr(
        run_analysis, "phase_ticks", lambda phase, rules: replace(phase_ticks(phase, rules), failures=causes)
    )
    write_run(tmp_path, recording="whole", phases=2)
    report, _ = reported(tmp_path)
    assert len((tmp_path / "summary.md").read_text()) < 10_000
    checks = quality_tables.checks_table(report).set_index("check")
    (text, _) = checks.loc["every recording is complete", "found"]
    assert len(text) <= 300
    assert ("and 4997 more" in text) == (skipped == 5000)
    assert all(f"profile {number}" in text for number in range(min(skipped, 3)))


def test_unclassified_stacks_come_with_their_share_and_a_rule(tmp_path):
    """Broken: the user must translate a stack into a rule by hand, and does not know what it is worth."""
    write_run(tmp_path, recording="whole")
    report, _ = reported(tmp_path)
    (row,) = tables.unclassified(report).to_dict("records")
    assert (row["process"], row["thread"], row["samples"]) == ("scheduler", "main", 2)
    assert row["% of thread"] == pytest.approx(0.1)
    assert row["rule"].splitlines()[-1] == 'leaf = ["brand_new@/new.py"]'


def test_own_rules_that_matched_nothing_are_named(tmp_path):
    """Broken: a rule with a misspelt function is silently of no use."""
    path = tmp_path / "mine.toml"
    rule = '[[rule]]\ncomponent = "batch"\nany = ["{}"]\n'
    path.write_text(rule.format("brand_new") + rule.format("bramd_new"), encoding="utf-8")
    write_run(tmp_path / "run", recording="whole")
    verdict = verdict_markdown(make_report(Parameters(run_dir=str(tmp_path / "run"), rules_file=str(path))))
    assert f"Rules without a match in this run: {path}: rule 2." in verdict
    assert "without a match" not in verdict_markdown(make_report(Parameters(run_dir=str(tmp_path / "run"))))


def test_notebook_tables_have_throughput_and_the_observer_effect_with_its_interval(tmp_path):
    """Broken: numbers of the report have no interval, or are in summary.json only."""
    slower = [{**row, "done_ns": row["done_ns"] + row["request"] * 7 % 40 * 10**6} for row in GOOD]
    write_run(tmp_path, requests=slower, recording="whole")
    report, summary = reported(tmp_path)
    shown = tables.latency_table(report).set_index("requests")
    assert shown.loc["all", ["requests/s", "items/s"]].tolist() == ["1.0 (1.0 to 1.0)", "4.0 (4.0 to 4.0)"]
    assert re.fullmatch(r"118\.5 \(\d+\.\d to \d+\.\d\)", shown.loc["all", "mean ms"])
    effect = summary["phases"]["small"]["observer_effect"]
    assert quality_tables.quality_table(report)["p50 with / without py-spy"].tolist() == [
        f"{effect['p50_ratio']:.2f} ({effect['ci95'][0]:.2f} to {effect['ci95'][1]:.2f})"
    ]
    assert quality_tables.quality_table(report)["mean with / without py-spy"].tolist() == [
        f"{effect['mean_ratio']:.2f} ({effect['mean_ci95'][0]:.2f} to {effect['mean_ci95'][1]:.2f})"
    ]


def test_files_are_listed_with_what_they_are(tmp_path):
    write_run(tmp_path)
    report, _ = reported(tmp_path)
    table = files_table(report).set_index("file")["what"]
    assert table["summary.json"] == "every number, for tools"
    assert "phases/small/requests.parquet" in table.index
    assert {Path(name).name for name in ("summary.json", "summary.md", "score_api_profile.svg")} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_files_are_those_that_the_finished_run_holds(tmp_path):
    """Broken: the first report lists ``out.ipynb``, which is renamed, and neither itself nor report.html."""
    write_run(tmp_path)
    (tmp_path / "out.ipynb").write_text("{}")
    (tmp_path / ".report.html.x1").write_text("half")
    names = list(files_table(reported(tmp_path)[0])["file"])
    assert {"report.ipynb", "report.html"} <= set(names)
    assert "out.ipynb" not in names
    assert not [name for name in names if name.startswith(".")]
    assert names == sorted(set(names))


def test_flame_graph_of_nothing_is_still_a_picture(tmp_path):
    write_run(tmp_path)
    reported(tmp_path)
    assert (tmp_path / "score_api_profile.svg").read_text().lstrip().startswith(("<svg", "<?xml"))


def test_parameters_shown_are_those_of_the_capture(tmp_path):
    """Broken: a report made again shows its own parameters and not those of the capture."""
    write_run(tmp_path, concurrency=3)
    report, _ = reported(tmp_path)
    table = tables.parameters_table(report).set_index("parameter")["value"]
    assert table["concurrency"] == "3"
    assert set(table.index) == Parameters.names()
