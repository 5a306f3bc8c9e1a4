"""The device in a run's report: from a trace whose numbers are known, and where there is none."""

import pytest

from scoreprof_nb import plots
from scoreprof_nb.report import device_tables
from scoreprof_nb.report.profile_verdict import verdict_markdown
from scoreprof_nb.report.summary_markdown import summary_markdown
from scoreprof_nb.run_folder.store import load_run
from tests.support.device_traces import BUSY_MS, DECODE, PREFILL, tpu_trace
from tests.support.figures import assert_fits
from tests.support.written_run import reported, write_run

FAILURE = "the server refused to start a trace: <script>alert(1)</script>"


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """(report, summary.json, folder) of a run with a request path and a device trace."""
    folder = tmp_path_factory.mktemp("traced") / "run"
    write_run(folder, recording="whole", device=tpu_trace())
    return *reported(folder), folder


def test_summary_has_the_contract(traced):
    """Broken: a tool that reads the device's part of summary.json finds other keys or numbers."""
    device = traced[1]["phases"]["small"]["device"]
    assert device["busy_ms"]["mean"] == pytest.approx(BUSY_MS)
    assert device["busy_ms"]["ci95"] == pytest.approx([BUSY_MS, BUSY_MS])
    assert device["idle_ms"]["mean"] == pytest.approx(19 - BUSY_MS)
    assert device["bound"] == "mixed"
    assert device["decode_ms"] == pytest.approx(2)
    assert device["requests"] == 6
    assert device["operations"][0] == {
        "name": "fusion.7",
        "category": "convolution fusion",
        "program": PREFILL,
        "ms_per_request": pytest.approx(5),
    }
    assert set(device["wait_ms"]) == {"computing", "buffers", "transfer", "wake_up"}


def test_latencies_are_without_the_trace(traced):
    """Broken: requests that the trace slows count in the latencies or in the number sent."""
    phase = traced[1]["phases"]["small"]
    assert phase["requests"]["sent"] == 40
    assert phase["latency_ms"]["mean"] == pytest.approx(100)


def test_a_sentence_says_what_the_limit_is(traced):
    """Broken: the report does not say in one sentence whether device or host is the limit, and by how much."""
    text = device_tables.device_markdown(traced[0])
    assert "**small**: **mixed**" in text
    assert "(19.0 ms), the device is busy 11.0 ms (11.0 to 11.0), 58% (58% to 58%), and idle 8.0 ms" in text
    assert "2.0 ms of busy (18%) is a decode step" in text
    assert "Device: **mixed**" in verdict_markdown(traced[0])


def test_tables_show_the_trace(traced):
    """Broken: what the trace knows is not in the report."""
    report = traced[0]
    operations = device_tables.operations_table(report)
    assert operations.loc[0, ["operation", "ms", "of peak flop/s", "of peak bytes/s"]].tolist() == [
        "fusion.7",
        "5.00",
        "10.0%",
        "10.0%",
    ]
    programs = device_tables.programs_table(report).set_index("program")
    assert programs.loc[[PREFILL, DECODE], "step"].tolist() == ["prefill", "decode"]
    assert programs.loc[PREFILL, "shapes of its inputs"] == "s32[64], s32[40]"
    assert device_tables.chips_table(report)["chip"].tolist() == ["TPU:0"]
    idle = device_tables.device_idle_table(report).set_index("component")["small"]
    assert idle["sum: idle"] == "8.0"
    assert {"batch", "tokenize", "overlap"} <= set(idle.index)
    (row,) = device_tables.device_table(report).to_dict("records")
    assert (row["limit"], row["requests"], row["note"]) == ("mixed", 6, "")


def test_figure_shows_busy_and_idle(traced):
    """Broken: the figure's bars are not the numbers, or its texts overlap its edge."""
    figure = plots.plot_device(device_tables.device_parts(traced[0]))
    assert_fits(figure, figure.axes[:1])
    widths = [patch.get_width() for axes in figure.axes for patch in axes.patches]
    assert widths == pytest.approx([BUSY_MS, 19 - BUSY_MS])


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (None, "no device trace was captured."),
        (FAILURE, "no device trace was captured: the server refused to start a trace"),
        (b"garbage", "is not one of JAX's traces"),
        (tpu_trace(requests=1)[:500], "is not one of JAX's traces"),
    ],
    ids=["none", "failed", "garbage", "cut"],
)
def test_the_report_stands_without_a_trace(tmp_path, device, words):
    """Broken: a missing or damaged trace ends the report, or is not mentioned."""
    write_run(tmp_path / "run", recording="off", device=device)
    report, summary = reported(tmp_path / "run")
    assert summary["phases"]["small"]["device"] is None
    text = device_tables.device_markdown(report).replace("&#39;", "'")
    assert words in text
    assert "<script>" not in text
    assert ("Device: " in verdict_markdown(report)) == (device is not None)
    assert not device_tables.has_device(report)
    assert "device trace" in plots.plot_device(device_tables.device_parts(report)).axes[0].texts[0].get_text()
    assert summary_markdown(report.analysis, report.findings, "here")


def test_runs_from_before_the_trace_load(tmp_path):
    """Broken: a run folder of an earlier version cannot be read."""
    write_run(tmp_path / "run", recording="off")
    record = tmp_path / "run" / "phases" / "small" / "phase.json"
    text = record.read_text()
    assert '"device_trace": null' in text
    loaded = load_run(tmp_path / "run")
    assert loaded.phases["small"].device_requests().empty
    assert loaded.phases["small"].device_trace_path() is None
