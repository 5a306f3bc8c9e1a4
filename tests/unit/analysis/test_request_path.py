"""The request path: what a request waits for at each tick, and that it sums to the latency."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.clock import SLOT_S
from scoreprof_nb.analysis.path_causes import server_states
from scoreprof_nb.analysis.path_counts import parts_of
from scoreprof_nb.analysis.path_stages import InFlight, stages_alone
from scoreprof_nb.analysis.request_path import request_path
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.statistics import wilson_interval
from scoreprof_nb.components.catalog import CATALOG, CLIENT, IPC_AND_WAKEUP
from scoreprof_nb.run_folder.records import Load
from tests.support.synthetic import START_S, activity, block, measured, phase_of, thread_ticks, ticked

LEFT = IPC_AND_WAKEUP
NO_LOG = pd.DataFrame({"time_ns": pd.Series(dtype="int64"), "text": pd.Series(dtype="object")})


def joint(http="", scheduler="", forward="", detokenizer="", *, of=None, **how):
    """One block of ticks of 10 ms, unless ``of`` says otherwise.

    Of threads left out, the HTTP thread and the scheduler wait, and the others were not recorded.
    """
    n = max(len(activity(text)[0]) for text in (http, scheduler, forward, detokenizer))
    http, scheduler = http or f"await_request*{n}", scheduler or f"idle_poll*{n}"
    texts = {
        ("http", "main"): http,
        ("scheduler", "main"): scheduler,
        ("scheduler", "forward"): forward,
        ("detokenizer", "main"): detokenizer,
    }
    threads = [thread_ticks(*role, text) for role, text in texts.items() if text]
    threads = [  # another component is another stack
        replace(thread, stack_ids=thread.components.astype(np.int32)) for thread in threads
    ]
    return ticked(threads, of=of or block(wall_s=n / 100), **how)


def causes(ticks, request=None):
    """What the request in flight waits for at each tick; ``request``: its number at each."""
    numbers = np.zeros(ticks.ticks, dtype=np.int64) if request is None else np.array(request)
    every = np.ones(ticks.ticks, dtype=np.bool_)
    pairs = InFlight(np.arange(ticks.ticks), numbers, every, ~every)
    states = server_states(ticks)
    parts = parts_of(states, pairs, stages_alone(states, pairs, every), CATALOG)
    assert not parts.queued.any(), "alone, a request waits behind nobody"
    return [CATALOG.names[i] for i in parts.component]


def path_of(ticks, *rows, concurrency=1, log=NO_LOG):
    blocks = ticks if isinstance(ticks, list) else [ticks]
    phase, load = phase_of(*blocks), Load("closed", concurrency=concurrency)
    return request_path(phase, measured(*rows), load, log, capacity(phase, len(rows)))


def means(path):
    return {name: mean for name, (mean, _, _) in path.as_mapping().items()}


ONE_REQUEST = {
    "http": "http*2 await_request*7 response",
    "scheduler": "idle_poll*2 receive batch wait_forward*3 output idle_poll*2",
    "forward": "idle_wait*4 dispatch device_wait*2 idle_wait*3",
    "detokenizer": "idle_wait*8 detokenize idle_wait",
}
ONE_PATH = (
    ["http"] * 2
    + ["receive", "batch", "dispatch", "device_wait", "device_wait", "output"]
    + [
        "detokenize",
        "response",
    ]
)


# ---- exact joint states


def test_one_request_waits_for_one_thing_after_the_other():
    """Broken: the path of a simple request names other causes than those it waited for."""
    assert causes(joint(**ONE_REQUEST)) == ONE_PATH


def test_one_request_in_milliseconds():
    """Broken: ticks are converted to milliseconds wrongly."""
    path = path_of(joint(**ONE_REQUEST), {"at_ms": 0, "latency_ms": 100})
    assert path.method == "joint"
    assert path.reason is None
    assert means(path) == {
        "http": pytest.approx(20),
        "device_wait": pytest.approx(20),
        **{
            name: pytest.approx(10)
            for name in ("receive", "batch", "dispatch", "output", "detokenize", "response")
        },
    }
    assert path.table["mean_ms"].tolist() == sorted(path.table["mean_ms"], reverse=True)
    assert (path.table["phase"] == "small").all()
    assert (path.table["requests"] == 1).all()
    assert path.table["latency_ms"].tolist() == [pytest.approx(100)] * len(path.table)
    assert path.table.set_index("component")["share"]["http"] == pytest.approx(0.2)
    assert path.table.set_index("component")["max_speedup"]["http"] == pytest.approx(100 / 80)


def test_the_http_threads_work_wins_over_everything_else():
    """Broken: a request is charged to another thread while the HTTP thread works on it."""
    ticks = joint(
        "http*2 ipc await_request", "batch wait_forward*2 output", "dispatch device_wait*3", "detokenize*4"
    )
    assert causes(ticks)[:2] == ["http"] * 2


def test_tokenising_beside_the_last_requests_decode_step_is_no_hand_over():
    """Broken: tokenising the next request is charged to the decode step of the previous one, which runs beside
    it.
    """
    ticks = joint(
        "tokenize*3 await_request*2",
        "~wait_forward*3 batch*2",
        "device_wait*3 idle_wait*2",
        "idle_wait*5",
    )
    assert causes(ticks) == ["tokenize"] * 3 + ["batch"] * 2


def test_a_thread_that_wakes_the_next_one_gives_way_to_it():
    """Broken: the request is charged to the thread that woke the next one, and not to the one that works on
    it.
    """
    ticks = joint(
        "tokenize ipc*2 await_request*3",
        "idle_poll batch*2 output*2 idle_poll",
        "idle_wait*6",
        "idle_wait*4 detokenize*2",
    )
    assert causes(ticks) == ["tokenize", "batch", "batch", "output", "detokenize", "detokenize"]


def test_waiting_for_the_forward_thread_is_replaced_by_what_it_does():
    """Broken: the path shows a wait for the forward thread, and not what that thread does."""
    ticks = joint(
        "await_request*4", "wait_forward*4", "dispatch device_wait transfer idle_wait", "idle_wait*4"
    )
    assert causes(ticks) == ["dispatch", "device_wait", "transfer", LEFT]
    assert "wait_forward" not in causes(ticks)


def test_the_scheduler_in_the_shadow_of_its_forward_thread_does_not_count():
    """Broken: a cost in the forward thread looks too small, because the scheduler prepares the next batch
    meanwhile.
    """
    ticks = joint(
        "await_request*6",
        "batch host_prep*2 wait_forward output idle_poll",
        "idle_wait dispatch device_wait*2 idle_wait*2",
    )
    assert causes(ticks) == ["batch", "dispatch", "device_wait", "device_wait", "output", LEFT]


def test_the_scheduler_that_ends_after_its_forward_thread_counts():
    """Broken: the forward thread is charged although the scheduler finished after it."""
    ticks = joint(
        "await_request*5", "batch host_prep*2 output idle_poll", "idle_wait device_wait idle_wait*3"
    )
    assert causes(ticks) == ["batch", "host_prep", "host_prep", "output", LEFT]


def test_only_what_the_forward_thread_does_without_a_pause_shadows_the_scheduler():
    """Broken: work that the forward thread did for something else, before a pause, is charged to the request."""
    ticks = joint("await_request*4", "batch*3 wait_forward", "device_wait idle_wait device_wait*2")
    assert causes(ticks) == ["batch", "batch", "device_wait", "device_wait"]


def test_waiting_for_a_decode_step_shadows_nothing():
    """Broken: a decode step is charged to whatever the forward thread does meanwhile."""
    ticks = joint("await_request*4", "batch*2 ~wait_forward batch", "device_wait*4")
    assert causes(ticks) == ["batch", "batch", "decode_step", "batch"]


def test_idle_poll_is_no_work():
    """Broken: polling counts as work on the request."""
    ticks = joint("await_request*3", "idle_poll*2 batch", "idle_wait*3", "idle_wait*3")
    assert causes(ticks) == [LEFT, LEFT, "batch"]


def test_a_decode_step_before_the_last_prefill_counts_after_it_it_does_not():
    """Broken: a split request's second part does not show its wait for the decode step of the first."""
    ticks = joint(
        "await_request*9",
        "batch wait_forward ~wait_forward*2 ~decode_step batch wait_forward ~wait_forward ~decode_step",
        "idle_wait device_wait device_wait*2 idle_wait idle_wait device_wait device_wait idle_wait",
        "idle_wait*9",
    )
    assert causes(ticks) == (
        ["batch", "device_wait"] + ["decode_step"] * 3 + ["batch", "device_wait"] + [LEFT] * 2
    )


