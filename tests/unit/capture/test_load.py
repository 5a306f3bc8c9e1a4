"""The load: every request recorded, and every way to fail counted by its own kind."""

import json
import threading
import time

import pytest

from scoreprof_nb.capture import load as load_module
from scoreprof_nb.capture.client import ScoreClient, send_watched
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.server import ServerFailed, free_port
from scoreprof_nb.capture.workload import FileWorkload
from scoreprof_nb.parameters.requests_file import RequestBody
from scoreprof_nb.run_folder.records import PhaseRecord, Warmup
from scoreprof_nb.run_folder.store import load_phase, write_phase
from tests.support.standin import scores_for, standin, wait_until

ITEMS = 2
BODY = RequestBody(
    "single", ITEMS, b'{"query": "q", "items": ["a", "b"], "label_token_ids": [1, 2]}', labels=2
)


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch):
    monkeypatch.setattr(load_module, "PAUSE_AFTER_FAILURE_S", 0.01)


# ---- sending


def run_load(url, n=2, *, bodies=(BODY,), concurrency=1, timeout_s=5.0):
    """The load after at least n requests; a failed request does not end it."""
    load = LoadGenerator(url, FileWorkload(bodies), concurrency, timeout_s)
    load.start()
    try:
        wait_until(lambda: len(load.rows) >= n, f"{n} requests; there are {load.rows}")
    finally:
        load.stop()
    return load


def answered(answer, n=2, **of_load):
    with standin(answer) as server:
        return run_load(server.url, n, **of_load)


def assert_failed(load, kind, status, message):
    assert {(row["error"], row["status"]) for row in load.rows} == {(kind, status)}
    assert all(row["scores"] is None for row in load.rows)
    assert list(load.failures) == [kind]
    assert message in load.failures[kind]
    assert all(row["done_ns"] > row["sent_ns"] for row in load.rows)


def test_answer_is_recorded_with_its_scores():
    """Broken: a good answer is recorded without its scores, kind or payload."""
    load = answered(lambda handler, body: handler.reply_json(scores_for(body)))
    assert load.failures == {}
    for row in load.rows:
        assert (row["status"], row["error"], row["scores"]) == (200, None, [[0.25, 0.75]] * ITEMS)
        assert (row["kind"], row["items"], row["payload"], row["worker"]) == ("single", ITEMS, 0, 0)


def test_times_are_in_order_and_hold_the_wait():
    """Broken: times are out of order, or latencies miss part of the wait."""
    load = answered(lambda handler, body: (time.sleep(0.02), handler.reply_json(scores_for(body))), n=3)
    for row in load.rows:
        assert row["intended_ns"] <= row["sent_ns"]
        assert row["done_ns"] - row["sent_ns"] >= 20e6
        assert 0 <= row["client_cpu_ns"] <= row["done_ns"] - row["sent_ns"]
    for row, following in zip(load.rows, load.rows[1:], strict=False):
        assert following["sent_ns"] >= row["done_ns"]
        assert following["request"] == row["request"] + 1


def test_bodies_are_sent_in_turn_over_and_over():
    """Broken: some bodies are never sent."""
    bodies = [RequestBody("single", 1, json.dumps({"items": ["a"], "n": n}).encode(), 2) for n in range(3)]
    with standin(lambda handler, body: handler.reply_json(scores_for(body))) as server:
        load = run_load(server.url, 7, bodies=bodies)
        assert server.bodies[:7] == [bodies[n % 3].payload for n in range(7)]
    assert [row["payload"] for row in load.rows[:7]] == [0, 1, 2, 0, 1, 2, 0]


def test_timeout():
    """Broken: a server that never answers is not counted as a timeout."""
    release = threading.Event()
    try:
        load = answered(lambda handler, body: release.wait(10), n=1, timeout_s=0.2)
    finally:
        release.set()
    assert_failed(load, "timeout", 0, "timed out")


def stalled(handler, pause_s, pieces):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(pieces):
        handler.wfile.write(b" ")
        time.sleep(pause_s)
    handler.hang_up()


def test_answer_that_stops_half_way_is_a_timeout():
    """Broken: an answer that stops half-way is not counted as a timeout."""
    load = answered(lambda handler, body: stalled(handler, 0.6, 1), n=1, timeout_s=0.2)
    assert_failed(load, "timeout", 0, "")


def test_answer_that_trickles_is_a_timeout():
    """Broken: an answer that arrives byte by byte never times out."""
    load = answered(lambda handler, body: stalled(handler, 0.1, 8), n=1, timeout_s=0.3)
    assert load.rows[0]["error"] == "timeout"


