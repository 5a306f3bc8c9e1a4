"""The timeline of a phase, read back from the file: everything is there, nested and within bounds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.run_analysis import analyse
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.device.events import EVENT_COLUMNS
from scoreprof_nb.run_folder.store import load_run
from scoreprof_nb.timeline.device import device_tracks
from scoreprof_nb.timeline.perfetto_trace import perfetto_trace
from scoreprof_nb.timeline.requests import request_tracks
from scoreprof_nb.timeline.threads import NOT_READ, component_slices, core_tracks, thread_tracks, tick_edges
from scoreprof_nb.timeline.timeline import phase_timeline
from scoreprof_nb.timeline.tracks import Group
from tests.support.perfetto import read_trace
from tests.support.synthetic import START_S, block, phase_of, place, sent, stack_table, thread_ticks, ticked
from tests.support.written_run import GOOD, failed, request, write_run

WARMUP = [
    request(number, warmup=True, sent_ns=round((START_S - 4) * 1e9), done_ns=round((START_S - 3.9) * 1e9))
    for number in range(1)
]
REQUESTS = [*GOOD[:-1], failed(len(GOOD) - 1)]


ONE_STACK = stack_table(place("scheduler", "main", ["main@a.py"]))


def log_line(at_s, text):
    return f"{START_S + at_s:.6f} {text}\n"


LOG = "".join(
    [
        log_line(-7, "Prefill batch. #new-seq: 9, of an earlier phase"),
        log_line(-3.95, "Prefill batch. #new-seq: 2, #cache_miss: 2"),
        log_line(0.51, "Prefill batch. #new-seq: 4"),
        log_line(0.55, "Decode batch. #running-req: 4, #cache_miss: 1"),
        log_line(12.51, "Prefill batch. #new-seq: 4"),
        log_line(50, "Prefill batch. #new-seq: 9, of a later phase"),
    ]
)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, recording="whole", requests=[*WARMUP, *REQUESTS], log=LOG)
    return analyse(load_run(folder), load_rules())


@pytest.fixture(scope="module")
def tracks(analysed):
    return read_trace(phase_timeline(analysed.phases[0], analysed.run.log).trace)


def test_everything_lies_within_the_phase(analysed, tracks):
    """Broken: clocks are mixed up, or another phase's events are shown."""
    record = analysed.phases[0].phase.record
    start_ns, end_ns = round(record.started_s * 1e9), round(record.finished_s * 1e9)
    for track in tracks.values():
        times = [time for one in track.slices for time in (one.start_ns, one.end_ns)]
        times += [time for time, *_ in (*track.instants, *track.points)]
        assert times, f"{track.name} is empty"
        assert start_ns <= min(times), track.name
        assert max(times) <= end_ns, track.name


def test_inner_slices_lie_within_outer_ones(tracks):
    for track in tracks.values():
        for one in track.slices:
            assert one.start_ns <= one.end_ns
            if one.parent is not None:
                outer = track.slices[one.parent]
                assert outer.start_ns <= one.start_ns <= one.end_ns <= outer.end_ns


def test_every_request_is_there_once(tracks):
    """Broken: requests are lost, or their time is not that of the client."""
    found = {
        one.details["request"]: (one.start_ns, one.end_ns, one.name, one.details["status"])
        for one in tracks["client", "requests"].slices
    }
    assert found == {
        row["request"]: (
            row["sent_ns"],
            row["done_ns"],
            "small" if row["error"] is None else "small failed: timeout",
            row["status"],
        )
        for row in REQUESTS
    }
    assert len(tracks["client", "warm-up requests"].slices) == len(WARMUP)


def test_every_batch_and_compile_of_the_log_is_there(tracks):
    def of(name):
        return [
            (round(time / 1e9 - START_S, 3), details) for time, _, details in tracks["server", name].instants
        ]

    assert of("prefill batches, by the log") == [
        (-3.95, {"sequences": 2}),
        (0.51, {"sequences": 4}),
        (12.51, {"sequences": 4}),
    ]
    assert of("decode batches, by the log") == [(0.55, {"programs compiled": 1})]
    assert of("compiles, by the log") == [(-3.95, {"programs": 2}), (0.55, {"programs": 1})]


