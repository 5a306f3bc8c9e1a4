"""How busy each thread is per request, which one limits throughput, and what removing a component could give."""

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.capacity import capacity, max_speedup
from tests.support.synthetic import block, phase_of, thread_ticks, ticked


def of_one_second(requests):
    """HTTP works 40 %, the scheduler 20 %, its forward thread 60 % of a second."""
    threads = [
        thread_ticks("http", "main", "tokenize*30 http*10 await_request*60"),
        thread_ticks("scheduler", "main", "batch*20 wait_forward*60 idle_poll*20"),
        thread_ticks("scheduler", "forward", "dispatch*10 device_wait*50 idle_wait*40"),
    ]
    return capacity(phase_of(ticked(threads, of=block(wall_s=1.0))), requests)


def path(**ms):
    return pd.DataFrame({"component": list(ms), "mean_ms": list(ms.values())}).astype({"mean_ms": float})


def test_the_busiest_thread_limits_throughput():
    """Broken: the wrong thread is named as the bottleneck, or its limit is wrong."""
    table = of_one_second(20).table.set_index(["process", "thread"])
    assert table["busy_ms"].to_dict() == {
        ("http", "main"): pytest.approx(20),
        ("scheduler", "main"): pytest.approx(10),
        ("scheduler", "forward"): pytest.approx(30),
    }
    assert table.loc[("scheduler", "forward"), "most_per_s"] == pytest.approx(1e3 / 30)
    assert table.loc[("http", "main"), "busy_share"] == pytest.approx(0.4)
    assert table.index[table["limits"]].tolist() == [("scheduler", "forward")]


def test_the_next_bottleneck_is_known():
    """Broken: what is left after a component is removed still has it."""
    busy = of_one_second(20)
    assert busy.busiest_ms() == pytest.approx(30)
    assert busy.busiest_ms("device_wait") == pytest.approx(20)


def test_removing_with_one_in_flight_is_bounded_by_the_rest_alone():
    """Broken: with one request in flight there is no other bottleneck, but one is assumed."""
    own = path(device_wait=25.0, tokenize=15.0)
    assert max_speedup("device_wait", own, path(), of_one_second(20), 1) == pytest.approx(40 / 15)
    assert max_speedup("device_wait", path(device_wait=25.0), path(), of_one_second(20), 1) == np.inf


def test_removing_in_a_closed_loop_is_bounded_by_the_next_thread():
    """Broken: removing a component that does not limit throughput looks worthwhile."""
    own, queued = path(device_wait=30.0, tokenize=20.0), path(device_wait=70.0)  # 4 in flight: 120 ms
    busy = of_one_second(20)
    assert max_speedup("device_wait", own, queued, busy, 4) == pytest.approx(120 / 80)
    assert max_speedup("tokenize", own, queued, busy, 4) == pytest.approx(1.0)


def test_removing_in_an_open_loop_takes_its_queue_along():
    """Broken: at a given rate the next bottleneck's work is taken for a queue."""
    own, queued = path(device_wait=30.0, tokenize=20.0), path(device_wait=70.0)
    assert max_speedup("device_wait", own, queued, of_one_second(20), None) == pytest.approx(120 / 20)


def test_without_requests_nothing_is_known():
    """Broken: a run without an answered request stops with a division by zero."""
    assert of_one_second(0).table.empty
    assert of_one_second(0).busiest_ms() == 0.0
