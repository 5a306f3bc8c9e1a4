"""What the report and summary.json say of threads at work: they ran, waited for a core, or neither."""

from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest

from scoreprof_nb.analysis.gil import PAIR_COLUMNS
from scoreprof_nb.report.thread_states import (
    blocked_sentences,
    quota_sentence,
    states_markdown,
    states_table,
    timeline_tables,
)
from scoreprof_nb.run_folder.records import CpuQuota
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA
from tests.support.written_run import BLOCK_S, START_S, reported, write_run

PER_REQUEST_MS = {"on_cpu_ns": 10, "runnable_ns": 100}  # of the HTTP thread; ten requests in a block


def counters(block):
    """The HTTP thread runs and waits evenly over a block, so 2 % of its wait is in the 2 % that it tokenises."""
    start_ns = round((START_S + block * BLOCK_S) * 1e9)
    return pa.Table.from_pylist(
        [
            {
                **{"block": block, "time_ns": start_ns + round(at * BLOCK_S * 1e9), "pid": 10, "tid": 10},
                **{name: round(at * ms * 10 * 1e6) for name, ms in PER_REQUEST_MS.items()},
            }
            for at in (0, 1)
        ],
        schema=SCHEDSTAT_SCHEMA,
    )


COUNTERS = [counters(1), counters(2)]


def test_summary_has_the_time_of_each_thread_whose_counters_are_known(tmp_path):
    """20 ms of tokenising per request: 10 on a CPU, 2 % of 100 waiting for a core, the rest neither."""
    write_run(tmp_path, recording="whole", schedstat=COUNTERS)
    _, summary = reported(tmp_path)
    times = {
        (thread["process"], thread["thread"]): thread["time"]
        for thread in summary["phases"]["small"]["threads"]
    }
    assert times["http", "main"] == {
        "on_cpu_ms": pytest.approx(10.0, abs=0.01),
        "runnable_ms": pytest.approx(2.0, abs=0.01),
        "off_cpu_ms": pytest.approx(8.0, abs=0.01),
    }
    assert times["scheduler", "main"] is None, "it is not known, not zero"


def test_run_without_counters_says_so(tmp_path):
    """Broken: a run of an older version, or of a sandbox, cannot be reported, or shows zeros."""
    write_run(tmp_path, recording="whole")
    report, summary = reported(tmp_path)
    assert all(thread["time"] is None for thread in summary["phases"]["small"]["threads"])
    assert states_table(report).empty
    assert "CPU quota not known" in states_markdown(report)
    assert "No thread was kept" not in states_markdown(report)


def test_table_has_the_parts_and_where_neither_is_spent(tmp_path):
    write_run(tmp_path, recording="whole", schedstat=COUNTERS)
    report, _ = reported(tmp_path)
    (row,) = states_table(report).to_dict("records")
    assert (row["phase"], row["process"], row["thread"]) == ("small", "http", "main")
    assert [row[name] for name in ("at work ms", "on CPU ms", "waiting for a core ms", "neither ms")] == [
        *("20.00", "10.00", "2.00", "8.00")
    ]
    assert row["most of neither in, ms (95 % interval)"].startswith("tokenize 8.0 (")


def phase(**pair):
    row = dict(
        zip(
            PAIR_COLUMNS,
            ("small", "scheduler", "forward", "dispatch", "main", "output", 3.0, 4.0, 2.0, 5.0, 20),
            strict=True,
        )
    )
    latency = pd.DataFrame({"which": ["with py-spy"], "mean_ms": [100.0]})
    return SimpleNamespace(
        name="small",
        latency=SimpleNamespace(table=latency),
        threads=SimpleNamespace(blocked=pd.DataFrame([row | pair])),
    )


def test_pair_is_named_with_its_numbers():
    """Broken: the report does not say who keeps whom from running."""
    (sentence,) = blocked_sentences(phase())
    assert sentence == (
        "small: scheduler / forward could not run in dispatch for 3.0 ms per request while scheduler / main "
        "worked in output: the two share one GIL (in all, it could not run there for 4.0 ms (2.0 to 5.0))"
    )


@pytest.mark.parametrize("pair", [{"ms": 0.99}, {"off_low": 0.0}], ids=["small", "not certain"])
def test_pair_that_is_small_or_noise_is_not_named(pair):
    """Broken: chance is reported as a finding."""
    assert not list(blocked_sentences(phase(**pair)))


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (None, "CPU quota not known"),
        (CpuQuota(0, 0, 0.0), "no CPU quota is set"),
        (CpuQuota(100, 0, 0.0, 0.4, 0.1), "a CPU quota of 4 CPUs; it never stopped the server"),
        (
            CpuQuota(100, 7, 0.25, 0.15, 0.1),
            "a CPU quota of 1.5 CPUs; it stopped the server in 7 of 100 periods",
        ),
    ],
)
def test_quota_is_said_in_words(tmp_path, quota, words):
    write_run(tmp_path, recording="whole", schedstat=COUNTERS, cpu_quota=quota)
    report, _ = reported(tmp_path)
    assert quota_sentence(report.analysis.phases[0]).startswith(words)
    assert words in states_markdown(report)


def test_tables_of_the_figure_hold_every_second_block_and_request(tmp_path):
    """Broken: the figure's threads, blocks and requests are on different clocks."""
    log = f"{START_S + 12.5:.6f} Decode batch. #running-req: 1, #cache_miss: 3\n"
    write_run(tmp_path, recording="whole", log=log, phases=2)
    report, _ = reported(tmp_path)
    activity, blocks, requests, compiles = timeline_tables(report)
    sums = activity.groupby(["phase", "process", "thread", "start_s"])["share"].sum()
    assert sums.to_list() == pytest.approx([1.0] * len(sums))
    http = activity[(activity["phase"] == "small") & (activity["process"] == "http")]
    assert sorted(set(http["start_s"].round(6))) == list(range(10, 30))
    tokenises = http[http["component"] == "tokenize"]
    assert tokenises["share"].mean() == pytest.approx(0.02)
    assert blocks[blocks["phase"] == "large"]["profiled"].tolist() == [False, True, True, False]
    assert blocks[blocks["phase"] == "large"]["start_s"].tolist() == [0, 10, 20, 30]
    assert len(requests) == 80
    assert compiles["time_s"].round(3).tolist() == [12.5, 12.5]
