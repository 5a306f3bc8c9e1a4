"""The intervals hold the truth as often as they say: 95 %, over repeated seeds."""

from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.breakdown import thread_breakdown, utilisation
from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.clock import FIRST_LINE, SLOT_S, SLOTS
from scoreprof_nb.analysis.intervals import unseen_share
from scoreprof_nb.analysis.observer import observer_effect
from scoreprof_nb.analysis.path_counts import Slices
from scoreprof_nb.analysis.path_estimate import estimate
from scoreprof_nb.analysis.request_path import request_path
from scoreprof_nb.analysis.ticks import BlockTicks, ThreadTicks, block_ticks
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import Role, classify
from scoreprof_nb.run_folder.records import Block, Load
from tests.support.synthetic import RULES, START_S, block, measured, phase_of, place, recording, stack_table

RATE_HZ, SEEDS = 100, 200
NO_LOG = pd.DataFrame({"time_ns": pd.Series(dtype="int64"), "text": pd.Series(dtype="object")})
# Components of a request in ms: mean, and how much it varies from request to request.
TRUTH = {
    "tokenize": (8.0, 2.0),
    "host_prep": (4.0, 1.0),
    "device_wait": (70.0, 12.0),
    "softmax": (2.0, 0.5),
    "gc": (0.1, 0.0),  # a tick in a hundred requests: in half of the phases no sample shows it
}


def simulated(seed, requests=60):
    """Counts of Poisson ticks, shape (requests, components), and the latencies in ms."""
    rng = np.random.default_rng(seed)
    times = np.zeros((requests, len(CATALOG.names)))
    for name, (mean, spread) in TRUTH.items():
        times[:, CATALOG.index[name]] = np.maximum(rng.normal(mean, spread, requests), min(mean, 0.1))
    return rng.poisson(times * RATE_HZ / 1000).astype(float), times.sum(axis=1)


