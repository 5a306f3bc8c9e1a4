"""Threads, CPU cost and hot functions: every table adds up to what it was made from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.breakdown import (
    CPU_COLUMNS,
    cpu_per_request,
    hot_functions,
    kernel_cpu,
    requests_served,
    thread_breakdown,
    utilisation,
)
from scoreprof_nb.analysis.ticks import PhaseTicks, block_ticks
from scoreprof_nb.components.catalog import CATALOG, NATIVE_THREADS
from scoreprof_nb.components.classify import classify
from scoreprof_nb.run_folder.records import ServerProcess
from tests.support.synthetic import (
    HTTP,
    LAUNCHER,
    RESOURCE_TRACKER,
    RULES,
    SCHEDULER,
    START_S,
    block,
    measured,
    phase,
    phase_of,
    place,
    stack_table,
    thread_ticks,
    ticked,
)

NAN = float("nan")


def cpu_table(*rows):
    return pd.DataFrame(list(rows), columns=["process", "thread", "pid", "tid", "cpu_s"])


NO_CPU = cpu_table()


def some_ticks(seed=0, n=500):
    rng = np.random.default_rng(seed)
    threads = [
        thread_ticks(process, thread, " ".join(rng.choice(CATALOG.stack_names, n)), pid=pid, tid=tid)
        for process, thread, pid, tid in (
            ("http", "main", 2, 2),
            ("scheduler", "main", 3, 3),
            ("scheduler", "forward", 3, 4),
        )
    ]
    return phase_of(ticked(threads, of=block(wall_s=5.0)))


# ---- threads


def test_shares_of_each_thread_sum_to_one():
    """Broken: the components of a thread do not add up to its time."""
    table = thread_breakdown(some_ticks(), NO_CPU)
    sums = table.groupby(["process", "thread"])["share"].sum()
    assert len(sums) == 3
    assert sums.tolist() == [pytest.approx(1, abs=1e-12)] * 3


def test_shares_are_the_counted_ones_with_intervals_around_them():
    """Broken: a share is not the counted one, or lies outside its interval."""
    ticks = phase_of(
        ticked([thread_ticks("http", "main", "http*3 await_request*7 " * 50)], of=block(wall_s=5.0))
    )
    table = thread_breakdown(ticks, NO_CPU).set_index("component")
    assert table["share"].to_dict() == {"http": pytest.approx(0.3), "await_request": pytest.approx(0.7)}
    assert (table["ticks"] == 500).all()
    assert (table["low"] <= table["share"] + 1e-12).all()
    assert (table["share"] <= table["high"] + 1e-12).all()
    assert (table["cpu_s"] == 0).all()


def test_intervals_know_that_neighbouring_samples_are_not_independent():
    """Broken: one compile of a second, which is 100 samples but a single event, gives a narrow interval."""
    scattered = phase_of(
        ticked([thread_ticks("http", "main", "http await_request*9 " * 100)], of=block(wall_s=10))
    )
    at_once = phase_of(
        ticked([thread_ticks("http", "main", "http*100 await_request*900")], of=block(wall_s=10))
    )
    widths = []
    for ticks in (scattered, at_once):
        row = thread_breakdown(ticks, NO_CPU).set_index("component").loc["http"]
        assert row["share"] == pytest.approx(0.1)
        widths.append(row["high"] - row["low"])
    assert widths[0] < 0.01
    assert widths[1] > 0.2


def test_threads_of_a_role_and_blocks_are_taken_together():
    """Broken: a role's threads, or a phase's blocks, are shown one by one or counted twice."""
    pool = [
        thread_ticks("http", "pool", "http*10", tid=7),
        thread_ticks("http", "pool", "idle_wait*30", tid=8),
    ]
    ticks = phase_of(
        ticked(pool, of=block(0)), ticked([thread_ticks("http", "pool", "http*10")], of=block(1, START_S + 2))
    )
    cpu = cpu_table(("http", "pool", 2, 7, 0.25), ("http", "pool", 2, 8, 0.5), ("http", "main", 2, 2, 9.0))
    table = thread_breakdown(ticks, cpu).set_index("component")
    assert table["share"].to_dict() == {"http": pytest.approx(0.4), "idle_wait": pytest.approx(0.6)}
    assert table["cpu_s"].tolist() == [pytest.approx(0.75)] * 2


# ---- the kernel's CPU time


def accounting(*rows):
    names = ["block", "pid", "tid", "cpu_before_s", "cpu_after_s"]
    return pd.DataFrame(list(rows), columns=names)


def test_kernel_cpu_joins_threads_by_their_id_and_calls_the_rest_native():
    """Broken: CPU time is charged to another thread, or native threads are left out."""
    ticks = phase_of(
        ticked(
            [
                thread_ticks("http", "main", "http*4", pid=2, tid=2),
                thread_ticks("scheduler", "main", "batch*4", pid=3, tid=3),
            ]
        ),
        threads=accounting(
            (0, 2, 2, 1.0, 1.5), (0, 3, 3, 2.0, 2.25), (0, 3, 31, 5.0, 9.0), (0, 3, 32, 0.0, 1.0)
        ),
        processes=(ServerProcess(2, 1, HTTP), ServerProcess(3, 2, SCHEDULER)),
    )
    table = kernel_cpu(ticks, RULES)
    by_thread = {(r.process, r.thread, r.tid): r.cpu_s for r in table.itertuples()}
    assert by_thread == {
        ("http", "main", 2): pytest.approx(0.5),
        ("scheduler", "main", 3): pytest.approx(0.25),
        ("scheduler", NATIVE_THREADS, 31): pytest.approx(4.0),
        ("scheduler", NATIVE_THREADS, 32): pytest.approx(1.0),
    }


def test_threads_that_began_or_ended_in_the_block():
    """Broken: CPU time of a thread that began in the block is lost, or is made up for one that ended."""
    ticks = phase_of(
        ticked([thread_ticks("http", "main", "http*4", pid=2, tid=2)]),
        threads=accounting((0, 2, 2, NAN, 0.5), (0, 2, 9, 3.0, NAN)),
    )
    assert kernel_cpu(ticks, RULES).set_index("tid")["cpu_s"].to_dict() == {2: 0.5, 9: 0.0}


def test_launcher_and_resource_tracker_cost_nothing():
    """Broken: the kit's own processes appear in the CPU cost of the server."""
    ticks = phase_of(
        ticked([thread_ticks("http", "main", "http*4", pid=2, tid=2)]),
        threads=accounting((0, 1, 1, 0.0, 7.0), (0, 2, 2, 0.0, 0.5), (0, 5, 5, 0.0, 3.0)),
        processes=(
            ServerProcess(1, 0, LAUNCHER),
            ServerProcess(2, 1, HTTP),
            ServerProcess(5, 2, RESOURCE_TRACKER),
        ),
    )
    assert kernel_cpu(ticks, RULES)["cpu_s"].sum() == pytest.approx(0.5)