def test_prefill_batches_lie_within_requests(tracks):
    """Broken: the log and the client are on different clocks."""
    requests = [*tracks["client", "requests"].slices, *tracks["client", "warm-up requests"].slices]
    for time_ns, _, _ in tracks["server", "prefill batches, by the log"].instants:
        assert any(one.start_ns <= time_ns <= one.end_ns for one in requests)


def test_ticks_of_the_components_sum_to_the_threads_table(analysed, tracks):
    """Broken: the timeline shows other samples than the report."""
    shares = analysed.phases[0].threads.shares
    for (process, thread), rows in shares.groupby(["process", "thread"]):
        counted: dict[str, int] = {}
        for one in tracks[process, thread].slices:
            if one.parent is None:
                counted[one.name] = counted.get(one.name, 0) + one.details["ticks"]
        expected = dict(
            zip(rows["component"], (rows["share"] * rows["ticks"]).round().astype(int), strict=True)
        )
        assert counted == expected


def test_blocks_are_there_with_their_state(tracks):
    assert [one.name for one in tracks["client", "blocks"].slices] == [
        "block 1: py-spy off",
        "block 2: py-spy on",
        "block 3: py-spy on",
        "block 4: py-spy off",
    ]


def test_same_run_gives_the_same_bytes(analysed, tmp_path):
    """Broken: re-analysing a run changes a file of it for no reason."""
    write_run(tmp_path / "again", recording="whole", requests=[*WARMUP, *REQUESTS], log=LOG)
    again = analyse(load_run(tmp_path / "again"), load_rules())
    first, second = (phase_timeline(of.phases[0], of.run.log).trace for of in (analysed, again))
    assert first == second


