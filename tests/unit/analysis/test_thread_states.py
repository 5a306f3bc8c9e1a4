"""Time at work split into on CPU, waiting for a core and neither, and the threads that block each other."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.gil import blocked_pairs
from scoreprof_nb.analysis.state_checks import state_checks
from scoreprof_nb.analysis.thread_states import phase_states, share_out, split_time, state_table
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.run_folder.records import CpuQuota
from tests.support.synthetic import START_S, block, measured, phase_of, thread_ticks, ticked

WALL_S = 2.0
TICKS = 200  # of 10 ms
REQUESTS = measured(*({"at_ms": at, "latency_ms": 100.0} for at in range(0, 2000, 100)))  # 20, back to back


def schedstat(tid, at_s, on_cpu_s, runnable_s):
    """Rows of schedstat.parquet of one thread: shares of time on a CPU and waiting, from each time on."""
    steps = np.diff(at_s)
    counters = [
        np.concatenate([[0.0], np.cumsum(steps * np.array(share)[:-1])]) for share in (on_cpu_s, runnable_s)
    ]
    whole = [
        np.round(np.asarray(values) * 1e9).astype(np.int64)
        for values in (START_S + np.asarray(at_s), *counters)
    ]
    return pd.DataFrame(
        {
            "block": 0,
            "time_ns": whole[0],
            "pid": 10,
            "tid": tid,
            "on_cpu_ns": whole[1],
            "runnable_ns": whole[2],
        }
    )


def of_ticks(text, by_component, tid):
    """A thread's counters where each tick of 10 ms has the shares of its component, by name."""
    names = thread_ticks("scheduler", "main", text).components
    shares = [by_component.get(CATALOG.names[index], (0.0, 0.0)) for index in names]
    at_s = np.arange(len(names) + 1) * WALL_S / len(names)
    return schedstat(tid, at_s, [s[0] for s in shares] + [0.0], [s[1] for s in shares] + [0.0])


def states_of(*threads, timed=True):
    """(state table by thread and component, pairs, checks) of (process, thread, activity, shares) each."""
    made, counters = [], []
    for tid, (process, thread, text, shares) in enumerate(threads, start=10):
        made.append(thread_ticks(process, thread, text, tid=tid))
        counters.append(of_ticks(text, shares, tid))
    ticks = phase_of(ticked(made, of=block(wall_s=WALL_S), timed=timed))
    ticks = replace(ticks, phase=replace(ticks.phase, schedstat=pd.concat(counters)))
    states = phase_states(ticks)
    table = state_table(ticks, states, REQUESTS)
    pairs = blocked_pairs(states, table, CATALOG)
    return table.set_index(["process", "thread", "component"]), pairs, ticks


def times(table, *key):
    row = table.loc[key]
    return tuple(round(float(row[name]), 2) for name in ("work_ms", "on_cpu_ms", "runnable_ms", "off_cpu_ms"))


def test_states_of_a_thread_are_what_the_kernel_counted():
    """Half of the time in batch, of which it runs 60 % and waits for a core 30 %: 50 ms of a request's 100."""
    text = "batch*100 await_request*100"
    table, _, _ = states_of(("scheduler", "main", text, {"batch": (0.6, 0.3)}))
    assert times(table, "scheduler", "main", "batch") == (50.0, 30.0, 15.0, 5.0)
    assert set(table.index.get_level_values("component")) == {"batch"}, "waiting for a request is no work"


def test_each_component_has_its_own_states():
    """Broken: a component that waits for the GIL is hidden by one that does not."""
    text = "batch*50 output*50 await_request*100"
    table, _, _ = states_of(("scheduler", "main", text, {"batch": (1.0, 0.0), "output": (0.4, 0.0)}))
    assert times(table, "scheduler", "main", "batch") == pytest.approx((25.0, 25.0, 0.0, 0.0), abs=0.3)
    assert times(table, "scheduler", "main", "output") == pytest.approx((25.0, 10.0, 0.0, 15.0), abs=0.3)