def test_only_profiled_blocks_count_unless_none_was():
    """Broken: CPU time of blocks without py-spy, which have no stacks, is spread over components."""
    rows = accounting((0, 2, 2, 0.0, 0.5), (1, 2, 2, 0.5, 2.5))
    on = ticked([thread_ticks("http", "main", "http*4", pid=2, tid=2)], of=block(0))
    mixed = phase_of(on, threads=rows)
    assert kernel_cpu(mixed, RULES)["cpu_s"].sum() == pytest.approx(0.5)

    off = [block(0, profiled=False), block(1, START_S + 2, profiled=False)]
    none = type(mixed)(phase(off, threads=rows), (), ())
    assert kernel_cpu(none, RULES)["cpu_s"].sum() == pytest.approx(2.5)


# ---- CPU per request


CPU = cpu_table(
    ("http", "main", 2, 2, 1.25),
    ("scheduler", "main", 3, 3, 4.0),
    ("scheduler", "forward", 3, 4, 0.75),
    ("scheduler", NATIVE_THREADS, 3, 31, 6.5),
    ("detokenizer", NATIVE_THREADS, 4, 41, 0.5),
)


def answered(n, wall_s=1.0):
    """``n`` requests, one after the other, that fill a block."""
    each_ms = wall_s * 1e3 / n
    return measured(*({"at_ms": number * each_ms, "latency_ms": each_ms} for number in range(n)))


