"""The open loop: requests are sent at their times, whatever the server does."""

import itertools
import json
import threading
import time

import pytest

from scoreprof_nb.capture.open_loop import OpenLoop, poisson
from scoreprof_nb.capture.server import free_port
from scoreprof_nb.capture.workload import FileWorkload
from scoreprof_nb.parameters.requests_file import RequestBody
from tests.support.standin import scores_for, standin, wait_until

BODIES = [
    RequestBody("single", 1, json.dumps({"query": str(n), "items": ["a"]}).encode(), labels=2)
    for n in range(3)
]


def open_loop(url, times_s, timeout_s=5.0):
    return OpenLoop(url, FileWorkload(BODIES), times_s, timeout_s, first=10)


def good(handler, body):
    handler.reply_json(scores_for(body))


def test_each_request_is_sent_at_its_time_and_recorded():
    """Broken: requests are lost, sent early, or recorded with another's answer."""
    times_s = [0.1, 0.1, 0.15, 0.3]
    with standin(good) as server:
        with open_loop(server.url, times_s) as load:
            wait_until(lambda: len(load.rows) == 4, "all answers")
        assert sorted(server.bodies) == sorted(BODIES[n % 3].payload for n in range(4))
    rows = sorted(load.rows, key=lambda row: row["request"])
    assert [row["request"] for row in rows] == [10, 11, 12, 13]
    assert [row["payload"] for row in rows] == [0, 1, 2, 0]
    assert [(row["intended_ns"] - load.start_ns) / 1e9 for row in rows] == pytest.approx(times_s)
    for row in rows:
        assert row["intended_ns"] <= row["sent_ns"] + 1e6  # the sleep may end a moment early
        assert row["sent_ns"] < row["done_ns"]
        assert (row["status"], row["error"], row["scores"]) == (200, None, [[0.25, 0.75]])
    assert load.cpu_s > 0


def test_a_send_waits_for_no_answer():
    """Broken: a slow server slows its own load down, and its queue is never seen (coordinated omission)."""
    release = threading.Event()

    def hang(handler, body):
        release.wait(10)
        good(handler, body)

    with standin(hang) as server, open_loop(server.url, [0.01 * n for n in range(30)]) as load:
        wait_until(lambda: server.in_flight == 30, "30 requests in flight")
        assert load.in_flight() == set(range(10, 40))
        release.set()
        wait_until(lambda: len(load.rows) == 30, "all answers")
    assert load.in_flight() == set()


def test_requests_of_the_future_are_not_in_flight():
    """Broken: a block waits for the answer to a request that has not been sent."""
    with standin(good) as server, open_loop(server.url, [0.0, 0.9]) as load:
        wait_until(lambda: len(load.rows) == 1, "the first answer")
        wait_until(lambda: 11 in load._planned, "the second request with the client")
        assert load.in_flight() == set()


def test_measured_are_those_planned_after_the_lead_in():
    """Broken: the empty queue of the start is measured, or the first requests are lost."""
    with standin(good) as server, open_loop(server.url, [0.0, 0.1, 0.2, 0.3]) as load:
        wait_until(lambda: load.start_ns, "the start")
        load.measured_from_ns = load.start_ns + 150_000_000
        wait_until(lambda: len(load.rows) == 4, "all answers")
    rows = sorted(load.rows, key=lambda row: row["request"])
    assert [row["warmup"] for row in rows] == [True, True, False, False]


def test_timeouts_and_lost_connections_are_counted_by_kind():
    """Broken: a request without an answer vanishes, and the latency of the others looks good."""
    release = threading.Event()
    with standin(lambda handler, body: release.wait(10)) as server:
        with open_loop(server.url, [0.0], timeout_s=0.3) as load:
            wait_until(lambda: load.rows, "the timeout")
        release.set()
    assert [(row["status"], row["error"]) for row in load.rows] == [(0, "timeout")]
    assert load.rows[0]["done_ns"] - load.rows[0]["sent_ns"] >= 0.3e9
    with open_loop(f"http://127.0.0.1:{free_port()}", [0.0]) as load:
        wait_until(lambda: load.rows, "the failure")
    assert load.rows[0]["error"] == "connection"
    assert "connect to host 127.0.0.1" in load.failures["connection"]


def test_leaving_ends_the_load_and_its_process():
    """Broken: an endless load goes on after its phase, or its process is left behind."""
    with standin(good) as server:
        with open_loop(server.url, poisson(50, "seed")) as load:
            wait_until(lambda: len(load.rows) > 5, "some answers")
        assert load._client.poll() is not None
        sent = len(server.bodies)
        time.sleep(0.2)
        assert len(server.bodies) == sent == len(load.rows)


def test_an_error_abandons_the_requests_in_flight():
    """Broken: Ctrl-C waits for a hanging server."""
    release = threading.Event()
    with standin(lambda handler, body: release.wait(10)) as server:
        started = time.monotonic()
        load = open_loop(server.url, [0.0], timeout_s=60)
        load.__enter__()
        wait_until(lambda: server.in_flight == 1, "a request")
        load.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert load._client.poll() is not None
        assert time.monotonic() - started < 30
        release.set()


def test_arrivals_are_poisson_and_the_same_for_a_seed():
    """Broken: the two sides of a comparison get other arrivals, or arrivals come in step."""
    times = list(itertools.islice(poisson(4.0, "a"), 4000))
    assert times == list(itertools.islice(poisson(4.0, "a"), 4000))
    assert times[:9] != list(itertools.islice(poisson(4.0, "b"), 9))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.25, rel=4 / 4000**0.5)
    assert spread / mean == pytest.approx(1.0, abs=0.1)  # exponential gaps


def test_the_key_is_sent_and_is_on_no_command_line():
    """Broken: a server with a key refuses every request of an open loop, or the key can be seen in ``ps``."""
    keys = []

    def answer(handler, body):
        keys.append(handler.headers["Authorization"])
        good(handler, body)

    with standin(answer) as server:
        load = OpenLoop(server.url, FileWorkload(BODIES), [0.0], 5.0, "s3cr3t")
        with load:
            assert "s3cr3t" not in " ".join(load._client.args)
            wait_until(lambda: load.rows, "the answer")
    assert keys == ["Bearer s3cr3t"]