def test_a_compile_in_a_decode_step_is_trace_compile():
    """Broken: a compile during a decode step is hidden in the decode step."""
    ticks = joint(
        "await_request*5",
        "batch ~wait_forward*2 ~trace_compile batch",
        "idle_wait trace_compile device_wait idle_wait*2",
        "idle_wait*5",
    )
    assert causes(ticks) == ["batch", "trace_compile", "decode_step", "trace_compile", "batch"]


def test_a_compile_in_the_decode_step_after_the_last_prefill_does_not_count():
    """Broken: a compile after the last prefill, for which nobody waits, is charged to the request."""
    ticks = joint("await_request*3", "batch ~wait_forward*2", "idle_wait trace_compile*2", "idle_wait*3")
    assert causes(ticks) == ["batch", LEFT, LEFT]


def test_the_detokenizer_counts_only_after_the_last_prefill():
    """Broken: the first part of a split request is charged for a detokenizer that nobody waited for."""
    ticks = joint("await_request*4", "batch idle_poll wait_forward idle_poll", "idle_wait*4", "detokenize*4")
    assert causes(ticks) == ["batch", LEFT, LEFT, "detokenize"]


def test_each_request_has_its_own_last_prefill():
    """Broken: one request's last prefill is taken for another's."""
    ticks = joint(
        "await_request*6",
        "batch ~wait_forward ~wait_forward ~wait_forward batch ~wait_forward",
        "idle_wait device_wait*3 idle_wait device_wait",
        "idle_wait*6",
    )
    assert causes(ticks, [0, 0, 0, 1, 1, 1]) == ["batch", LEFT, LEFT, "decode_step", "batch", LEFT]