def test_cpu_per_request_sums_to_the_kernels_figure():
    """Broken: the components' CPU time does not add up to the kernel's figure."""
    table = cpu_per_request(some_ticks(), CPU, answered(20, 5.0))
    assert table["cpu_ms"].sum() == pytest.approx(13.0 * 1e3 / 20, rel=1e-9)
    assert table["cpu_ms"].tolist() == sorted(table["cpu_ms"], reverse=True)
    seen = table[table["component"] != NATIVE_THREADS]
    assert (seen["low"] <= seen["cpu_ms"]).all()
    assert (seen["cpu_ms"] <= seen["high"]).all()


def test_cpu_of_threads_without_ticks_has_no_known_interval():
    """Broken: a figure of some seconds of one run is shown as exact."""
    native = cpu_per_request(some_ticks(), CPU, answered(20, 5.0)).set_index("component")
    assert native.loc[NATIVE_THREADS, "cpu_ms"] == pytest.approx(7.0 * 1e3 / 20)
    assert native.loc[NATIVE_THREADS, ["low", "high"]].isna().all()


def test_waiting_gets_no_cpu_time():
    """Broken: a thread that waits is charged CPU time."""
    table = cpu_per_request(some_ticks(), CPU, answered(20, 5.0))
    assert not [name for name in table["component"] if CATALOG[name].waiting]


def test_cpu_time_is_spread_over_the_running_components_by_their_ticks():
    """Broken: CPU time is not spread in proportion to the ticks at work."""
    ticks = phase_of(
        ticked([thread_ticks("scheduler", "main", "batch*30 idle_poll*10 wait_forward*60", pid=3, tid=3)])
    )
    table = cpu_per_request(ticks, cpu_table(("scheduler", "main", 3, 3, 0.8)), answered(2))
    assert table.set_index("component")["cpu_ms"].to_dict() == {
        "batch": pytest.approx(300),
        "idle_poll": pytest.approx(100),
    }


def test_a_thread_never_seen_running_keeps_its_cpu_time():
    """Broken: the CPU time of a thread that was never sampled at work is dropped, and the sum is too small."""
    ticks = phase_of(ticked([thread_ticks("scheduler", "forward", "device_wait*10", pid=3, tid=4)]))
    table = cpu_per_request(ticks, cpu_table(("scheduler", "forward", 3, 4, 0.1)), answered(1))
    assert table[["component", "cpu_ms"]].to_numpy().tolist() == [["device_wait", pytest.approx(100)]]


def test_cpu_without_stacks_or_without_requests_is_not_known():
    """Broken: without stacks, the CPU time of Python threads is shown as XLA's."""
    for empty in (
        cpu_per_request(phase_of(), CPU, answered(10)),
        cpu_per_request(some_ticks(), CPU, measured()),
        cpu_per_request(some_ticks(), CPU, measured({"at_ms": 60_000, "latency_ms": 10})),
    ):
        assert empty.empty
        assert tuple(empty.columns) == CPU_COLUMNS


SPENT_MS = {("detokenizer", "detokenize"): 20.0, ("http", "tokenize"): 12.0, ("http", "http"): 4.0}
WAIT_MS = 30.0
BLOCKS, BLOCK_S = 8, 2.0