def test_nobody_listens():
    """Broken: a refused connection is counted as another kind of failure."""
    assert_failed(run_load(f"http://127.0.0.1:{free_port()}"), "connection", 0, "refused")


def test_server_hangs_up():
    """Broken: a connection closed without an answer is counted as another kind of failure."""
    load = answered(lambda handler, body: handler.hang_up())
    assert_failed(load, "connection", 0, "onnection")


@pytest.mark.parametrize("status", [500, 503, 400, 404])
def test_http_error_keeps_its_status_and_text(status):
    """Broken: an HTTP error loses its status or its text."""
    load = answered(lambda handler, body: handler.reply(status, b"the model\n is on fire"))
    assert_failed(load, f"http_{status}", status, "the model is on fire")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"scores": null}',
        b'{"scores": 3}',
        b'{"scores": [1, 2]}',
        b'{"object": "error"}',
        b"\xff\xfe",
    ],
)
def test_malformed_answer(content):
    """Broken: a malformed answer counts as a good one."""
    load = answered(lambda handler, body: handler.reply(200, content), n=1)
    assert_failed(load, "bad_answer", 200, repr(content[:20])[:-1])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"scores": []}', "0 score lists for 2 items"),
        (b'{"scores": [[0.5, 0.5]]}', "1 score lists for 2 items"),
        (b'{"scores": [[0.5], [0.5], [0.5]]}', "3 score lists for 2 items"),
        (b'{"scores": [["a", 0.5], [0.5, 0.5]]}', "not a finite number"),
        (b'{"scores": [[0.5, 0.5], [null, 0.5]]}', "not a finite number"),
        (b'{"scores": [[NaN, 0.5], [0.5, 0.5]]}', "not a finite number"),
        (b'{"scores": [[0.5, 0.5], [Infinity, 0.5]]}', "not a finite number"),
    ],
)
def test_wrong_scores(content, problem):
    """Broken: a wrong answer counts as a fast request."""
    load = answered(lambda handler, body: handler.reply(200, content), n=1)
    assert_failed(load, "bad_scores", 200, problem)


@pytest.mark.parametrize("scores", ["[[], []]", "[[0.5, 0.5], [0.5]]", "[[0.5], [0.5]]"])
def test_wrong_number_of_scores_of_an_item(scores):
    """Broken: rows of unequal length end the comparison of scores."""
    load = answered(lambda handler, body: handler.reply(200, f'{{"scores": {scores}}}'.encode()), n=1)
    assert load.rows[0]["error"] == "bad_scores"


@pytest.mark.parametrize("score", ["1" + "0" * 400, "true"])
def test_score_that_is_no_float_does_not_end_the_client(score, tmp_path):
    """Broken: a client thread dies, and its phase has no requests and no reason."""
    content = f'{{"scores": [[{score}, 0.5], [0.5, 0.5]]}}'.encode()
    with standin(lambda handler, body: handler.reply(200, content)) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), 1, 5)
        load.start()
        wait_until(lambda: load.rows or not load._workers[0].is_alive(), "an answer")
        load.stop()
    assert [row["error"] for row in load.rows[:1]] in (["bad_answer"], ["bad_scores"])
    record = PhaseRecord("single", 0.0, 1.0, Warmup(0, 0.0, None, True, ""), (), ())
    write_phase(tmp_path, record, load.rows, [])
    assert len(load_phase(tmp_path).requests) == len(load.rows)


def test_long_error_text_is_bounded():
    """Broken: one long error fills the report."""
    load = answered(lambda handler, body: handler.reply(500, b"x" * 100_000), n=1)
    assert len(load.failures["http_500"]) == 400


def test_first_message_of_each_kind_is_kept():
    """Broken: the report shows a later message, and not the first of each kind."""
    numbers = iter(range(1000))

    def answer(handler, body):
        n = next(numbers)
        handler.reply(500 if n % 2 else 429, f"message {n}".encode())

    assert answered(answer, n=4).failures == {"http_429": "message 0", "http_500": "message 1"}


def test_load_goes_on_after_failures():
    """Broken: one bad answer ends the phase."""
    answers = iter([lambda h, b: h.hang_up(), lambda h, b: h.reply(500, b"x")])
    load = answered(lambda h, b: next(answers, lambda h, b: h.reply_json(scores_for(b)))(h, b), n=3)
    assert [row["error"] for row in load.rows[:3]] == ["connection", "http_500", None]