def test_two_requests_in_milliseconds():
    """Broken: ticks between two requests are charged to one of them."""
    ticks = joint(
        "http*2 await_request*8 http*2 http await_request*5",
        "idle_poll*2 wait_forward*6 idle_poll*2 idle_poll*2 idle_poll wait_forward*3 idle_poll*2",
        "idle_wait*2 device_wait*6 idle_wait*2 idle_wait*2 idle_wait dispatch device_wait*2 idle_wait*2",
        "idle_wait*8 detokenize*2 idle_wait*2 idle_wait*4 detokenize*2",
    )
    path = path_of(ticks, {"at_ms": 0, "latency_ms": 100}, {"at_ms": 120, "latency_ms": 60})
    # 16 ticks in requests; mean latency 80 ms
    assert means(path) == {
        "device_wait": pytest.approx(8 * 5),
        "detokenize": pytest.approx(4 * 5),
        "http": pytest.approx(3 * 5),
        "dispatch": pytest.approx(1 * 5),
    }


def test_requests_of_two_blocks_are_taken_together():
    """Broken: a phase of two blocks shows only one of them."""
    first = joint("http*10", of=block(0, START_S, 0.1))
    second = joint("response*10", of=block(1, START_S + 1, 0.1))
    path = path_of(
        [first, second],
        {"at_ms": 0, "latency_ms": 100, "block": 0},
        {"at_ms": 1000, "latency_ms": 100, "block": 1},
    )
    assert means(path) == {"http": pytest.approx(50), "response": pytest.approx(50)}