@cache
def estimated(seed, requests=60):
    counts, latency_ms = simulated(seed, requests)
    nothing = np.zeros_like(latency_ms)
    slices = Slices(
        counts,
        np.zeros_like(counts),
        nothing,
        latency_ms,
        nothing,
        nothing + 1,
        np.zeros(len(counts), dtype=np.int64),
    )
    own, queued = estimate(slices, latency_ms.max(), CATALOG)
    assert queued.empty
    table = own.set_index("component")
    unseen_ms = unseen_share(int(counts.sum())) * latency_ms.mean()
    for name in set(TRUTH) - set(table.index):
        table.loc[name, ["mean_ms", "low", "high"]] = 0.0, 0.0, unseen_ms
    return table


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Broken: the report is surer than its data, or so unsure that it says nothing."""
    held = dict.fromkeys(TRUTH, 0)
    for seed in range(SEEDS):
        table = estimated(seed)
        for name, (mean, _) in TRUTH.items():
            held[name] += table.loc[name, "low"] <= mean <= table.loc[name, "high"]
    for name, count in held.items():
        assert 0.88 <= count / SEEDS <= 0.99, f"{name}: {count / SEEDS:.3f}"


@pytest.mark.parametrize("requests", [1, 2, 3, 5, 10])
def test_intervals_of_few_requests_are_wide_enough(requests):
    """Broken: long requests in a short phase give two or three of them, and intervals of next to nothing."""
    held = 0
    for seed in range(SEEDS):
        table = estimated(seed, requests)
        wait = table.loc["device_wait"]
        held += wait["low"] <= TRUTH["device_wait"][0] <= wait["high"]
    assert held / SEEDS >= (0.88 if requests > 1 else 0.4)  # what one request took is all that is known


def test_mean_over_seeds_is_the_truth():
    """Broken: the estimate is biased."""
    means = {name: [] for name in TRUTH}
    for seed in range(SEEDS):
        estimate = estimated(seed)["mean_ms"]
        for name in TRUTH:
            means[name].append(estimate[name])
    for name, (mean, _) in TRUTH.items():
        off = abs(np.mean(means[name]) - mean)
        assert off <= 4 * np.std(means[name]) / np.sqrt(SEEDS), f"{name}: {np.mean(means[name]):.3f}"


# ---- the public tables, from ticks of requests whose stages are known

# Of a request, one after the other: who works on what for how many ms on average.
STAGES = (
    (("http", "main"), "tokenize", 12.0),
    (("scheduler", "main"), "batch", 6.0),
    (("scheduler", "main"), "host_prep", 9.0),
    (("scheduler", "forward"), "dispatch", 5.0),
    (("scheduler", "forward"), "device_wait", 30.0),
    (("scheduler", "main"), "output", 4.0),
    (("detokenizer", "main"), "detokenize", 8.0),
    (("http", "main"), "response", 6.0),
)
PAUSE_MS = 4.0  # between two requests, on average
CYCLE_MS = sum(mean for _, _, mean in STAGES) + PAUSE_MS
WAITS = {
    ("http", "main"): "await_request",
    ("scheduler", "main"): "idle_poll",
    ("scheduler", "forward"): "idle_wait",
    ("detokenizer", "main"): "idle_wait",
}
BLOCK_S, BLOCKS, REPEATS = 1.5, 8, 100


def simulated_requests(rng, block_s=BLOCK_S):
    """Times of ticks in ms, what each thread does at each, and the requests' stages and ends in ms.

    The ticks are those of a Poisson timer. Stages vary from request to request, together (a longer
    request) and each by itself. Before each request is a pause.
    """
    n = round(block_s * 1e3 / CYCLE_MS)
    means = np.array([PAUSE_MS, *(mean for _, _, mean in STAGES)])
    lengths = rng.gamma(16, 1 / 16, (n, 1)) * rng.gamma(9, 1 / 9, (n, len(means))) * means
    ends = np.cumsum(lengths.ravel())
    at = np.sort(rng.uniform(0, ends[-1], rng.poisson(ends[-1] * RATE_HZ / 1e3)))
    stage = np.searchsorted(ends, at) % len(means) - 1  # -1: the pause
    activities = {}
    for role, wait in WAITS.items():
        activities[role] = np.full(len(at), wait, dtype=object)
        for i, (who, name, _) in enumerate(STAGES):
            if who == role:
                activities[role][stage == i] = name
            elif who == ("scheduler", "forward") and role == ("scheduler", "main"):
                activities[role][stage == i] = "wait_forward"
    return at, activities, lengths[:, 1:], ends.reshape(n, -1)[:, -1]


def rows_of(lengths, ends, number=0):
    return [
        {"at_ms": 30_000 * number + end - length, "latency_ms": length, "block": number}
        for end, length in zip(ends, lengths.sum(axis=1), strict=True)
    ]


def ticks_of(number, at, activities, wall_ms):
    of = block(number, START_S + 30 * number, wall_ms / 1e3)
    threads = []
    for role, names in activities.items():
        components = np.array([CATALOG.index[name] for name in names], dtype=np.int16)
        nothing = np.zeros(len(at), dtype=np.bool_)
        threads.append(
            ThreadTicks(Role(*role), 10, 10, components, components.astype(np.int32), nothing, nothing)
        )
    return BlockTicks(of, of.recording, stack_table(), of.start_s + at / 1e3, True, 0, tuple(threads))


def path_of(ticks, rows):
    load = Load("closed", concurrency=1)
    return request_path(ticks, measured(*rows), load, NO_LOG, capacity(ticks, len(rows)))


@cache
def tables(seed):
    """Request path, threads and utilisation of one simulated phase."""
    rng = np.random.default_rng(seed)
    blocks, rows = [], []
    for number in range(BLOCKS):
        at, activities, lengths, ends = simulated_requests(rng)
        blocks.append(ticks_of(number, at, activities, ends[-1]))
        rows += rows_of(lengths, ends, number)
    ticks = phase_of(*blocks)
    path = path_of(ticks, rows)
    assert path.method == "joint"
    no_cpu = pd.DataFrame(columns=["process", "thread", "cpu_s"])
    return path.as_mapping(), thread_breakdown(ticks, no_cpu), utilisation(ticks)


def test_request_path_holds_the_truth_as_often_as_it_says():
    """Broken: from ticks to the path something is lost, or its intervals are not what they say."""
    held = Counter()
    for seed in range(REPEATS):
        path = tables(seed)[0]
        for _, name, mean in STAGES:
            _, low, high = path.get(name, (0.0, 0.0, 0.0))
            held[name] += low <= mean <= high
    _as_often_as_said(held)


def test_shares_of_threads_hold_the_truth_as_often_as_they_say():
    """Broken: ticks of one slice are taken for independent, or slices for more than they are."""
    truth = {(*role, name): mean / CYCLE_MS for role, name, mean in STAGES}
    held = Counter()
    for seed in range(REPEATS):
        for row in tables(seed)[1].itertuples():
            key = (row.process, row.thread, row.component)
            if key in truth:
                held[key] += row.low <= truth[key] <= row.high
    assert set(held) == set(truth)
    _as_often_as_said(held)


def test_utilisation_holds_the_truth_as_often_as_it_says():
    """Broken: above concurrency 1, where it is all that is shown, it is surer than its data."""
    truth = Counter()
    for role, _, mean in STAGES:
        truth[role] += mean / CYCLE_MS
    held = Counter()
    for seed in range(REPEATS):
        for row in tables(seed)[2].itertuples():
            held[row.process, row.thread] += row.low <= truth[row.process, row.thread] <= row.high
    assert set(held) == set(truth)
    _as_often_as_said(held)


def test_observer_effect_holds_the_truth_as_often_as_it_says():
    """Broken: py-spy's cost is said to be none, or some, by chance. Two kinds of requests, as in mixed."""
    slowdown, held = 1.06, Counter()
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        rows = [
            {
                "at_ms": 1000.0 * number,
                "latency_ms": typical * rng.gamma(30, 1 / 30) * (slowdown if profiled else 1),
                "kind": kind,
                "profiled": profiled,
            }
            for kind, typical, count in (("small", 60.0, 40), ("large", 400.0, 15))
            for profiled in (True, False)
            for number in range(count)
        ]
        effect = observer_effect(measured(*rows))
        held["observer"] += effect.low <= slowdown <= effect.high
    _as_often_as_said(held)


