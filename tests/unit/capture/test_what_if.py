"""What-if blocks against a stand-in: what is delayed, in which order, and what is counted."""

import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from scoreprof_nb.capture import what_if
from scoreprof_nb.capture.delay_switch import DelaySwitch, layout
from scoreprof_nb.capture.workload import FileWorkload
from scoreprof_nb.engines.what_if import Target
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.requests_file import RequestBody
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.records import Load
from scoreprof_nb.run_folder.what_if import read_what_if
from tests.support.standin import scores_for, standin

BODY = RequestBody("single", 1, b'{"query": "q", "items": ["a"], "label_token_ids": [1, 2]}', labels=2)
TARGETS = tuple(Target(name, f"server:{name}") for name in ("twice", "once", "never", "gone"))
DELAY_MS = 20.0


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(what_if, "SHORTEST_BLOCK_S", 0.06)
    monkeypatch.setattr(what_if, "FEWEST_ROUNDS", 2)


def captured(folder, wrapped=3, load=None, answers_after_s=0.0, **parameters):
    """The experiment with a server that calls ``twice`` two times and ``once`` one time per request.

    ``wrapped``: so many of the functions exist.
    """
    log = []
    with DelaySwitch(TARGETS, 123.0) as switch:
        path = switch.environment({})[layout.FILE]
        delays = layout.Delays.of_process(path, len(TARGETS))
        calls = [delays.wrapped(lambda: None, number) for number in range(wrapped)]
        for number in range(len(TARGETS)):
            delays.set_state(number, layout.WRAPPED if number < wrapped else layout.MISSING)

        def answer(handler, body):
            time.sleep(answers_after_s)
            for call in calls[:1] * 2 + calls[1:2]:
                call()
            handler.reply_json(scores_for(body))

        with standin(answer) as server:
            plan = SimpleNamespace(
                delays=switch,
                recorder=None,
                redact=Redactor(),
                workloads=SimpleNamespace(of=lambda phase, purpose: FileWorkload([BODY])),
            )
            given = Parameters(what_if_ms=DELAY_MS, what_if_s=1, request_s=20, **parameters)
            watched = SimpleNamespace(url=server.url, check_alive=lambda: None)
            load = load or Load("closed", concurrency=1)
            what_if.capture_what_if(watched, plan, given, "single", load, 0.002, folder, log.append)
            assert switch._cells[layout.ACTIVE] == 0, "a delay is still on"
    return read_what_if(folder), log


def test_each_function_is_delayed_between_blocks_without_a_delay(tmp_path):
    """Broken: a function is not delayed, or compared with blocks that have a delay of their own."""
    (record, requests), _ = captured(tmp_path)
    twice, once, never, gone = record.functions
    assert (twice.calls, once.calls) == pytest.approx((2.0, 1.0), abs=0.2)
    assert twice.delay_ns == pytest.approx(DELAY_MS * 1e6 / 2, rel=0.1)
    assert once.delay_ns == pytest.approx(DELAY_MS * 1e6, rel=0.1)
    assert never.left_out == "the requests of this phase do not call it"
    assert gone.left_out == "this server has no such function"
    assert record.off_ns == 123.0
    for number in {block.round for block in record.blocks}:
        order = [block.delayed for block in record.blocks if block.round == number]
        assert order[::2] == [None, None, None]
        assert sorted(order[1::2]) == [0, 1]
    for before, after in pairwise(record.blocks):
        assert before.block.stop_s <= after.block.start_s
    assert requests["error"].isna().all()


def test_calls_are_counted_over_many_answers(tmp_path):
    """Broken: of slow requests, only some are counted, and a call at the edges makes a delay a tenth wrong."""
    (record, _), _ = captured(tmp_path, answers_after_s=0.03)
    assert [function.calls for function in record.functions[:2]] == pytest.approx([2.0, 1.0], abs=0.05)


def test_counting_calls_has_an_end(tmp_path, monkeypatch):
    """Broken: requests that take minutes are counted for hours."""
    monkeypatch.setattr(what_if, "COUNTED_REQUESTS", 10**9)
    monkeypatch.setattr(what_if, "LONGEST_COUNTING_S", 0.2)
    (record, _), _ = captured(tmp_path)
    assert record.functions[0].calls == pytest.approx(2.0, abs=0.2)


def test_what_is_put_in_is_counted_in_its_block_and_no_other(tmp_path):
    """Broken: a delay runs on into the block after it, which is its comparison."""
    (record, requests), _ = captured(tmp_path)
    for block in record.blocks:
        start_ns, stop_ns = block.block.start_s * 1e9, block.block.stop_s * 1e9
        inside = requests[(requests["sent_ns"] >= start_ns) & (requests["done_ns"] <= stop_ns)]
        latency_ms = (inside["done_ns"] - inside["sent_ns"]) / 1e6
        assert block.answered >= 1
        if block.delayed is None:
            assert (block.calls, block.put_in_ns) == (0, 0)
        else:
            each_ms = record.functions[block.delayed].delay_ns / 1e6
            assert block.calls >= block.answered
            assert block.put_in_ns / 1e6 >= 0.9 * each_ms * block.calls
            assert (latency_ms >= 0.9 * each_ms).all()


def test_a_delay_may_sleep(tmp_path):
    (record, _), _ = captured(tmp_path, what_if_kind="sleep")
    assert record.kind == "sleep"
    assert any(block.put_in_ns for block in record.blocks)


def test_nothing_to_delay_is_no_error(tmp_path):
    """Broken: a branch that has none of the functions cannot be profiled."""
    (record, _), _ = captured(tmp_path, wrapped=0)
    assert record.blocks == ()
    assert all(function.left_out for function in record.functions)


def test_a_replay_has_no_experiment(tmp_path):
    """Broken: bodies that are to be sent once, at their times, are sent again."""
    stored, log = captured(tmp_path, load=Load("replay"))
    assert stored is None
    assert any("no what-if blocks" in line for line in log)