def test_only_profiled_successful_requests_count():
    """Broken: a failed request, or one without stacks, changes the path."""
    path = path_of(
        joint("http*10 await_request*10"),
        {"at_ms": 0, "latency_ms": 100},
        {"at_ms": 100, "latency_ms": 100, "error": "timeout"},
        {"at_ms": 300, "latency_ms": 900, "profiled": False},
        {"at_ms": 1200, "latency_ms": 900, "block": -1},
    )
    assert means(path) == {"http": pytest.approx(100)}
    assert path.table["requests"].tolist() == [1]


# ---- what is left


def test_what_is_left_is_split_into_client_and_ipc():
    """Broken: the client's own CPU time is charged to sockets and wake-ups."""
    ticks = joint("http*5 await_request*5", "idle_poll*10")
    path = path_of(ticks, {"at_ms": 0, "latency_ms": 100, "client_cpu_ns": 12_000_000})
    assert means(path) == {
        "http": pytest.approx(50),
        IPC_AND_WAKEUP: pytest.approx(38),
        CLIENT: pytest.approx(12),
    }


def test_a_request_that_is_sent_late_waits_for_its_client():
    """Broken: in an open loop, what a late client costs is charged to the server."""
    ticks = joint("await_request*2 http*8", "idle_poll*10")
    requests = measured({"at_ms": 0, "latency_ms": 100})
    late = MeasuredRequests(requests.table.assign(sent_ns=requests.table["sent_ns"] + 20_000_000))
    phase, load = phase_of(ticks), Load("open", offered_per_s=1.0)
    path = request_path(phase, late, load, NO_LOG, capacity(phase, 1))
    assert means(path) == {CLIENT: pytest.approx(20), "http": pytest.approx(80)}


def test_the_client_cannot_take_more_than_is_left():
    """Broken: the client is charged more than what is left, and the rest is negative."""
    ticks = joint("http*9 await_request", "idle_poll*10")
    path = path_of(ticks, {"at_ms": 0, "latency_ms": 100, "client_cpu_ns": 40_000_000})
    assert means(path) == {"http": pytest.approx(90), CLIENT: pytest.approx(10)}


def test_a_component_that_is_the_whole_path_has_no_finite_speedup():
    """Broken: a component that is the whole path has an infinite speedup in the report."""
    path = path_of(joint("http*10"), {"at_ms": 0, "latency_ms": 100})
    assert path.table["max_speedup"].tolist() == [np.inf]


# ---- intervals


def test_intervals_contain_the_mean():
    """Broken: a mean lies outside its interval, or the intervals have no width."""
    rng = np.random.default_rng(2)
    n = 20
    http = " ".join(f"http*{k} await_request*{10 - k}" for k in rng.integers(1, 9, n))
    scheduler = " ".join(f"idle_poll*{k} batch*{10 - k}" for k in rng.integers(1, 9, n))
    ticks = joint(http, scheduler)
    rows = [{"at_ms": 100 * i, "latency_ms": 99, "client_cpu_ns": 500_000} for i in range(n)]
    table = path_of(ticks, *rows).table
    assert (table["low"] <= table["mean_ms"]).all()
    assert (table["mean_ms"] <= table["high"]).all()
    assert (table["low"] < table["high"]).any()
    assert table["mean_ms"].sum() == pytest.approx(99, rel=1e-12)


def test_what_no_sample_shows_has_an_upper_bound():
    """Broken: a component that 50 ticks did not meet is said to take no time at all."""
    path = path_of(joint("http*50"), {"at_ms": 0, "latency_ms": 500})
    assert path.unseen_high_ms == pytest.approx(500 * wilson_interval(0, 50)[1])


# ---- where there is none, or only a marginal one


def test_none_with_several_in_flight_and_no_batches_and_says_why():
    """Broken: a path is shown with several requests in flight, where it is not known which are in a batch."""
    rows = ({"at_ms": 0, "latency_ms": 100}, {"at_ms": 50, "latency_ms": 50})
    path = path_of(joint("http*10"), *rows, concurrency=2)
    assert path.table.empty
    assert path.queued.empty
    assert path.method is None
    assert path.reason == ("with more than one request in flight: the server's log shows no prefill batch")
    assert path.as_mapping() == {}