def simulated_cpu(seed):
    """Eight blocks of requests one after the other, whose stages' CPU times vary by a third, and what the
    kernel charged; ticks at random times, 100 a second. Gives the arguments of cpu_per_request."""
    rng = np.random.default_rng(seed)
    rows, of_blocks, cpu_s = [], [], dict.fromkeys(("http", "detokenizer"), 0.0)
    for number in range(BLOCKS):
        of = block(number, START_S + 20 * number, BLOCK_S)
        n = rng.poisson(BLOCK_S * 100)
        tick_s = np.sort(rng.uniform(0, BLOCK_S, n))
        seen = {
            process: np.full(n, CATALOG.names.index("await_request"), dtype=np.int16) for process in cpu_s
        }
        at_s = 0.0
        while at_s < BLOCK_S:
            sent_s = at_s
            for (process, component), mean_ms in SPENT_MS.items():
                stop_s = at_s + mean_ms / 1e3 * rng.gamma(9, 1 / 9)
                first, last = np.searchsorted(tick_s, [at_s, stop_s])
                seen[process][first:last] = CATALOG.names.index(component)
                cpu_s[process] += max(min(stop_s, BLOCK_S) - at_s, 0)
                at_s = stop_s
            at_s += WAIT_MS / 1e3 * rng.gamma(9, 1 / 9)
            rows.append({"at_ms": (20 * number + sent_s) * 1e3, "latency_ms": (at_s - sent_s) * 1e3})
        threads = [
            replace(thread_ticks(process, "main", f"http*{n}", pid=pid, tid=pid), components=seen[process])
            for pid, process in enumerate(cpu_s)
        ]
        of_blocks.append(replace(ticked(threads, of=of), tick_s=of.start_s + tick_s))
    kernel = cpu_table(*((process, "main", pid, pid, cpu_s[process]) for pid, process in enumerate(cpu_s)))
    return phase_of(*of_blocks), kernel, measured(*rows)


def test_cpu_intervals_hold_the_truth_as_often_as_they_say():
    """Broken: the next run's CPU cost lies outside this run's interval, or the interval says nothing.

    The truth is the mean of all requests there could be, so the total of a thread varies too. Its chance
    is seen through ticks, which have their own, and the intervals allow for blocks that differ, which these
    do not: they are rather too wide.
    """
    seeds = 100
    held = dict.fromkeys((component for _, component in SPENT_MS), 0)
    widths = dict.fromkeys(held, 0.0)
    for seed in range(seeds):
        table = cpu_per_request(*simulated_cpu(seed)).set_index("component")
        for (_, component), truth in SPENT_MS.items():
            low, high = table.loc[component, ["low", "high"]]
            held[component] += low <= truth <= high
            widths[component] += (high - low) / truth / seeds
    for component, count in held.items():
        assert count / seeds >= 0.93, f"{component}: {count / seeds:.3f}"
        assert widths[component] < 0.6, f"{component}: {widths[component]:.2f} of the truth wide"


def test_cpu_of_a_thread_with_one_component_is_not_exact():
    """Broken: how a thread's total is split is all that varies, so one component gets no interval."""
    table = cpu_per_request(*simulated_cpu(0)).set_index("component").loc["detokenize"]
    assert table["low"] < 0.99 * table["cpu_ms"] < 1.01 * table["cpu_ms"] < table["high"]


# ---- requests served


def test_requests_that_lie_in_a_block_in_part_count_in_part():
    """Broken: a request that lies only partly in a block counts whole or not at all."""
    blocks = [block(0, START_S, 1.0, profiled=False), block(1, START_S + 1, 1.0), block(2, START_S + 3, 1.0)]
    requests = measured(
        {"at_ms": 0, "latency_ms": 100},  # in no profiled block
        {"at_ms": 900, "latency_ms": 400},  # 300 of 400 ms in block 1
        {"at_ms": 1300, "latency_ms": 100},  # in block 1
        {"at_ms": 1950, "latency_ms": 200},  # 50 of 200
        {"at_ms": 2900, "latency_ms": 1200},  # around block 2: 1000 of 1200
        {"at_ms": 1500, "latency_ms": 100, "error": "timeout"},
    )

    def served(of, *readable):
        threads = [thread_ticks("http", "main", "tokenize*100")]
        of_blocks = tuple(ticked(threads, of=one) for one in readable)
        return requests_served(PhaseTicks(phase(of), of_blocks, ()), requests)

    assert served(blocks, *blocks[1:]) == pytest.approx(0.75 + 1 + 0.25 + 1000 / 1200)
    assert served(blocks, blocks[2]) == pytest.approx(1000 / 1200)  # no stacks of block 1: half a truth
    assert served(blocks[:1]) == pytest.approx(1.25)  # no stacks at all: all blocks


# ---- hot functions


def hot(stacks, *, served=1.0, wall_s=1.0):
    table = stack_table(place("scheduler", "main", stacks, pid=3, tid=3))
    of = block(wall_s=wall_s)
    ticks = phase_of(block_ticks(of, of.recording, table, classify(table, RULES)))
    return hot_functions(ticks, served).set_index("function")