def test_all_kinds_of_rows_can_be_written(tmp_path):
    """Broken: a row that Parquet refuses loses the whole phase."""
    answers = iter(
        [lambda h, b: h.hang_up(), lambda h, b: h.reply(500, b"x"), lambda h, b: h.reply(200, b"{")]
    )
    load = answered(lambda h, b: next(answers, lambda h, b: h.reply_json(scores_for(b)))(h, b), n=4)
    record = PhaseRecord("single", 0.0, 1.0, Warmup(0, 0.0, None, True, ""), (), ())
    write_phase(tmp_path, record, load.rows, [])
    table = load_phase(tmp_path).requests
    assert table["error"][:3].tolist() == ["connection", "http_500", "bad_answer"]
    assert table["error"][3:].isna().all()


def test_warm_up_is_marked():
    """Broken: requests of the warm-up count as measured, or measured ones as warm-up."""
    with standin(lambda handler, body: handler.reply_json(scores_for(body))) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), 1, 5)
        load.start()
        wait_until(lambda: len(load.rows) >= 2, "two requests")
        load.warming = False
        switched = len(load.rows)
        wait_until(lambda: len(load.rows) >= switched + 3, "three more")
        load.stop()
    marks = [row["warmup"] for row in load.rows]
    assert all(marks[:switched])
    assert not any(marks[switched + 1 :])
    assert marks == sorted(marks, reverse=True)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_concurrency_is_the_number_in_flight(concurrency):
    """Broken: another load is measured than was requested."""
    gate = threading.Barrier(concurrency, timeout=5)

    def answer(handler, body):
        gate.wait()  # opens only when so many requests are in flight at once
        handler.reply_json(scores_for(body))

    with standin(answer) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), concurrency, 5)
        load.start()
        try:
            wait_until(lambda: len(load.rows) >= 4 * concurrency, "some rounds")
            assert server.most_in_flight == concurrency
        finally:
            load.abandon()
            gate.abort()
            load.stop()
    assert {row["worker"] for row in load.rows} == set(range(concurrency))
    numbers = sorted(row["request"] for row in load.rows)
    assert numbers == list(range(len(numbers)))


def test_waiting_for_answers_gives_an_instant_between_two_requests():
    """Broken: a block begins or ends while a request is in flight, or waits forever after a failed one."""
    answers = iter([lambda h, b: h.reply_json(scores_for(b)), lambda h, b: h.reply(500, b"x")] * 500)
    with standin(lambda handler, body: next(answers)(handler, body)) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), 1, 5)
        load.start()
        try:
            instants = []
            while len(instants) < 20:
                answered_s = load.wait_answered(load.in_flight(), 5)
                assert answered_s is not None
                instants.append(answered_s)
        finally:
            load.stop()
    for instant in instants[1:]:
        assert not [row for row in load.rows if row["sent_ns"] < instant * 1e9 < row["done_ns"]]


def test_waiting_for_an_answer_that_never_comes_ends():
    """Broken: a hanging server would hold the capture for ever."""
    release = threading.Event()
    with standin(lambda handler, body: release.wait(5)) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), 1, 5)
        load.start()
        wait_until(load.in_flight, "a request")
        assert load.wait_answered(load.in_flight(), 0.05) is None
        load.abandon()
        release.set()
        load.stop()


def test_stop_lets_the_request_in_flight_end():
    """Broken: the last request of a phase is lost."""
    started, release = threading.Event(), threading.Event()

    def answer(handler, body):
        started.set()
        release.wait(5)
        handler.reply_json(scores_for(body))

    with standin(answer) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), 1, 5)
        load.start()
        started.wait(5)
        threading.Timer(0.1, release.set).start()
        load.stop()
        assert len(server.bodies) == len(load.rows) == 1
    assert load.rows[0]["error"] is None


def test_abandon_does_not_wait():
    """Broken: stopping a failed run waits for the requests in flight."""
    release = threading.Event()
    with standin(lambda handler, body: release.wait(10)) as server:
        load = LoadGenerator(server.url, FileWorkload([BODY]), 1, 30)
        load.start()
        wait_until(lambda: server.bodies, "a request")
        load.abandon()
        assert load.rows == []
        release.set()


def test_proxy_of_the_environment_is_ignored(monkeypatch):
    """Broken: with http_proxy set, the load measures the proxy."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    load = answered(lambda handler, body: handler.reply_json(scores_for(body)), n=1)
    assert load.rows[0]["error"] is None


def test_request_to_a_server_that_has_died_is_not_awaited():
    """Broken: a server that lost its scheduler during the warm-up is noticed after minutes."""
    release = threading.Event()

    def died():
        raise ServerFailed("a process of the server ended")

    with standin(lambda handler, body: release.wait(30)) as server, ScoreClient(server.url, 30.0) as client:
        started_s = time.monotonic()
        with pytest.raises(ServerFailed, match="a process of the server ended"):
            send_watched(client, RequestBody("single", 1, b'{"items": ["a"]}', 2), died)
        release.set()
    assert time.monotonic() - started_s < 20, "it waited for the answer"