def test_waiting_for_the_device_is_no_running():
    """Broken: CPU time at the edges of a wait makes the component before it look blocked."""
    text = " ".join(["dispatch device_wait*3"] * 50)
    table, _, _ = states_of(("scheduler", "forward", text, {"dispatch": (1.0, 0.0)}))
    assert times(table, "scheduler", "forward", "dispatch") == pytest.approx((25.0, 25.0, 0.0, 0.0), abs=0.1)
    assert times(table, "scheduler", "forward", "device_wait") == pytest.approx(
        (75.0, 0.0, 0.0, 75.0), abs=0.1
    )


def test_polling_uses_its_own_cpu_time():
    """Broken: an idle scheduler's polling makes its work look as if it never waited."""
    text = "output*100 idle_poll*100"
    table, _, _ = states_of(("scheduler", "main", text, {"output": (0.5, 0.0), "idle_poll": (1.0, 0.0)}))
    assert times(table, "scheduler", "main", "output") == pytest.approx((50.0, 25.0, 0.0, 25.0), abs=0.3)


def test_without_times_the_totals_hold():
    """An attached server's ticks have no times: the split follows the ticks, the sum the kernel."""
    text = "batch*50 output*50 await_request*100"
    shares = {"batch": (1.0, 0.0), "output": (0.5, 0.0)}
    table, pairs, _ = states_of(("scheduler", "main", text, shares), timed=False)
    assert table["on_cpu_ms"].sum() == pytest.approx(37.5, abs=0.01)
    assert times(table, "scheduler", "main", "batch")[1] == pytest.approx(18.75, abs=0.01)
    assert pairs.empty


def test_interval_holds_the_estimate():
    text = " ".join(["batch*3 await_request*7"] * 20)
    table, _, _ = states_of(("scheduler", "main", text, {"batch": (0.5, 0.2)}))
    assert (table["off_low"] <= table["off_cpu_ms"] + 1e-9).all()
    assert (table["off_cpu_ms"] <= table["off_high"] + 1e-9).all()
    assert (table["off_high"] <= table["work_ms"] + 1e-9).all()


def test_thread_that_is_kept_from_running_names_the_other():
    """Two threads of one process, both in Python: each runs half of the time, in turns of 10 ms."""
    main, forward = "output*200", "dispatch*200"
    turns = [1.0, 0.0] * 100
    at_s = np.arange(201) * WALL_S / 200
    made = [
        thread_ticks("scheduler", "main", main, tid=10),
        thread_ticks("scheduler", "forward", forward, tid=11),
    ]
    ticks = phase_of(ticked(made, of=block(wall_s=WALL_S)))
    counters = [
        schedstat(10, at_s, [*turns, 0.0], [0.0] * 201),
        schedstat(11, at_s, [*(1.0 - turn for turn in turns), 0.0], [0.0] * 201),
    ]
    ticks = replace(ticks, phase=replace(ticks.phase, schedstat=pd.concat(counters)))
    states = phase_states(ticks)
    table = state_table(ticks, states, REQUESTS)
    pairs = blocked_pairs(states, table, CATALOG)
    assert [
        tuple(row) for row in pairs[["thread", "component", "holder", "holder_component"]].to_numpy()
    ] == [
        ("main", "output", "forward", "dispatch"),
        ("forward", "dispatch", "main", "output"),
    ]
    assert pairs["ms"].tolist() == pytest.approx([50.0, 50.0], abs=0.1)


def test_thread_off_the_cpu_while_the_others_idle_has_no_pair():
    """Broken: a page fault or a lock is blamed on a thread that sleeps."""
    _, pairs, _ = states_of(
        ("scheduler", "main", "output*200", {"output": (0.5, 0.0)}),
        ("scheduler", "forward", "idle_wait*200", {}),
    )
    assert pairs.empty


def test_threads_of_other_processes_share_no_gil():
    table, _, ticks = states_of(("scheduler", "main", "output*200", {"output": (0.5, 0.0)}))
    of_block = ticks.blocks[0]
    other = replace(thread_ticks("http", "main", "http*200", pid=20, tid=20))
    ticks = replace(ticks, blocks=(replace(of_block, threads=(*of_block.threads, other)),))
    counters = schedstat(20, [0, WALL_S], [1.0, 0.0], [0.0, 0.0]).assign(pid=20)
    ticks = replace(ticks, phase=replace(ticks.phase, schedstat=pd.concat([ticks.phase.schedstat, counters])))
    states = phase_states(ticks)
    assert blocked_pairs(states, state_table(ticks, states, REQUESTS), CATALOG).empty
    assert not table.empty


