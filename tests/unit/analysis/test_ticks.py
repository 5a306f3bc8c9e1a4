"""Samples on one time axis: the clock is read rightly, lost and torn samples are put back rightly."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from scoreprof_nb.analysis import clock as analysis_clock
from scoreprof_nb.analysis.ticks import block_ticks, phase_ticks
from scoreprof_nb.capture import launcher
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import classify
from scoreprof_nb.run_folder.records import Block, Recording
from scoreprof_nb.stacks.table import NotOrdered
from tests.support.synthetic import (
    RULES,
    START_S,
    block,
    phase,
    place,
    stack_table,
)

ROOT = "run_scheduler_process@scheduler.py > event_loop_overlap@scheduler.py"
POLL = f"{ROOT} > recv_requests@scheduler.py"
RECEIVE = f"{ROOT} > handle_generate_request@scheduler.py"
BATCH = f"{ROOT} > calc_priority@schedule_policy.py"
DECODE = f"{ROOT} > update_running_batch@scheduler.py"
WAIT = f"{ROOT} > resolve_last_batch_result@tp_worker.py > wait@threading.py"
TORN = "update_running_batch@scheduler.py"  # its outermost frames were missed

FORWARD = "run@threading.py > forward_thread_func@tp_worker.py"
DISPATCH = f"{FORWARD} > run_model_wrapper@model_runner.py"
DEVICE = f"{FORWARD} > block_until_ready@jax/_src/api.py"
IDLE = f"{FORWARD} > wait@threading.py"

SCHEDULER_PID, FORWARD_TID, DETOKENIZER_PID = 20, 21, 30


def clock_stack(at_s: float) -> str:
    """What the launcher's main thread shows at a time."""
    slot = int(at_s % (launcher.SLOTS * launcher.SLOT_S) / launcher.SLOT_S)
    return (
        f"run@launcher.py:88 > clock@{launcher.CLOCK_FILE}:{slot + launcher.FIRST_LINE} > "
        "_wait@launcher.py:58"
    )


def clock(times):
    return place("clock", "main", [clock_stack(at) for at in times], pid=1, tid=1)


def even_ticks(n, wall_s=1.0):
    return START_S + (np.arange(n) + 0.5) * wall_s / n


def scheduler(stacks):
    return place("scheduler", "main", stacks, pid=SCHEDULER_PID, tid=SCHEDULER_PID)


def forward(stacks):
    return place("scheduler", "forward", stacks, pid=SCHEDULER_PID, tid=FORWARD_TID)


def detokenizer(n):
    stack = "run_detokenizer_process@detokenizer_manager.py > recv_pyobj@socket.py"
    return place("detokenizer", "main", [stack] * n, pid=DETOKENIZER_PID, tid=DETOKENIZER_PID)


def ticks_of(*threads, lost=(), wall_s=1.0, start_s=START_S, margin_s=0.0):
    """The block is longer than its recording by the margin on both sides."""
    table = stack_table(*threads)
    of = block(0, start_s, wall_s, lost=lost)
    of = replace(of, start_s=of.start_s - margin_s, stop_s=of.stop_s + margin_s)
    return block_ticks(of, of.recording, table, classify(table, RULES))


LOOP = "run_scheduler_process@scheduler.py > Scheduler.event_loop_overlap@scheduler.py"
WORKS, POLLS = f"{LOOP} > calc_priority@schedule_policy.py", f"{LOOP} > recv_requests@scheduler.py"


def names(thread):
    return [CATALOG.names[i] for i in thread.components]


# ---- the clock


def test_constants_are_the_launchers():
    """Broken: the analysis and the launcher disagree on the clock's numbers."""
    assert (
        analysis_clock.CLOCK_FILE,
        analysis_clock.SLOT_S,
        analysis_clock.SLOTS,
        analysis_clock.FIRST_LINE,
    ) == (
        launcher.CLOCK_FILE,
        launcher.SLOT_S,
        launcher.SLOTS,
        launcher.FIRST_LINE,
    )


def test_each_slot_has_the_line_that_the_decoding_expects():
    """Broken: the generated clock waits in another line than the one that the analysis reads as that time."""
    seen = []

    def wait(slot):
        caller = sys._getframe(1)
        seen.append((slot, caller.f_lineno, caller.f_code.co_filename, caller.f_code.co_name))

    launcher.Clock(child=None, epoch_ns=0)._clock(wait)
    assert seen == [
        (slot, slot + launcher.FIRST_LINE, launcher.CLOCK_FILE, "clock") for slot in range(launcher.SLOTS)
    ]


