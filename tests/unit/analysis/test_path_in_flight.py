"""The request path with several requests in flight: own and queued time against servers whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.request_path import request_path
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.components.catalog import BEFORE_BATCH
from scoreprof_nb.run_folder.records import Load
from tests.support import two_stages
from tests.support.synthetic import measured
from tests.support.two_stages import found, path_of, serve

assert CONFIDENCE == 0.95
FIRST_MS = 500.0


def constant(ms):
    return lambda: ms


def measured_path(served, seed=1, **how):
    """The path, and the truth, of all but the start and the end of what was served."""
    last_ms = float(served.requests["done"].iloc[-20])
    path = path_of(served, np.random.default_rng(seed), FIRST_MS, last_ms, **how)
    return path, served.truth(FIRST_MS, last_ms)


def close(values, truth, widths=2.0):
    mean, low, high = values
    return abs(mean - truth) <= widths * max((high - low) / 2, 0.02)


# ---- proofs by arithmetic


@pytest.mark.parametrize("in_flight", [2, 4, 8])
def test_one_server_of_constant_time(in_flight):
    """Broken: with N in flight a request's own time is not s, or it does not wait (N - 1) s."""
    path, _ = measured_path(serve(constant(1e-6), constant(20.0), 400, in_flight))
    assert path.method == "joint"
    values = found(path)
    assert values["device_wait"][0] == pytest.approx(20.0, abs=0.2)
    assert values["behind device_wait"][0] == pytest.approx((in_flight - 1) * 20.0, rel=0.01)


@pytest.mark.parametrize(("first_ms", "second_ms"), [(5.0, 12.0), (12.0, 5.0)])
def test_two_stages_of_constant_time(first_ms, second_ms):
    """Broken: the queue is charged to the stage that is not the bottleneck."""
    in_flight = 6
    path, truth = measured_path(serve(constant(first_ms), constant(second_ms), 600, in_flight))
    slower = max(first_ms, second_ms)
    assert sum(truth.values()) == pytest.approx(in_flight * slower)
    values = found(path)
    assert close(values["tokenize"], first_ms)
    assert close(values["device_wait"], second_ms)
    bottleneck = "behind device_wait" if second_ms > first_ms else "behind tokenize"
    assert close(values[bottleneck], in_flight * slower - first_ms - second_ms)
    others = sum(mean for name, (mean, _, _) in values.items() if name.startswith("behind"))
    assert others == pytest.approx(values[bottleneck][0], abs=0.5)


def test_own_and_queued_sum_to_the_mean_latency_exactly():
    """Broken: a part of the latency is lost or counted twice."""
    rng = np.random.default_rng(3)
    path, _ = measured_path(serve(lambda: rng.gamma(4, 2), lambda: rng.gamma(4, 8), 500, 5, 3))
    assert path.table["mean_ms"].sum() + path.queued["mean_ms"].sum() == pytest.approx(
        path.table["latency_ms"].iloc[0], rel=1e-9
    )
    for group in path.groups.values():
        total = group.table["mean_ms"].sum() + group.queued["mean_ms"].sum()
        assert total == pytest.approx(group.table["latency_ms"].iloc[0], rel=1e-9)


def test_one_in_flight_waits_behind_nobody():
    """Broken: a queue is invented where there is none."""
    rng = np.random.default_rng(4)
    path, truth = measured_path(serve(lambda: rng.gamma(4, 2), lambda: rng.gamma(4, 8), 300, 1))
    assert path.queued.empty
    assert close(path.as_mapping()["tokenize"], truth["tokenize"])
    assert close(path.as_mapping()["device_wait"], truth["device_wait"])


# ---- intervals: the full number of seeds is in tests/integration/test_path_simulation.py


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Broken: intervals over requests that wait for each other, which are far too narrow or too wide."""
    held = two_stages.coverage(range(16))
    assert min(held.values()) >= 0.75, held
    assert np.mean(list(held.values())) >= 0.87, held


# ---- what the log does not say


def test_without_the_length_of_the_queue_it_is_before_the_batch():
    """Broken: it is guessed which queue a request is in."""
    served = serve(constant(12.0), constant(15.0), 400, 6)
    path, truth = measured_path(served, queue_logged=False)
    queued = path.queued_mapping()
    assert queued[BEFORE_BATCH][0] > 10
    total = truth["behind tokenize"] + truth["behind device_wait"]
    assert sum(mean for mean, _, _ in queued.values()) == pytest.approx(total, rel=0.02)
    assert close(path.as_mapping()["tokenize"], truth["tokenize"])


def refused(served, change):
    """The reason for no path after a change of the server's log."""
    with pytest.MonkeyPatch.context() as patch:
        log = two_stages.log_of
        patch.setattr(two_stages, "log_of", lambda *of: change(log(*of)))
        path, _ = measured_path(served)
    assert path.table.empty
    assert path.method is None
    return path.reason