def test_none_without_stacks_requests_or_ticks_and_says_why():
    """Broken: a phase without data has no path and no reason."""
    row = {"at_ms": 0, "latency_ms": 100}
    assert path_of([], row).reason == "no stacks were recorded"
    assert path_of(joint("http*10"), row | {"profiled": False}).reason == "no profiled request"
    assert path_of(joint("http*10"), row | {"at_ms": 500}).reason == "no tick falls within a profiled request"


def marginal(**how):
    return joint(
        "http*2 await_request*8",
        "batch*3 wait_forward*4 idle_poll*3",
        "device_wait*5 idle_wait*5",
        "idle_wait*10",
        **how,
    )


def test_without_a_clock_the_path_is_marginal_and_says_so():
    """Broken: without a clock, the shares of the threads do not add up to the latency, or pass for a joint
    path.
    """
    path = path_of(marginal(timed=False), {"at_ms": 0, "latency_ms": 100})
    assert path.method == "marginal"
    assert path.reason == "the processes' samples could not be put on common ticks"
    assert means(path) == {
        "device_wait": pytest.approx(40),
        "batch": pytest.approx(30),
        "http": pytest.approx(20),
        IPC_AND_WAKEUP: pytest.approx(10),
    }


def test_a_marginal_path_names_decode_steps_after_all_else():
    """Broken: what the server works at is called sockets and wake-ups."""
    ticks = joint(
        "http*2 await_request*8",
        "batch*2 ~decode_step*2 ~wait_forward*4 idle_poll*2",
        "idle_wait*4 ~trace_compile*3 ~device_wait idle_wait*2",
        timed=False,
    )
    assert means(path_of(ticks, {"at_ms": 0, "latency_ms": 100})) == {
        "http": pytest.approx(20),
        "batch": pytest.approx(20),
        "trace_compile": pytest.approx(30),
        "decode_step": pytest.approx(30),
    }


def test_lost_ticks_without_a_time_make_the_path_marginal():
    """Broken: a lost tick without a time shifts one process against the others, and the path still counts as
    joint.
    """
    ticks = joint("http*10")
    many = replace(ticks, recording=replace(ticks.recording, errors=3))
    assert path_of(many, {"at_ms": 0, "latency_ms": 100}).method == "marginal"


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (("scheduler", "main"), "no samples of scheduler / main"),
        (("http", "main"), "no samples of http / main"),
    ],
)
def test_without_a_thread_that_every_request_passes_there_is_no_path(role, reason):
    """Broken: what it did is called sockets and wake-ups."""
    ticks = marginal()
    ticks = replace(ticks, threads=tuple(t for t in ticks.threads if (t.role.process, t.role.thread) != role))
    path = path_of(ticks, {"at_ms": 0, "latency_ms": 100})
    assert (path.method, path.reason) == (None, reason)


def test_a_thread_that_lacks_samples_makes_the_path_marginal():
    """Broken: a thread whose samples are cut short counts as one that never works."""
    ticks = marginal()
    short = tuple(
        replace(
            thread,
            components=thread.components[1:],
            stack_ids=thread.stack_ids[1:],
            decode=thread.decode[1:],
            lost=thread.lost[1:],
        )
        if thread.role.thread == "forward"
        else thread
        for thread in ticks.threads
    )
    path = path_of(replace(ticks, threads=short), {"at_ms": 0, "latency_ms": 100})
    assert path.method == "marginal"
    assert path.reason == "scheduler / forward was sampled at only 9 of 10 ticks"
    assert means(path)["device_wait"] == pytest.approx(40)  # 4 of 9, at most what the scheduler waits