@pytest.mark.parametrize("start_s", [START_S, START_S + 7.003, START_S + 9.999])
def test_clock_gives_each_tick_its_time_across_the_wrap_of_its_cycle(start_s):
    """Broken: times jump when the clock's 10 s cycle starts again."""
    wall_s = 25.0
    true_s = start_s + np.sort(np.random.default_rng(5).random(2500)) * wall_s
    ticks = ticks_of(clock(true_s), wall_s=wall_s, start_s=start_s, margin_s=0.01)
    assert ticks.timed
    assert ticks.aligned
    assert np.abs(ticks.tick_s - true_s).max() <= launcher.SLOT_S / 2 + 1e-6
    assert (np.diff(ticks.tick_s) >= 0).all()


def test_what_py_spy_saw_before_and_after_the_block_is_cut():
    """Broken: a compile in flight while py-spy attached counts among the block's requests."""
    true_s = even_ticks(100)
    busy = place("scheduler", "main", [WORKS] * 30 + [POLLS] * 70, pid=3, tid=3)
    table = stack_table(clock(true_s), busy)
    whole = block()
    of = replace(whole, start_s=START_S + 0.3, stop_s=START_S + 0.9)
    ticks = block_ticks(of, whole.recording, table, classify(table, RULES))
    assert 58 <= ticks.ticks <= 61
    assert ticks.aligned
    (scheduler,) = (thread for thread in ticks.threads if thread.role.process == "scheduler")
    assert len(scheduler.components) == len(scheduler.lost) == ticks.ticks
    assert names(scheduler).count("batch") <= 1
    assert names(scheduler).count("idle_poll") >= 58


def test_a_thread_that_ended_before_the_block_is_not_in_it():
    """Broken: a report of nothing, or none at all, of a thread without ticks."""
    true_s = even_ticks(100)
    whole = block()
    table = stack_table(clock(true_s), place("scheduler", "main", [WORKS] * 100, pid=3, tid=3))
    activities = classify(table, RULES)
    assert len(block_ticks(whole, whole.recording, table, activities).threads) == 1
    of = replace(whole, start_s=START_S + 5, stop_s=START_S + 6)
    assert block_ticks(of, whole.recording, table, activities).threads == ()


def test_samples_of_the_clock_between_its_slots_are_interpolated():
    """Broken: a clock sample between two slots makes times jump."""
    true_s = even_ticks(100)
    thread = clock(true_s)
    stacks = list(thread.stacks)
    stacks[40] = "run@launcher.py:87"  # between two cycles
    ticks = ticks_of(place("clock", "main", stacks, pid=1, tid=1))
    assert ticks.timed
    assert np.abs(ticks.tick_s - true_s).max() <= launcher.SLOT_S / 2 + 1e-6


@pytest.mark.parametrize(
    "wrong_s", [{0: 2.3}, {0: 2.3, 1: 2.31}, {57: 2.3}, {57: -2.3}, {99: -4.9}, {0: 4.9, 50: -1.0, 99: -2.3}]
)
def test_misread_times_of_the_clock_move_no_other_tick(wrong_s):
    """Broken: one sample of the clock as it catches up with the present puts all later ticks out of their block."""
    true_s = even_ticks(100)
    shown_s = true_s.copy()
    for tick, by_s in wrong_s.items():
        shown_s[tick] += by_s
    ticks = ticks_of(clock(shown_s))
    assert ticks.timed
    apart_s = np.abs(ticks.tick_s - true_s)
    assert np.delete(apart_s, list(wrong_s)).max() <= launcher.SLOT_S / 2 + 1e-6
    assert apart_s.max() < 3 * (true_s[1] - true_s[0])


def test_a_tick_that_the_clock_itself_lost_moves_the_others_by_less_than_two():
    """Broken: a lost tick of the clock shifts all other ticks."""
    true_s = even_ticks(200)
    ticks = ticks_of(clock(np.delete(true_s, 90)), scheduler([POLL] * 200), lost=[(true_s[90], 1, 1)])
    assert ticks.timed
    assert ticks.ticks == 200
    assert np.abs(ticks.tick_s - true_s).max() < 2 * (true_s[1] - true_s[0])


def test_without_a_clock_ticks_are_even_and_not_timed():
    """Broken: assumed times pass for measured ones."""
    ticks = ticks_of(scheduler([POLL] * 10))
    assert not ticks.timed
    assert not ticks.aligned
    assert ticks.tick_s == pytest.approx(even_ticks(10))