def _as_often_as_said(held):
    """Each about, and all together, 95 %: of 100 a share has a standard error of 2 %. More than 95 % is
    expected: the intervals allow for blocks that differ, and these do not."""
    shares = {what: count / REPEATS for what, count in held.items()}
    assert min(shares.values()) >= 0.91, shares
    assert 0.95 <= np.mean(list(shares.values())) <= 0.995, shares


# ---- ticks that py-spy loses: those at which the process runs Python, as its nonblocking reads do

LOST_SHARE, LOSSY_REPEATS, LOSSY_BLOCK_S = 0.08, 24, 6.0
PIDS = {"http": 10, "scheduler": 20, "detokenizer": 30, "clock": 40}
STACKS = {
    "tokenize": "v1_score_request@s.py > _tokenize_one_request@s.py",
    "response": "v1_score_request@s.py > serialize_response@s.py",
    "await_request": "v1_score_request@s.py > _wait_one_response@s.py",
    "batch": "event_loop_overlap@s.py > prepare_for_extend@s.py",
    "host_prep": "event_loop_overlap@s.py > get_model_worker_batch@s.py",
    "output": "event_loop_overlap@s.py > process_batch_result_prefill@s.py",
    "wait_forward": "event_loop_overlap@s.py > resolve_last_batch_result@s.py > get@/usr/lib/python3.12/queue.py",
    "idle_poll": "event_loop_overlap@s.py > recv_requests@s.py",
    "dispatch": "forward_thread_func@s.py > run_model_wrapper@s.py",
    "device_wait": "forward_thread_func@s.py > block_until_ready@s.py",
    "idle_wait": "forward_thread_func@s.py > get@/usr/lib/python3.12/queue.py",
    "detokenize": "run_detokenizer_process@s.py > batch_decode@s.py",
}
DETOKENIZER_WAITS = "run_detokenizer_process@s.py > recv_pyobj@s.py"


def recorded(rng, at, activities):
    """The recording's stacks, with the process lost at some of the ticks at which it runs Python, and
    py-spy's lines of these: (epoch seconds, pid, tid)."""
    at_s = START_S + at / 1e3
    lines = FIRST_LINE + (at_s / SLOT_S).astype(np.int64) % SLOTS
    clock = [f"clock@scoreprof-clock:{line}" for line in lines]
    threads, lost = [place("clock", "main", clock, pid=PIDS["clock"], tid=PIDS["clock"])], []
    kept = {process: np.ones(len(at), dtype=np.bool_) for process in PIDS}
    for tid, ((process, _), names) in enumerate(activities.items(), start=100):
        runs = ~np.isin(names, ["device_wait", "wait_forward", *WAITS.values()])
        gone = runs & (rng.random(len(at)) < LOST_SHARE)
        kept[process] &= ~gone
        lost += [(float(time), PIDS[process], tid) for time in at_s[gone]]
    for tid, ((process, thread), names) in enumerate(activities.items(), start=100):
        stacks = [
            DETOKENIZER_WAITS if process == "detokenizer" and name == "idle_wait" else STACKS[name]
            for name in names[kept[process]]
        ]
        threads.append(place(process, thread, stacks, pid=PIDS[process], tid=tid))
    return stack_table(*threads), sorted(lost)


def test_lost_ticks_are_put_back_where_they_belong():
    """Broken: what runs Python looks cheaper than it is, because py-spy misses it most often.

    A fifth of what was lost stays lost: the clock shows the time to 4 ms, so a lost tick may be put one
    place beside its own.
    """
    spun = [i for i, (_, name, _) in enumerate(STAGES) if name != "device_wait"]
    truth_ms, found_ms = [], {"put back": [], "dropped": []}
    for seed in range(LOSSY_REPEATS):
        rng = np.random.default_rng(seed)
        at, activities, lengths, ends = simulated_requests(rng, LOSSY_BLOCK_S)
        table, lost = recorded(rng, at, activities)
        classified = classify(table, RULES)
        truth_ms.append(lengths[:, spun].sum(axis=1).mean())
        for how, lines in (("put back", lost), ("dropped", ())):
            of = Block(
                0, START_S, START_S + ends[-1] / 1e3, recording(START_S, START_S + ends[-1] / 1e3, lines)
            )
            ticks = phase_of(block_ticks(of, of.recording, table, classified))
            path = path_of(ticks, rows_of(lengths, ends)).as_mapping()
            found_ms[how].append(sum(path[STAGES[i][1]][0] for i in spun))
    off = {how: abs(np.mean(found_ms[how]) / np.mean(truth_ms) - 1) for how in found_ms}
    assert off["put back"] <= 0.04, off
    assert off["put back"] <= 0.5 * min(off["dropped"], LOST_SHARE), off