def test_requests_of_a_block_without_stacks_do_not_count():
    """Broken: the mean latency is of two blocks, its split of one."""
    first = joint("http*10")
    rows = ({"at_ms": 0, "latency_ms": 100}, {"at_ms": 1000, "latency_ms": 900, "block": 1})
    assert means(path_of(first, *rows)) == {"http": pytest.approx(100)}


def test_as_many_slices_as_requests_are_still_slices():
    """Broken: by chance each slice gets the latency of a request that has nothing to do with it."""
    text = " ".join(["http*50 await_request*50"] * 6)
    rows = [{"at_ms": 1000 * i, "latency_ms": 1000 - 150 * i} for i in range(6)]
    path = path_of(joint(text, timed=False), *rows)
    assert path.as_mapping()["http"] == pytest.approx((312.5,) * 3)  # every slice is alike


def test_processes_that_differ_in_ticks_give_a_marginal_path():
    """Broken: processes whose ticks do not match are combined as if they did."""
    assert path_of(marginal(mismatch=40), {"at_ms": 0, "latency_ms": 100}).method == "marginal"
    assert path_of(marginal(mismatch=15), {"at_ms": 0, "latency_ms": 100}).method == "joint"


def test_one_block_that_is_not_aligned_makes_all_marginal():
    """Broken: blocks with a joint and with a marginal path are averaged."""
    blocks = [
        joint("http*10", of=block(0, START_S, 0.1)),
        joint("http*10", of=block(1, START_S + 1, 0.1), timed=False),
    ]
    assert path_of(blocks, {"at_ms": 0, "latency_ms": 100}).method == "marginal"


# ---- the law


ANY_TEXT = st.lists(
    st.tuples(st.sampled_from(CATALOG.stack_names), st.booleans()), min_size=40, max_size=40
).map(lambda ticks: " ".join(("~" if decode else "") + name for name, decode in ticks))


@settings(deadline=None)
@given(
    texts=st.tuples(*[st.one_of(st.just(""), ANY_TEXT)] * 3, ANY_TEXT),
    # (gap before, latency) of each request in units of a quarter tick
    requests=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 60)), min_size=1, max_size=6),
    client_cpu_ns=st.integers(0, 10**9),
    timed=st.booleans(),
)
def test_the_path_always_sums_to_the_mean_latency_and_nothing_is_negative(
    texts, requests, client_cpu_ns, timed
):
    """Broken: a path does not add up to the mean latency, or a component is negative."""
    at_ms, rows = 0.0, []
    for gap, length in requests:
        at_ms += gap * 2.5
        rows.append({"at_ms": at_ms, "latency_ms": length * 2.5, "client_cpu_ns": client_cpu_ns})
        at_ms += length * 2.5
    path = path_of(joint(*texts, timed=timed), *rows)
    if path.table.empty:
        assert path.reason == "no tick falls within a profiled request"
        return
    latency_ms = sum(length for _, length in requests) * 2.5 / len(requests)
    assert path.method == ("joint" if timed else "marginal")
    assert path.table["mean_ms"].sum() == pytest.approx(latency_ms, rel=1e-12)
    assert (path.table["mean_ms"] >= 0).all()
    assert (path.table["low"] >= 0).all()
    assert (path.table["low"] <= path.table["mean_ms"]).all()
    assert (path.table["mean_ms"] <= path.table["high"]).all()
    waiting = {"wait_forward", "await_request", "idle_wait", "idle_poll"}
    assert not waiting & set(path.table["component"])


# ---- limits of what a tick says