def test_a_clock_that_was_switched_off_counts_as_none():
    """Broken: a launcher that sleeps is read as a clock, and assumed times pass for measured ones."""
    off = place("clock", "main", ["run@launcher.py:90"] * 10, pid=1, tid=1)
    assert not ticks_of(off, scheduler([POLL] * 10)).timed


def test_a_clock_that_stopped_early_counts_as_none():
    """Broken: times after the clock stopped are made up."""
    assert not ticks_of(clock(even_ticks(100)[:50]), scheduler([POLL] * 100)).timed


def test_excluded_processes_are_not_among_the_threads():
    """Broken: the kit's own processes appear among the server's threads."""
    tracker = place("resource_tracker", "main", ["main@resource_tracker.py"] * 10, pid=9, tid=9)
    ticks = ticks_of(clock(even_ticks(10)), tracker, scheduler([POLL] * 10))
    assert [str(thread.role) for thread in ticks.threads] == ["scheduler / main"]


def test_complete_samples_stay_as_they_are():
    """Broken: a recording without losses is changed."""
    stacks = [POLL, RECEIVE, BATCH, DECODE, WAIT, POLL]
    ticks = ticks_of(clock(even_ticks(6)), scheduler(stacks), forward([IDLE] * 6))
    thread = ticks.thread("scheduler", "main")
    assert names(thread) == ["idle_poll", "receive", "batch", "decode_step", "wait_forward", "idle_poll"]
    assert thread.decode.tolist() == [False, False, False, True, False, False]
    assert not thread.lost.any()
    assert [ticks.table.stack(i)[-1].name for i in thread.stack_ids][:2] == [
        "recv_requests",
        "handle_generate_request",
    ]
    assert ticks.mismatch == 0


# ---- lost ticks


def test_a_lost_tick_is_put_back_at_its_time_with_the_running_component_of_the_failed_thread():
    """Broken: a lost tick is charged to the wait around it and not to the thread that was running."""
    main = [WAIT] * 4 + [BATCH] + [WAIT] * 4  # ticks 0-3, 4, 6-9
    fwd = [DEVICE] * 2 + [DISPATCH] + [DEVICE] * 6  # ticks 0-1, 2, 3-4 and 6-9
    ticks = ticks_of(
        clock(even_ticks(10)),
        scheduler(main),
        forward(fwd),
        lost=[(even_ticks(10)[5] + 0.01, SCHEDULER_PID, FORWARD_TID)],
    )
    assert ticks.ticks == 10
    assert ticks.mismatch == 0
    thread = ticks.thread("scheduler", "forward")
    assert (
        names(thread)
        == ["device_wait"] * 2 + ["dispatch"] + ["device_wait"] * 2 + ["dispatch"] + ["device_wait"] * 4
    )
    assert thread.lost.tolist() == [False] * 5 + [True] + [False] * 4
    assert thread.stack_ids[5] == -1
    assert (np.delete(thread.stack_ids, 5) >= 0).all()


def test_other_threads_of_the_process_keep_the_component_of_their_nearest_sample():
    """Broken: a lost tick changes the component of the process's other threads."""
    main = [BATCH] + [WAIT] * 8  # the nearest running sample is far away, and not what is meant
    ticks = ticks_of(
        clock(even_ticks(10)),
        scheduler(main),
        forward([DISPATCH] * 9),
        lost=[(even_ticks(10)[5], SCHEDULER_PID, FORWARD_TID)],
    )
    thread = ticks.thread("scheduler", "main")
    assert names(thread) == ["batch"] + ["wait_forward"] * 9
    assert np.flatnonzero(thread.lost).tolist() == [5]


def test_other_processes_are_not_touched_by_a_lost_tick():
    """Broken: a lost tick in one process changes another."""
    ticks = ticks_of(
        clock(even_ticks(10)),
        scheduler([POLL] * 9),
        detokenizer(10),
        lost=[(even_ticks(10)[5], SCHEDULER_PID, SCHEDULER_PID)],
    )
    assert not ticks.thread("detokenizer", "main").lost.any()


def test_an_unknown_thread_is_taken_for_the_main_thread():
    """Broken: an error of py-spy that names no thread (0) is ignored."""
    main = [BATCH] + [WAIT] * 8
    ticks = ticks_of(clock(even_ticks(10)), scheduler(main), lost=[(even_ticks(10)[5], SCHEDULER_PID, 0)])
    assert (
        names(ticks.thread("scheduler", "main"))
        == ["batch"] + ["wait_forward"] * 4 + ["batch"] + ["wait_forward"] * 4
    )