def test_chunked_prefill_is_refused():
    """Broken: a request that is prefilled in chunks is taken for several."""
    served = serve(constant(5.0), constant(12.0), 200, 4)
    reason = refused(served, lambda log: pd.concat([log, log.iloc[[50]]]).sort_values("time_ns"))
    assert "201 sequences in prefill batches, and 200 were sent: chunked prefill" in reason


def test_another_order_than_first_come_first_served_is_refused():
    """Broken: the batches of one request are taken for another's."""
    served = serve(constant(5.0), constant(12.0), 200, 4)
    sizes = ["Prefill batch. #new-seq: 4, #queue-req: 0, "] * 50 + [
        "Prefill batch. #new-seq: 0, #queue-req: 0, "
    ] * 150
    reason = refused(served, lambda log: log.assign(text=sizes))
    assert "not served first come, first served" in reason


def test_lines_that_are_read_late_change_nothing():
    """Broken: on a busy machine, where the kit reads a line after the answer, there is no path at all."""
    served = serve(constant(12.0), constant(15.0), 400, 4)
    late = np.where(np.arange(400) % 10 == 5, 40_000_000, 0)

    def delayed(log):  # lines are read in their order
        return log.assign(time_ns=np.maximum.accumulate(log["time_ns"] + late[: len(log)]))

    with pytest.MonkeyPatch.context() as patch:
        log = two_stages.log_of
        patch.setattr(two_stages, "log_of", lambda *of: delayed(log(*of)))
        path, truth = measured_path(served)
    assert path.method == "joint", path.reason
    for stage in ("tokenize", "device_wait"):
        assert close(path.as_mapping()[stage], truth[stage])


def test_a_log_without_batches_is_refused():
    """Broken: a server whose log is not known is shown a path by guesses."""
    served = serve(constant(5.0), constant(12.0), 200, 4)
    assert refused(served, lambda log: log.iloc[:0]).endswith("the server's log shows no prefill batch")


def test_batches_shorter_than_the_clocks_slot_are_refused():
    """Broken: ticks are put into batches that are shorter than their time is known."""
    path, _ = measured_path(serve(constant(1.0), constant(3.0), 400, 4))
    assert path.table.empty
    assert "batches start 3.0 ms after each other, less than the 4 ms" in path.reason


def test_several_http_processes_are_refused():
    """Broken: two tokenizer processes are taken for one queue."""
    served = serve(constant(5.0), constant(12.0), 200, 4)
    phase, rows, log = two_stages.observed(served, np.random.default_rng(1), FIRST_MS, 2000.0)
    (block,) = phase.blocks
    twin = replace(block.threads[0], pid=99)
    phase = replace(phase, blocks=(replace(block, threads=(*block.threads, twin)),))
    load = Load("closed", concurrency=4)
    path = request_path(phase, measured(*rows), load, log, capacity(phase, 100))
    assert path.reason.endswith("2 http processes: it is not known which one serves which request")


# ---- what removing a component could give


def test_removing_a_component_helps_no_further_than_the_next_bottleneck():
    """Broken: an engineer removes the bottleneck and finds the next one right behind it."""
    path, _ = measured_path(serve(constant(10.0), constant(12.0), 600, 6))
    own = path.table.set_index("component")["max_speedup"]
    assert own["device_wait"] == pytest.approx(12 / 10, rel=0.03)
    assert own["tokenize"] == pytest.approx(1.0, rel=0.03)


def test_with_the_bottleneck_gone_its_queue_is_gone():
    """Broken: the most that a change can give is shown without the queue that it removes."""
    path, _ = measured_path(serve(constant(2.0), constant(20.0), 600, 4))
    own = path.table.set_index("component")["max_speedup"]
    assert own["device_wait"] == pytest.approx(80 / 8, rel=0.1)


# ---- which requests


def test_the_slowest_tenth_shows_what_makes_it_slow():
    """Broken: the slowest requests look like the average one."""
    rng = np.random.default_rng(5)
    served = serve(lambda: 40.0 if rng.random() < 0.1 else 4.0, constant(20.0), 800, 1)
    path, _ = measured_path(served)
    slow = path.groups["slowest tenth"].as_mapping()
    assert slow["tokenize"][0] == pytest.approx(40.0, rel=0.15)
    assert slow["device_wait"][0] == pytest.approx(20.0, rel=0.25)
    assert path.as_mapping()["tokenize"][0] == pytest.approx(7.6, rel=0.25)
