"""The times of ticks from the counts of py-spy's reads: exact, or refused with a reason."""

import re

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.tick_reads import map_reads, read_times

STEP_S, THREADS, MEMORY_MAP = 0.002, 20, 38
START_S = 1_790_000_000.0
MAP = (START_S + 0.01, MEMORY_MAP)  # when it is read
STACK = (START_S + 0.05, THREADS)  # when one stack is tried, before the first tick
SPREAD_S = 0.0005  # how long the reads of a tick take


def ticks_of(n, seed=0, rate_hz=100.0):
    return START_S + 0.06 + np.cumsum(np.random.default_rng(seed).exponential(1 / rate_hz, n))


def polled(at_s, sizes, until_s, late=()):
    """What a reader records that reads every STEP_S. The reads of each tick are spread over SPREAD_S.
    ``late``: (from, to) at which it was not run."""
    single = np.concatenate([t + np.linspace(0, SPREAD_S, size) for t, size in zip(at_s, sizes, strict=True)])
    polls = np.arange(START_S, until_s, STEP_S)
    for first, last in late:
        polls = polls[(polls < first) | (polls > last)]
    counts = np.searchsorted(np.sort(single), polls)
    before = np.concatenate([[START_S], polls[:-1]])  # at first, its thread had not begun
    changed = np.diff(counts, prepend=-1) > 0
    columns = {"before_ns": before * 1e9, "at_ns": polls * 1e9, "reads": counts}
    return pd.DataFrame({name: np.round(values[changed]) for name, values in columns.items()}).astype("int64")


def reads_of(ticks, sizes=None, start=(MAP, STACK), **others):
    """The counts of a py-spy whose last ticks, after it was told to stop, are in no recording."""
    sizes = [THREADS] * len(ticks) if sizes is None else sizes
    at_s = [*(at for at, _ in start), *ticks]
    return polled(at_s, [*(size for _, size in start), *sizes], ticks[-1] + 0.1, **others)


def test_each_tick_is_known_to_the_time_between_two_readings():
    """Broken: samples of an attached server are put into the moments before or after."""
    ticks = ticks_of(400)
    times = read_times(reads_of(ticks), MEMORY_MAP, 398, (ticks[397] + ticks[398]) / 2)
    assert isinstance(times, np.ndarray), times
    assert len(times) == 398
    assert np.abs(times - ticks[:398]).max() <= STEP_S + SPREAD_S
    assert np.median(np.abs(times - ticks[:398])) <= STEP_S / 2 + SPREAD_S


def test_thread_that_begins_meanwhile_changes_no_tick():
    """Broken: a pool of threads that grows makes all times unknown, or shifts them."""
    ticks = ticks_of(400, seed=1)
    sizes = [THREADS] * 200 + [THREADS + 2] * 200
    times = read_times(reads_of(ticks, sizes), MEMORY_MAP, 399, ticks[399])
    assert isinstance(times, np.ndarray), times
    assert np.abs(times - ticks[:399]).max() <= STEP_S + SPREAD_S


def test_reader_that_was_not_run_for_a_while_keeps_the_count():
    """Broken: on a busy machine all later ticks are shifted."""
    ticks = ticks_of(400, seed=3)
    times = read_times(reads_of(ticks, late=[(ticks[100], ticks[105])]), MEMORY_MAP, 399, ticks[399])
    assert isinstance(times, np.ndarray), times
    apart = np.abs(times - ticks[:399])
    assert np.delete(apart, np.arange(95, 112)).max() <= STEP_S + SPREAD_S
    assert apart.max() <= ticks[105] - ticks[100] + 2 * STEP_S


def test_two_ticks_seen_at_once_are_no_second_attempt():
    """Broken: where the memory map takes about as many reads as two ticks, half of all recordings are refused."""
    memory_map = 2 * THREADS - 1
    ticks = ticks_of(400, seed=4)
    reads = reads_of(ticks, start=((START_S + 0.01, memory_map), STACK), late=[(ticks[0] - 0.001, ticks[1])])
    times = read_times(reads, memory_map, 398, ticks[398])
    assert isinstance(times, np.ndarray), times
    assert np.abs(times - ticks[:398])[2:].max() <= STEP_S + SPREAD_S


def test_first_stack_and_first_tick_right_after_it_are_no_second_attempt():
    """Broken: where the memory map takes as many reads as two ticks, half of all recordings are refused."""
    memory_map = 2 * THREADS
    ticks = np.concatenate([[STACK[0] + 0.0021], ticks_of(400, seed=5)])
    reads = reads_of(ticks, start=((START_S + 0.01, memory_map), STACK))
    times = read_times(reads, memory_map, 399, ticks[399])
    assert isinstance(times, np.ndarray), times
    assert np.abs(times - ticks[:399]).max() <= STEP_S + SPREAD_S


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ticks": 380}, "read 400 times, and the recording has 380 ticks"),
        (
            {"ticks": 400},
            "read 400 times, and the recording has 400 ticks",
        ),  # one is always seen after the last
        ({"ticks": 420}, "read 400 times, and the recording has 420 ticks"),
        ({"stopped_s": START_S + 1}, "not seen to read when it was stopped"),
        ({"sizes": [THREADS] * 200 + [THREADS + 10] * 100 + [THREADS] * 100}, "threads began or ended"),
        ({"late": [(START_S - 1, START_S + 0.055)]}, "too seldom when it began"),
        ({"late": [(START_S + 0.005, START_S + 0.055)]}, "too seldom when it began"),
        # The first stack could not be read: py-spy reads the memory map again.
        ({"start": (MAP, (START_S + 0.03, THREADS), (START_S + 0.035, MEMORY_MAP), STACK)}, "two attempts"),
    ],
)
def test_counts_that_contradict_the_recording_are_refused(change, reason):
    """Broken: ticks are shifted against each other, and the path is wrong without a word."""
    ticks = ticks_of(400)
    recorded, stopped_s = change.get("ticks", 398), change.get("stopped_s", ticks[398])
    given = {name: value for name, value in change.items() if name in ("sizes", "start", "late")}
    times = read_times(reads_of(ticks, **given), MEMORY_MAP, recorded, stopped_s)
    assert isinstance(times, str)
    assert re.search(reason, times), times


def test_without_counts_there_are_no_times():
    """Broken: a kernel that does not count reads gives times from nothing."""
    ticks = ticks_of(5)
    empty = reads_of(ticks).head(0)
    assert read_times(empty, None, 5, ticks[-1]) == "py-spy's reads were not counted"


def test_recordings_of_a_server_agree_on_its_memory_map():
    """Broken: a recording that was read too seldom at its beginning is shifted by a tick, or a good one that
    the reader came late to is refused."""
    ticks = ticks_of(50)
    late = reads_of(ticks, late=[(START_S - 1, START_S + 0.025)])  # after the map, before the first stack
    too_late = reads_of(ticks, late=[(START_S - 1, START_S + 0.055)])
    assert map_reads([late, too_late, reads_of(ticks)]) == MEMORY_MAP
    assert map_reads([late, too_late]) is None
    assert isinstance(read_times(late, MEMORY_MAP, 49, ticks[48]), np.ndarray)
    assert isinstance(read_times(too_late, MEMORY_MAP, 49, ticks[48]), str)