def test_two_ticks_lost_within_one_interval_get_a_tick_each():
    """Broken: the second of two ticks lost within one interval is dropped."""
    at = even_ticks(20)[7]
    ticks = ticks_of(
        clock(even_ticks(20)),
        scheduler([POLL] * 18),
        lost=[(at, SCHEDULER_PID, SCHEDULER_PID), (at + 0.001, SCHEDULER_PID, SCHEDULER_PID)],
    )
    thread = ticks.thread("scheduler", "main")
    assert np.flatnonzero(thread.lost).tolist() in ([6, 7], [7, 8])
    assert names(thread) == ["idle_poll"] * 20


def test_a_thread_that_never_ran_is_filled_with_what_it_did():
    """Broken: a thread that never ran gets a component that it never had."""
    ticks = ticks_of(
        clock(even_ticks(10)),
        forward([DEVICE] * 9),
        lost=[(even_ticks(10)[5], SCHEDULER_PID, FORWARD_TID)],
    )
    assert names(ticks.thread("scheduler", "forward")) == ["device_wait"] * 10


def test_a_lost_decode_step_keeps_its_mark():
    """Broken: a restored decode step is counted as a prefill."""
    stacks = [POLL] * 3 + [DECODE] * 4 + [POLL] * 2
    ticks = ticks_of(
        clock(even_ticks(10)), scheduler(stacks), lost=[(even_ticks(10)[5], SCHEDULER_PID, SCHEDULER_PID)]
    )
    thread = ticks.thread("scheduler", "main")
    assert thread.decode.tolist() == [False] * 3 + [True] * 5 + [False] * 2
    assert names(thread)[5] == "decode_step"


def test_samples_after_a_lost_tick_are_at_their_own_ticks():
    """Broken: every sample after a gap is one tick too early."""
    full = [POLL] * 10 + [RECEIVE] * 5 + [BATCH] * 5 + [WAIT] * 30
    kept = full[:3] + full[4:]
    ticks = ticks_of(
        clock(even_ticks(50)), scheduler(kept), lost=[(even_ticks(50)[3], SCHEDULER_PID, SCHEDULER_PID)]
    )
    assert names(ticks.thread("scheduler", "main")) == (
        ["idle_poll"] * 10 + ["receive"] * 5 + ["batch"] * 5 + ["wait_forward"] * 30
    )


# ---- torn stacks


def test_a_torn_stack_is_filled_as_running():
    """Broken: a torn stack gets the component of a frame that is not its thread's outermost one."""
    stacks = [BATCH] + [WAIT] * 5 + [TORN] + [WAIT] * 3
    thread = ticks_of(clock(even_ticks(10)), scheduler(stacks)).thread("scheduler", "main")
    assert names(thread) == ["batch"] + ["wait_forward"] * 5 + ["batch"] + ["wait_forward"] * 3
    assert np.flatnonzero(thread.lost).tolist() == [6]
    assert thread.stack_ids[6] == -1
    assert not thread.decode[6]


def test_a_sample_without_python_frames_is_torn():
    """Broken: a sample without Python frames is classified by what it lacks."""
    stacks = [POLL] * 4 + [""] + [POLL] * 5
    thread = ticks_of(clock(even_ticks(10)), scheduler(stacks)).thread("scheduler", "main")
    assert names(thread) == ["idle_poll"] * 10
    assert np.flatnonzero(thread.lost).tolist() == [4]


# ---- processes and threads of other lengths


def test_a_process_attached_a_tick_late_is_filled_at_the_beginning_and_aligned():
    """Broken: a process to which py-spy attached a tick late is shifted against the others."""
    ticks = ticks_of(clock(even_ticks(100)), scheduler([POLL] * 100), detokenizer(99))
    thread = ticks.thread("detokenizer", "main")
    assert names(thread) == ["idle_wait"] * 100
    assert np.flatnonzero(thread.lost).tolist() == [0]
    assert ticks.mismatch == 1
    assert ticks.aligned


def test_processes_that_differ_by_more_are_not_aligned():
    """Broken: processes with very different tick counts are put on one time axis."""
    ticks = ticks_of(clock(even_ticks(100)), scheduler([POLL] * 100), detokenizer(80))
    assert ticks.timed
    assert ticks.mismatch == 20
    assert not ticks.aligned