LOOP = "run_scheduler_process@scheduler.py > Scheduler.event_loop_overlap@scheduler.py"


def test_self_is_the_innermost_frame_and_cumulative_is_anywhere():
    """Broken: self and cumulative time of a function are mixed up, or a tick has the wrong length (here 50
    ms).
    """
    deep = f"{LOOP} > calc_priority@schedule_policy.py > helper@schedule_policy.py"
    table = hot(
        [deep] * 3
        + [f"{LOOP} > calc_priority@schedule_policy.py"] * 2
        + [f"{LOOP} > recv_requests@scheduler.py"] * 5,
        served=2.0,
    )
    assert table.loc["helper", ["self_ms", "cumulative_ms"]].tolist() == [pytest.approx(150)] * 2
    assert table.loc["calc_priority", ["self_ms", "cumulative_ms"]].tolist() == [
        pytest.approx(100),
        pytest.approx(250),
    ]
    assert table.loc["Scheduler.event_loop_overlap", ["self_ms", "cumulative_ms"]].tolist() == [
        0,
        pytest.approx(250),
    ]
    assert "recv_requests" not in table.index  # polling is not work
    assert table["self_ms"].tolist() == sorted(table["self_ms"], reverse=True)
    assert (table["component"] == "batch").all()


def test_no_answered_request_means_no_milliseconds_per_request():
    """Broken: a phase whose requests all failed shows 10^12 ms, and hides all others in the flame graph."""
    assert hot([f"{LOOP} > calc_priority@schedule_policy.py"], served=0.0).empty


def test_recursion_is_counted_once():
    """Broken: a recursive function is charged several times for one tick."""
    deep = f"{LOOP} > calc_priority@schedule_policy.py > " + " > ".join(
        f"walk@radix_cache.py:{line}" for line in (10, 12, 12, 12)
    )
    table = hot([deep] * 10)
    assert table.loc["walk", ["self_ms", "cumulative_ms"]].tolist() == [pytest.approx(1000)] * 2


def test_lost_ticks_have_no_stack_and_are_in_no_function():
    """Broken: lost ticks, which have no stack, are charged to a function."""
    torn = "calc_priority@schedule_policy.py"
    table = hot([f"{LOOP} > calc_priority@schedule_policy.py"] * 9 + [torn])
    assert table.loc["calc_priority", "self_ms"] == pytest.approx(900)


def test_component_of_a_function_is_the_one_of_most_of_its_self_time():
    """Broken: a function gets a component in which it spends little of its self time."""
    batch = f"{LOOP} > calc_priority@schedule_policy.py > helper@util.py"
    prep = f"{LOOP} > get_model_worker_batch@schedule_batch.py > helper@util.py"
    assert hot([batch] * 6 + [prep] * 4).loc["helper", "component"] == "batch"
    assert hot([batch] * 4 + [prep] * 6).loc["helper", "component"] == "host_prep"


def test_component_of_a_function_does_not_go_by_what_it_calls():
    """Broken: a function gets the component of what it calls most, although its own time is something else."""
    own = f"{LOOP} > run_batch@scheduler.py"
    callee = f"{own} > calc_priority@schedule_policy.py > get_model_worker_batch@schedule_batch.py"
    table = hot([own] * 2 + [callee] * 8)
    assert table.loc["run_batch", "component"] == "dispatch"
    assert table.loc["Scheduler.event_loop_overlap", "component"] == "host_prep"  # no time of its own


def test_hot_functions_of_nothing_is_an_empty_table():
    """Broken: a phase without samples ends the report."""
    assert hot_functions(phase_of(), 1.0).empty


# ---- utilisation


def test_utilisation_is_the_share_of_working_ticks():
    """Broken: polling counts as work, or waiting for the device counts as idle."""
    ticks = phase_of(
        ticked([thread_ticks("scheduler", "main", "batch*20 device_wait*10 idle_poll*30 wait_forward*40")])
    )
    table = utilisation(ticks)
    assert table["busy_share"].tolist() == [pytest.approx(0.3)]
    assert (table["low"] <= table["high"]).all()
