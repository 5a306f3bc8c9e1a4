"""The tables about the request path: own and queued time, groups, threads, cost per item."""

from types import SimpleNamespace

import numpy as np
import pytest

from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.items import run_cost_per_item
from scoreprof_nb.report import path_tables
from scoreprof_nb.report.findings import limiting_thread
from scoreprof_nb.run_folder.records import Load
from tests.support.synthetic import measured
from tests.support.two_stages import observed, path_of, serve

FIRST_MS, LAST_MS = 500.0, 9000.0


def phase(name, in_flight, tokenize_ms, items=1):
    """A phase of the simulated server, as far as the tables need it."""
    served = serve(lambda: tokenize_ms, lambda: 20.0, 600, in_flight)
    path = path_of(served, np.random.default_rng(1), FIRST_MS, LAST_MS)
    ticks, rows, _ = observed(served, np.random.default_rng(1), FIRST_MS, LAST_MS)
    return SimpleNamespace(
        name=name,
        path=path,
        ticks=ticks,
        load=Load("closed", concurrency=in_flight),
        requests=measured(*({**row, "items": items} for row in rows)),
        capacity=capacity(ticks, sum(row["profiled"] for row in rows)),
        what_if=None,
    )


@pytest.fixture(scope="module")
def report():
    phases = (phase("single", 1, 4.0), phase("small", 1, 8.5, items=4), phase("single@4", 4, 4.0))
    return SimpleNamespace(analysis=SimpleNamespace(phases=phases))


def test_queues_are_shown_where_there_are_any(report):
    """Broken: a queue is not shown, or one in flight has a table of nothing."""
    table = path_tables.queue_table(report)
    assert set(table["phase"]) == {"single@4"}
    row = table.set_index("component").loc["device_wait"]
    assert float(row["own ms"].split()[0]) == pytest.approx(20, rel=0.02)
    assert float(row["queued ms"].split()[0]) == pytest.approx(4 * 20 - 20 - 4, rel=0.02)
    assert row["at most"] != ""


def test_each_group_has_a_column(report):
    """Broken: it is not shown what makes the slowest requests slow, or of how many requests that is."""
    table = path_tables.group_table(report)
    assert {"all ms", "slowest tenth ms"} <= set(table.columns)
    counts = table[table["component"] == "(requests)"].set_index("phase")
    assert counts.loc["single", "slowest tenth ms"].startswith("n = ")
    assert "device_wait (queued)" in set(table.loc[table["phase"] == "single@4", "component"])


def test_the_limiting_thread_is_marked(report):
    """Broken: an engineer speeds up a thread that does not limit throughput."""
    table = path_tables.capacity_table(report)
    limits = table[(table["phase"] == "single@4") & (table["limits"] != "")]
    assert limits["thread"].tolist() == ["scheduler / forward"]
    assert limits["requests/s at most"].iloc[0] == pytest.approx(50, rel=0.05)
    assert limiting_thread(report.analysis.phases[2]) == "scheduler / forward"


def test_cost_per_item_is_of_the_phases_with_one_load(report):
    """Broken: a phase with a queue is fitted together with one without."""
    table = path_tables.cost_per_item_table(report).set_index("component")
    assert set(run_cost_per_item(report.analysis)["phases"]) == {"single, small"}
    assert float(table.loc["tokenize", "ms per item"].split()[0]) == pytest.approx(1.5, abs=0.3)
    assert float(table.loc["tokenize", "fixed ms"].split()[0]) == pytest.approx(2.5, abs=0.8)


def test_one_phase_with_one_in_flight_has_neither_a_queue_nor_a_cost_per_item(report):
    """Broken: the report has tables of nothing."""
    alone = SimpleNamespace(analysis=SimpleNamespace(phases=report.analysis.phases[:1]))
    assert path_tables.queue_table(alone).empty
    assert path_tables.cost_per_item_table(alone).empty
    assert not path_tables.capacity_table(alone).empty