def test_ticks_known_to_a_slot_do_not_fill_the_path_with_pauses():
    """Broken: with short requests and clients that pause 1 ms, the pauses are called sockets and wake-ups."""
    rng = np.random.default_rng(6)
    stages_ms = np.array([4.0, 10.0, 1.0, 1.0])  # http, device_wait, an answer on its way, the client's pause
    latency_ms, cycle_ms, wall_s = stages_ms[:3].sum(), stages_ms.sum(), 60.0
    at_ms = np.sort(rng.uniform(0, wall_s * 1e3, rng.poisson(wall_s * 100)))
    stage = np.searchsorted(np.cumsum(stages_ms), at_ms % cycle_ms, side="right")
    names = [
        ("http", "main", ["http", "await_request", "await_request", "await_request"]),
        ("scheduler", "main", ["idle_poll", "wait_forward", "idle_poll", "idle_poll"]),
        ("scheduler", "forward", ["idle_wait", "device_wait", "idle_wait", "idle_wait"]),
    ]
    threads = [
        thread_ticks(process, thread, " ".join(doing[i] for i in stage)) for process, thread, doing in names
    ]
    slot_s = (np.floor(at_ms / 1e3 / SLOT_S) + 0.5) * SLOT_S  # what the launcher's clock says
    of = block(wall_s=wall_s)
    ticks = replace(ticked(threads, of=of), tick_s=of.start_s + slot_s)
    rows = [{"at_ms": cycle_ms * i, "latency_ms": latency_ms} for i in range(int(wall_s * 1e3 / cycle_ms))]
    found = path_of(ticks, *rows).as_mapping()
    for name, truth in (("http", 4.0), ("device_wait", 10.0), (LEFT, 1.0)):
        mean, low, high = found[name]
        assert abs(mean - truth) <= (high - low) / 2, (name, found[name])
    assert found[LEFT][0] == pytest.approx(1.0, abs=0.25)


def test_a_thread_that_stays_in_one_stack_is_at_work_in_it():
    """Broken: a cost within the call that wakes the next thread is charged to that thread."""
    ticks = joint(
        "tokenize ipc*3 await_request*3",
        "idle_poll batch*3 wait_forward*2 idle_poll",
        "idle_wait*4 device_wait*2 idle_wait",
    )
    assert causes(ticks) == ["tokenize"] + ["ipc"] * 3 + ["device_wait"] * 2 + [LEFT]


def test_while_items_are_still_being_sent_the_sender_is_at_work():
    """Broken: of 4 ms per item put into sending 4 items, half are charged to the batch of the first item."""
    ticks = joint(
        "tokenize ipc*2 await_request*3",
        "idle_poll batch wait_forward*3 idle_poll",
        "idle_wait*2 device_wait*3 idle_wait",
    )
    lines = [f"Prefill batch. #new-seq: {size}, #queue-req: 0, " for size in (1, 3)]

    def log(last_ms):
        at_ns = [round((START_S + ms / 1e3) * 1e9) for ms in (12, last_ms)]
        return pd.DataFrame({"time_ns": at_ns, "text": lines})

    row = {"at_ms": 0, "latency_ms": 60}
    while_sending = means(path_of(ticks, row, log=log(28)))
    assert while_sending["ipc"] == pytest.approx(20)
    handed_over = means(path_of(ticks, row, log=log(13)))
    assert "ipc" not in handed_over


def test_items_that_are_mixed_in_the_queue_keep_their_request_in_the_batch():
    """Broken: a request whose last item is in a later batch than it was sent for looks as if its answer were
    on the way for the time of a batch.
    """
    ticks = joint(
        "await_request*20",
        "wait_forward*9 batch wait_forward*9 idle_poll",
        "device_wait*9 idle_wait device_wait*9 idle_wait",
    )
    text = "Prefill batch. #new-seq: 2, #queue-req: 0, "
    at_ns = [round((START_S + ms / 1e3) * 1e9) for ms in (2, 98)]
    log = pd.DataFrame({"time_ns": at_ns, "text": [text, text]})
    rows = [{"at_ms": at, "latency_ms": 200 - at, "items": 2} for at in (0, 1)]
    path = path_of(ticks, *rows, concurrency=2, log=log)
    assert path.method == "joint", path.reason
    together = {**means(path)}
    for name, (mean, _, _) in path.queued_mapping().items():
        together[name] = together.get(name, 0.0) + mean
    assert together["device_wait"] == pytest.approx(180, rel=0.02)
    assert together["batch"] == pytest.approx(10, rel=0.02)
    assert together[LEFT] == pytest.approx(10, rel=0.02)