def test_long_timeline_keeps_the_first_part_of_each_block(analysed, tracks):
    """Broken: an hour's timeline cannot be opened, or ends after a minute of one block."""
    whole = phase_timeline(analysed.phases[0], analysed.run.log)
    assert whole.share == 1.0
    cut = phase_timeline(analysed.phases[0], analysed.run.log, max_bytes=len(whole.trace) // 2)
    assert len(cut.trace) <= len(whole.trace) // 2
    assert 0.2 < cut.share < 0.6
    kept = read_trace(cut.trace)
    assert f"{cut.share:.1%}" in kept["timeline", "cut"].instants[0][1]
    for number, of_block in enumerate(analysed.phases[0].phase.record.blocks):
        sent_in = [
            one.details["request"]
            for one in kept["client", "requests"].slices
            if of_block.start_s * 1e9 <= one.start_ns < of_block.stop_s * 1e9
        ]
        assert sent_in
        assert sent_in == list(range(10 * number, 10 * number + len(sent_in)))


# ---- parts


def test_requests_in_flight_together_are_in_lanes_of_their_own():
    rows = sent(
        {"at_ms": 0, "latency_ms": 100.0},
        {"at_ms": 50, "latency_ms": 100.0},
        {"at_ms": 100, "latency_ms": 20.0},
    )
    *lanes, in_flight = request_tracks("requests", rows)
    assert [[dict(one.details)["request"] for one in lane.slices] for lane in lanes] == [[0, 2], [1]]
    assert [value for _, value in in_flight.counter.points] == [1, 2, 2, 1, 0]


def test_slices_of_a_thread_cover_its_ticks():
    """Runs of equal components, and within them of equal functions; a lost tick has no function."""
    table = stack_table(place("scheduler", "main", ["main@a.py > one@b.py", "main@a.py > two@b.py"]))
    thread = thread_ticks("scheduler", "main", "batch*3 output*1", stack_ids=[0, 0, 1, -1])
    of_block = ticked([thread], of=block(wall_s=0.4), table=table)
    slices = component_slices(of_block, thread)
    start_ns, end_ns = round(START_S * 1e9), round((START_S + 0.4) * 1e9)
    assert [(one.name, dict(one.details)["ticks"]) for one in slices] == [("batch", 3), ("output", 1)]
    assert [child.name for child in slices[0].children] == ["one (b.py)", "two (b.py)"]
    assert [child.name for child in slices[1].children] == [NOT_READ]
    assert (slices[0].start_ns, slices[-1].end_ns) == (start_ns, end_ns)
    assert slices[0].end_ns == slices[1].start_ns


def test_ticks_of_one_slot_are_spread_over_it():
    """Broken: ticks in the same slot of the clock get slices without a length."""
    thread = thread_ticks("scheduler", "main", "batch output batch output")
    of_block = ticked([thread], of=block(wall_s=0.04))
    same_slot = replace(of_block, tick_s=START_S + np.array([0.01, 0.022, 0.022, 0.022]))
    assert (np.diff(tick_edges(same_slot)) > 1e6).all()


def test_thread_that_started_late_begins_late():
    late = thread_ticks("scheduler", "forward", "dispatch*2", tid=11)
    early = thread_ticks("scheduler", "main", "batch*4")
    of_block = ticked([early, late], of=block(wall_s=0.4), table=ONE_STACK)
    assert component_slices(of_block, late)[0].start_ns == pytest.approx((START_S + 0.2) * 1e9, abs=1e3)


def test_cpu_state_and_cores_follow_the_kernels_counters():
    """One second on a CPU, one waiting for a core, one neither."""
    at_ns = [round((START_S + second) * 1e9) for second in range(4)]
    counters = pd.DataFrame(
        {
            "block": 0,
            "time_ns": at_ns,
            "pid": 10,
            "tid": 10,
            "on_cpu_ns": [0, 10**9, 10**9, 10**9],
            "runnable_ns": [0, 0, 10**9, 10**9],
        }
    )
    thread = thread_ticks("scheduler", "main", "batch*300")
    ticks = phase_of(ticked([thread], of=block(wall_s=3.0), table=ONE_STACK))
    ticks = replace(ticks, phase=replace(ticks.phase, schedstat=counters))
    doing, state = thread_tracks(ticks)
    assert [one.name for one in state.slices] == ["on CPU", "waiting for a core", "neither"]
    assert [round((one.end_ns - one.start_ns) / 1e9, 2) for one in state.slices] == [1.0, 1.0, 1.0]
    assert doing.tid == 10
    cores, waiting = core_tracks(ticks, Group("server"))
    halves = [dict(track.counter.points)[at_ns[0]] for track in (cores, waiting)]
    assert halves == pytest.approx([1.0, 0.0])
    assert sum(value for _, value in cores.counter.points) * 0.02 == pytest.approx(1.0, abs=0.03)


def test_device_operations_are_nested_in_their_lane():
    """Broken: an operation that holds others hides them, or lanes and chips are mixed."""
    rows = [
        ("TPU:0", "program", "jit_run(1)", 0, 100, 1),
        ("TPU:0", "operation", "while", 0, 60, 2),
        ("TPU:0", "operation", "fusion", 10, 30, 2),
        ("TPU:0", "operation", "copy", 60, 80, 2),
        ("TPU:1", "operation", "fusion", 0, 10, 2),
    ]
    events = pd.DataFrame(rows, columns=["chip", "kind", "name", "start_ns", "end_ns", "lane"]).reindex(
        columns=list(EVENT_COLUMNS)
    )
    tracks = read_trace(perfetto_trace(device_tracks(events)))
    assert set(tracks) == {
        ("device TPU:0", "programs"),
        ("device TPU:0", "operations"),
        ("device TPU:1", "operations"),
    }
    operations = tracks["device TPU:0", "operations"].slices
    assert [(one.name, one.parent) for one in operations] == [("while", None), ("fusion", 0), ("copy", None)]
