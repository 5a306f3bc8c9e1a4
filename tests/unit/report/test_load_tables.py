"""The load in the report: what was sent, latency over the rate and over the number in flight."""

import json

import pytest

from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report import load_tables
from scoreprof_nb.report.overview import phases_table
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_files import write_files
from scoreprof_nb.run_folder.folder import RunFolder
from tests.support.written_run import failed, request, write_run

OPEN = {"loop": "open", "offered_per_s": 1.0, "capacity_per_s": 10.0, "timeout_s": 30.0}
CLOSED = {"loop": "closed", "concurrency": 4, "timeout_s": 30.0}


def report_of(path, *loads, kind="small", **of_run):
    """A run whose phases, small and large, have these loads."""
    slo_ms = of_run.pop("slo_ms", 0)
    write_run(path, recording="off", phases=len(loads), **of_run)
    folder = RunFolder(path)
    for name, load in zip(("small", "large"), loads, strict=False):
        file = folder.phase_path(name) / "phase.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "load": load, "kind": kind}))
    folder.write_manifest(folder.read_manifest())
    return make_report(Parameters(run_dir=str(path), slo_ms=slo_ms))


def test_open_loop_has_its_rate_and_its_latency(tmp_path):
    """Broken: the table or the figure of an open loop has other numbers than its requests."""
    report = report_of(tmp_path, OPEN, {**OPEN, "offered_per_s": 2.0}, slo_ms=150)
    first, second = load_tables.rate_table(report).to_dict("records")
    assert (first["offered/s"], second["offered/s"]) == (1.0, 2.0)
    assert first["n"] == 40
    assert first["p50 ms"].startswith("100.0 (")
    assert first["p99 ms"] == "n/a"  # of 40 requests
    assert first["in flight"] == pytest.approx(0.1)
    assert first["within slo_ms/s"] == pytest.approx(1.0)
    curve = load_tables.rate_curve(report)
    assert list(curve["p50_ms"]) == [100, 100]
    assert set(curve["knee_per_s"]) == {2.0}
    assert "knee at 2 requests/s" in load_tables.rate_markdown(report)


def test_numbers_that_mislead_are_not_in_the_summary_either(tmp_path):
    """Broken: the report refuses percentiles of a late generator, and summary.json has them."""
    late = [request(n) for n in range(40)]
    late = [{**row, "sent_ns": row["intended_ns"] + 20_000_000} for row in late]
    report = report_of(tmp_path, OPEN, requests=late)
    (row,) = load_tables.rate_table(report).to_dict("records")
    assert (row["p50 ms"], row["mean ms"]) == ("n/a", "n/a")
    assert "the load generator is the bottleneck" in row["remarks"]
    write_files(report)
    phase = json.loads((tmp_path / "summary.json").read_text())["phases"]["small"]
    assert set(phase["latency_ms"].values()) == {None}
    assert phase["load"] == {
        "loop": "open",
        "concurrency": None,
        "offered_per_s": 1.0,
        "achieved_per_s": pytest.approx(1.0, rel=0.1),
    }
    assert {check["name"]: check["passed"] for check in phase["checks"]}[
        "the load generator kept to its times"
    ] is False


def test_percentiles_beyond_the_timeout_say_so(tmp_path):
    """Broken: requests that timed out are left out, and the rest looks quick."""
    report = report_of(tmp_path, OPEN, requests=[failed(n) if n % 5 == 0 else request(n) for n in range(40)])
    (row,) = load_tables.rate_table(report).to_dict("records")
    assert row["timed out"] == 8
    assert row["p90 ms"] == row["mean ms"] == "> 30000"
    assert row["p50 ms"].startswith("100.0")


def test_closed_loops_of_a_kind_are_set_side_by_side(tmp_path):
    """Broken: nobody sees what more requests in flight gain."""
    report = report_of(tmp_path, {**CLOSED, "concurrency": 1}, CLOSED)
    table = load_tables.in_flight_table(report)
    assert list(table["in flight"]) == [1, 4]
    assert list(table["requests/s"]) == pytest.approx([1.0, 1.0])
    assert load_tables.rate_table(report).empty
    assert load_tables.rate_curve(report).empty
    assert "parameter" in load_tables.rate_markdown(report)


def test_the_report_says_whether_prompts_were_new(tmp_path):
    """Broken: a reader takes cache hits for the cost of a new prompt."""
    assert "Cold prompts" in load_tables.sent_markdown(report_of(tmp_path / "a", CLOSED))
    row = phases_table(report_of(tmp_path / "b", CLOSED)).rows.iloc[0]
    assert row["of these from the\nprefix cache"] == "n/a"  # its log says nothing