def test_without_counters_nothing_is_known():
    ticks = phase_of(ticked([thread_ticks("scheduler", "main", "output*200")], of=block(wall_s=WALL_S)))
    table = state_table(ticks, phase_states(ticks), REQUESTS)
    assert table.empty
    assert blocked_pairs(phase_states(ticks), table, CATALOG).empty
    assert [check.passed for check in state_checks(ticks, phase_states(ticks), table)] == [None, None, None]


def test_share_out_respects_limits_and_spends_the_total():
    """Broken: a component gets more than the time of its ticks, or time is lost although there is room."""
    limits = np.array([1.0, 2.0, 10.0])
    assert share_out(np.array([6.0]), np.array([1.0, 1.0, 1.0]), limits) == pytest.approx([1.0, 2.0, 3.0])
    assert share_out(np.array([50.0]), np.array([1.0, 0.0, 0.0]), limits) == pytest.approx(limits)
    assert share_out(np.array([2.0]), np.zeros(3), limits) == pytest.approx(2 * limits / 13)
    both = share_out(np.array([[6.0], [0.0]]), np.ones((2, 3)), np.stack([limits, limits]))
    assert both == pytest.approx(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))


def test_parts_sum_to_the_ticks_whatever_the_kernel_counted():
    """The law of the three, where ticks and kernel disagree by chance."""
    n = len(CATALOG.names)
    rng = np.random.default_rng(0)
    time, on_cpu, runnable = rng.random((3, 50, n))
    split = split_time(CATALOG, time, on_cpu, runnable, 2 * n * rng.random((50, 1)), n * rng.random((50, 1)))
    assert split.on_cpu + split.runnable + split.off_cpu == pytest.approx(time)
    assert min(part.min() for part in (split.on_cpu, split.runnable, split.off_cpu)) >= -1e-12


def checked(ticks, table, words):
    (check,) = [
        one for one in state_checks(ticks, phase_states(ticks), table.reset_index()) if words in one.name
    ]
    return check.passed, check.text


def test_law_fails_when_a_part_is_lost():
    """Broken: a table that does not add up is shown as if it did."""
    table, _, ticks = states_of(("scheduler", "main", "output*200", {"output": (0.5, 0.2)}))
    assert checked(ticks, table, "sum to the ticks")[0] is True
    passed, text = checked(ticks, table.assign(off_cpu_ms=0.0), "sum to the ticks")
    assert passed is False
    assert "scheduler / main: 0.600 s" in text


@pytest.mark.parametrize(("cpu_after_s", "passed"), [(1.01, True), (1.2, False)])
def test_counters_are_checked_against_those_of_the_block(cpu_after_s, passed):
    table, _, ticks = states_of(("scheduler", "main", "output*200", {"output": (0.5, 0.2)}))
    row = {"block": 0, "pid": 10, "tid": 10, "name": "", "cpu_before_s": 0.0, "cpu_after_s": cpu_after_s}
    ticks = replace(ticks, phase=replace(ticks.phase, threads=pd.DataFrame([row])))
    assert checked(ticks, table, "read per slot")[0] is passed


@pytest.mark.parametrize(
    ("quota", "passed", "text"),
    [
        (None, None, "no control group"),
        (CpuQuota(10, 0, 0.0), True, "no quota is set"),
        (CpuQuota(10, 0, 0.0, 0.4, 0.1), True, "the quota is 4 CPUs"),
        (
            CpuQuota(10, 3, 0.25, 0.15, 0.1),
            False,
            "3 of 10 periods, for 0.250 s of CPU time; the quota is 1.5 CPUs",
        ),
    ],
)
def test_quota_that_stopped_the_server_fails_its_check(quota, passed, text):
    table, _, ticks = states_of(("scheduler", "main", "output*200", {"output": (0.5, 0.2)}))
    record = replace(ticks.phase.record, cpu_quota=quota)
    ticks = replace(ticks, phase=replace(ticks.phase, record=record))
    found = checked(ticks, table, "CPU quota")
    assert found[0] is passed
    assert text in found[1]
