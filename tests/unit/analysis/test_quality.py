"""The quality of a capture: what is missing from it fails a check, and so does a sum that does not add up."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis import run_analysis
from scoreprof_nb.analysis.breakdown import thread_breakdown
from scoreprof_nb.analysis.quality import capture_quality, laws, limits
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.ticks import block_ticks, joint
from scoreprof_nb.components.classify import classify
from scoreprof_nb.report.quality_tables import checks_table, quality_table
from tests.support.synthetic import (
    RULES,
    START_S,
    block,
    phase_of,
    place,
    recording,
    stack_table,
    thread_ticks,
    ticked,
)
from tests.support.written_run import GOOD, LATENCY_MS, THREADS, check_result, reported, write_run

STACKS = ["main@serve.py"] * 10


def ticks_of(*threads, written=20):
    of = block(wall_s=0.1)
    of = replace(of, recording=replace(of.recording, samples=written))
    table = stack_table(
        place("http", "main", STACKS, pid=1, tid=1), place("scheduler", "main", STACKS, pid=2, tid=2)
    )
    return phase_of(ticked(threads, of=of, table=table))


def lost(thread, n):
    return replace(thread, lost=np.arange(len(thread.components)) < n)


def quality_of(*threads):
    ticks = ticks_of(*threads)
    return capture_quality(ticks, ticks.phase.threads)


def checks_of(ticks):
    return {
        check.name: check.passed
        for check in limits("small", capture_quality(ticks, ticks.phase.threads), 0.0, ())
    }


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_lost_share_is_that_of_the_thread_that_lost_most(order):
    """Broken: torn stacks of the scheduler hide behind a thread that always sleeps."""
    scheduler = lost(thread_ticks("scheduler", "main", "batch*10", pid=2, tid=2), 3)
    watchdog = thread_ticks("scheduler", "watchdog", "idle_wait*10", pid=2, tid=3)
    http = thread_ticks("http", "main", "http*10", pid=1, tid=1)
    assert quality_of(*[http, scheduler, watchdog][order]).lost_share == pytest.approx(0.3)


@pytest.mark.parametrize(("written", "passed"), [(20, True), (25, False), (None, None)])
def test_samples_that_were_not_read_fail_a_check(written, passed):
    """Broken: a recording that is cut short gives a smaller number and no word."""
    ticks = ticks_of(thread_ticks("http", "main", "http*10", pid=1, tid=1), written=written)
    assert checks_of(ticks)["every sample that py-spy wrote was read"] is passed


def test_rate_is_that_of_the_block():
    """Broken: the effective sampling rate is not the ticks per second of the block."""
    quality = quality_of(thread_ticks("http", "main", "http*10", pid=1, tid=1))
    assert (quality.ticks, quality.effective_rate_hz) == (10, pytest.approx(100))


# ---- the three laws: each sum is checked against a source of its own

THREADS_LAW = "components of each thread sum to its ticks"
CPU_LAW = "CPU per request sums to the kernel's figure"
PATH_LAW = "request path sums to the mean latency"


def test_laws_hold_of_a_run(tmp_path):
    """Broken: a sound run fails a check, or the path does not add up to the published mean."""
    write_run(tmp_path, recording="whole")
    report, summary = reported(tmp_path)
    for law in (THREADS_LAW, CPU_LAW, PATH_LAW):
        assert check_result(report, law)[0] is True, check_result(report, law)
    phase = summary["phases"]["small"]
    path = sum(part["mean"] for part in phase["request_path_ms"].values())
    assert path == pytest.approx(phase["profiled_latency_ms"]["mean"], rel=1e-9)


def scaled(make, column, row, factor):
    """``make``, but one value of its table is wrong."""

    def tampered(*arguments):
        made = make(*arguments)
        table = (made.table if isinstance(made, RequestPath) else made).copy()
        table.loc[row, column] *= factor
        return replace(made, table=table) if isinstance(made, RequestPath) else table

    return tampered


@pytest.mark.parametrize(
    ("place_of", "name", "column", "factor", "law", "says"),
    [
        (
            run_analysis.breakdown,
            "thread_breakdown",
            "share",
            1.5,
            THREADS_LAW,
            "of 2000 recorded ticks are not accounted for",
        ),
        (run_analysis.breakdown, "cpu_per_request", "cpu_ms", 1.5, CPU_LAW, "ms of 80.000 ms per request, +"),
        (run_analysis, "request_path", "mean_ms", 1.5, PATH_LAW, "ms of 100.000 ms, +"),
    ],
)
def test_a_break_of_a_law_is_shown_with_its_size(
    tmp_path, monkeypatch, place_of, name, column, factor, law, says
):
    """Broken: a table that does not add up is published, and its check says passed."""
    monkeypatch.setattr(place_of, name, scaled(getattr(place_of, name), column, 0, factor))
    write_run(tmp_path, recording="whole")
    report, _ = reported(tmp_path)
    passed, text = check_result(report, law)
    assert passed is False
    assert says in text
    table = checks_table(report).set_index("check")
    assert table.loc[law, "result"] == "FAILED"
    assert table.loc[law, "found"] == text
    assert f"- small: {law}: {text}" in (tmp_path / "summary.md").read_text()


def test_path_and_published_mean_are_of_the_same_requests(tmp_path):
    """Broken: a recording that cannot be read takes its requests out of the path, but not out of the mean."""
    slow = [{**row, "done_ns": row["done_ns"] + 10**8} if 10 <= row["request"] < 20 else row for row in GOOD]
    write_run(tmp_path, recording="damaged", requests=slow)
    report, summary = reported(tmp_path)
    assert check_result(report, "every recording is complete")[0] is False
    assert check_result(report, PATH_LAW)[0] is True
    phase = summary["phases"]["small"]
    path = sum(part["mean"] for part in phase["request_path_ms"].values())
    assert path == pytest.approx(phase["profiled_latency_ms"]["mean"]) == pytest.approx(LATENCY_MS)


def test_threads_that_ended_within_a_block_are_counted(tmp_path):
    """Broken: CPU time that is lost is shown as none."""
    ended = {**THREADS[0], "block": 1, "tid": 13, "cpu_before_s": 4.0, "cpu_after_s": None}
    write_run(tmp_path, recording="whole", threads=[*THREADS, ended])
    report, summary = reported(tmp_path)
    passed, text = check_result(report, CPU_LAW)
    assert passed is True
    assert "1 threads ended within a block" in text
    assert quality_table(report)["threads ended within a block"].tolist() == [1]
    assert summary["phases"]["small"]["quality"]["threads_ended"] == 1


# ---- ticks against the recording's own counts

N = 120
IDLE = "run_scheduler_process@/scheduler.py > event_loop_overlap@/scheduler.py > recv_requests@/scheduler.py"


def recorded(scheduler_samples=N, lost=0, torn=0):
    """A block of one second out of a recording of 1.2 s, at 100 ticks a second."""
    at = recording(START_S - 0.1, START_S + 1.1, lost=[(START_S + 0.3 + 0.05 * i, 2, 2) for i in range(lost)])
    stacks = [IDLE] * (scheduler_samples - torn) + ["recv_requests@/scheduler.py"] * torn
    table = stack_table(
        place("http", "main", ["main@/launch_server.py > select@/selectors.py"] * N, pid=1, tid=1),
        place("scheduler", "main", stacks, pid=2, tid=2),
    )
    return block_ticks(replace(block(), recording=at), at, table, classify(table, RULES))


def threads_law(of_block):
    ticks = phase_of(of_block)
    table = thread_breakdown(ticks, pd.DataFrame(columns=["process", "thread", "cpu_s"]))
    nothing = table.head(0)
    return laws(ticks, table, nothing, nothing, 1.0, RequestPath(nothing, None), 0.0)[0]


@pytest.mark.parametrize(
    "samples",
    [
        {},
        {"scheduler_samples": N - 4, "lost": 4},
        {"torn": 3},
        {"scheduler_samples": N - 5},  # attached late
        {"scheduler_samples": N - 60},  # began late
        {"scheduler_samples": N - 64, "lost": 4},
    ],
)
def test_ticks_are_the_recordings_samples_and_the_lost_ones(samples):
    """Broken: what was put back, or what lies outside of the block, is counted wrongly by the check."""
    law = threads_law(recorded(**samples))
    assert law.passed, law.text


def test_ticks_that_vanish_after_reading_fail_the_law():
    """Broken: a thread loses samples between its recording and its table, and its shares still sum to 1."""
    of_block = recorded()
    http, scheduler = of_block.threads
    cut = replace(
        scheduler,
        **{name: getattr(scheduler, name)[7:] for name in ("components", "stack_ids", "decode", "lost")},
    )
    law = threads_law(replace(of_block, threads=(http, cut)))
    assert law.passed is False
    assert law.text == "scheduler / main: 7 of 100 recorded ticks are not accounted for"


def test_samples_that_the_recording_does_not_have_fail_the_law():
    """Broken: a thread has more ticks than py-spy saw of it."""
    law = threads_law(replace(recorded(), table=recorded(N - 60).table))
    assert law.passed is False
    assert law.text.startswith("scheduler / main: 40 of ")


def blocks_of(*mismatches):
    """A phase with a block per mismatch in ticks; more than 15 are too many."""
    thread = thread_ticks("http", "main", "http*10")
    return phase_of(
        *(
            ticked([thread], of=block(number, START_S + 2 * number), mismatch=mismatch)
            for number, mismatch in enumerate(mismatches)
        )
    )


def test_one_block_of_many_that_is_not_on_common_ticks_is_left_out_of_the_path():
    """Broken: py-spy attached late once in eight blocks, and the whole phase has a marginal path."""
    ticks = blocks_of(0, 40, 2)
    assert [one.block.number for one in joint(ticks).blocks] == [0, 2]
    quality = capture_quality(ticks, ticks.phase.threads)
    assert (quality.aligned, quality.left_out) == (True, 1)
    (check,) = [one for one in limits("small", quality, 0.0, ()) if "common ticks" in one.name]
    assert check.passed
    assert check.text.endswith("1 blocks are left out of the request path")


def test_half_of_the_blocks_are_enough():
    """Broken: two blocks of four that py-spy attached to late make the whole path marginal."""
    assert [one.block.number for one in joint(blocks_of(0, 40, 2, 40)).blocks] == [0, 2]


@pytest.mark.parametrize("mismatches", [(0, 40), (0, 40, 40), (0, 2, 40, 40, 40)])
def test_where_few_blocks_are_on_common_ticks_all_are_kept(mismatches):
    """Broken: the path of a phase is that of its one good block, and nothing says so."""
    ticks = blocks_of(*mismatches)
    assert joint(ticks) is ticks
    assert not capture_quality(ticks, ticks.phase.threads).aligned