def test_a_thread_that_began_late_has_its_ticks_at_the_end():
    """Broken: the samples of a late thread are put at the beginning of the block."""
    late = forward([DISPATCH] * 10 + [DEVICE] * 20)
    ticks = ticks_of(clock(even_ticks(100)), scheduler([POLL] * 100), late)
    thread = ticks.thread("scheduler", "forward")
    assert names(thread) == ["dispatch"] * 10 + ["device_wait"] * 20
    assert not thread.lost.any()
    assert ticks.mismatch == 0
    assert ticks.aligned


def test_a_tick_lost_before_a_late_thread_began_is_not_put_into_it():
    """Broken: a late thread gets ticks from before it began."""
    late = forward([DISPATCH] * 30)
    lost = [(even_ticks(100)[at], SCHEDULER_PID, SCHEDULER_PID) for at in (20, 85)]
    ticks = ticks_of(clock(even_ticks(100)), scheduler([POLL] * 98), late, lost=lost)
    thread = ticks.thread("scheduler", "forward")
    assert len(thread.components) == 31
    assert np.flatnonzero(thread.lost).tolist() == [31 - 15]


def test_of_two_threads_of_a_role_the_longer_is_taken():
    """Broken: a forward thread that restarted during the block appears twice or is lost."""
    ticks = ticks_of(
        clock(even_ticks(100)),
        scheduler([POLL] * 100),
        forward([DISPATCH] * 20),
        place("scheduler", "forward", [DEVICE] * 100, pid=SCHEDULER_PID, tid=22),
    )
    assert ticks.thread("scheduler", "forward").tid == 22
    assert ticks.thread("scheduler", "no such thread") is None


def test_an_empty_recording_has_no_ticks():
    """Broken: an empty recording ends the analysis."""
    ticks = ticks_of()
    assert ticks.ticks == 0
    assert not ticks.timed
    assert ticks.threads == ()


def test_every_tick_of_every_thread_has_a_component_whatever_was_lost():
    """Broken: some tick of some thread has no component after losses."""
    rng = np.random.default_rng(11)
    for _ in range(30):
        n = int(rng.integers(60, 200))
        gone = np.sort(rng.choice(n, int(rng.integers(0, n // 20)), replace=False))
        stacks = rng.choice([POLL, BATCH, WAIT, DECODE, TORN, ""], n, p=[0.3, 0.2, 0.2, 0.2, 0.05, 0.05])
        fwd = rng.choice([DISPATCH, DEVICE, IDLE], n)
        keep = np.setdiff1d(np.arange(n), gone)
        tids = rng.choice([0, SCHEDULER_PID, FORWARD_TID], len(gone))
        lost = [
            (even_ticks(n)[at] + 0.0005, SCHEDULER_PID, int(tid)) for at, tid in zip(gone, tids, strict=True)
        ]
        ticks = ticks_of(
            clock(even_ticks(n)), scheduler(stacks[keep].tolist()), forward(fwd[keep].tolist()), lost=lost
        )
        assert ticks.aligned
        for thread in ticks.threads:
            assert len(thread.components) == n
            assert (thread.components >= 0).all()
            assert thread.lost[gone].all()
            expected = [{DISPATCH: "dispatch", DEVICE: "device_wait", IDLE: "idle_wait"}[s] for s in fwd]
            if thread.role.thread == "forward":
                assert [names(thread)[i] for i in keep] == [expected[i] for i in keep]


def test_counts_are_refused_as_a_time_series():
    """Broken: py-spy's raw format, which has counts and no order, is read as ticks in the order of time."""
    table = replace(stack_table(place("http", "main", ["a@a.py"] * 4)), ordered=False)
    of = block(0, START_S, 1.0)
    with pytest.raises(NotOrdered, match="counts of stacks .* not ticks in the order of time"):
        block_ticks(of, of.recording, table, classify(table, RULES))


def test_a_raw_recording_in_a_run_folder_is_a_failure_of_its_block(tmp_path):
    """Broken: the analysis of the whole run ends, or shares of time come from an order that nobody recorded."""
    (tmp_path / "recording-0.folded").write_text('process 1:"python";thread (1): MainThread;f (a.py:1) 3\n')
    start_s = START_S
    of = Block(0, start_s, start_s + 1, Recording("recording-0.folded", start_s, start_s + 1, 100))
    ticks = phase_ticks(replace(phase([of]), folder=tmp_path), RULES)
    assert ticks.blocks == ()
    (failure,) = ticks.failures
    assert failure.startswith("block 1: the recording holds counts of stacks")
