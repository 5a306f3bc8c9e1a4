"""The open loop's numbers: against queues whose waiting times are known, and refused where they mislead."""

import math

import numpy as np
import pytest

from scoreprof_nb.analysis.latency import latency_rows
from scoreprof_nb.analysis.load import load_checks
from scoreprof_nb.analysis.open_loop import (
    goodput_per_s,
    highest_rate,
    knee,
    open_loop_step,
    with_queueing,
)
from scoreprof_nb.analysis.prefix_cache import PrefixCache
from scoreprof_nb.analysis.queue_estimates import CYCLES
from scoreprof_nb.run_folder.records import Load
from tests.support.queues import md1_mean_ms, simulated

SERVICE_S = 0.01


def step(rho, wall_s=20.0, seed=1, **more):
    requests, blocks, load = simulated(rho / SERVICE_S, SERVICE_S, wall_s, seed, **more)
    return open_loop_step(requests, blocks, load)


# ---- known truth


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8])
def test_mean_latency_is_that_of_an_md1_queue(rho):
    """Broken: waiting in the queue is missed, or counted twice."""
    steps = [step(rho, seed=seed) for seed in range(8)]
    means = [one.latency_ms["mean"].value for one in steps]
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    assert abs(np.mean(means) - md1_mean_ms(rho, SERVICE_S)) < 4 * error
    assert all("regenerative" in one.units for one in steps)
    hits = sum(
        one.latency_ms["mean"].low <= md1_mean_ms(rho, SERVICE_S) <= one.latency_ms["mean"].high
        for one in steps
    )
    assert hits >= 5  # at 85 % coverage, fewer have a probability below 2 %
    for one in steps:
        assert one.latency_ms["p50"].value <= one.latency_ms["p90"].value <= one.latency_ms["p99"].value
        assert one.refused == ()
        assert one.in_flight == pytest.approx(
            one.achieved_per_s * one.latency_ms["mean"].value / 1e3, rel=0.05
        )


def test_interval_covers_the_queues_memory():
    """Broken: intervals over requests, which wait in the same queue, are several times too narrow."""
    one = step(0.8)
    estimate = one.latency_ms["mean"]
    requests, _, _ = simulated(0.8 / SERVICE_S, SERVICE_S, 20.0, 1)
    values = requests.plain()["latency_ms"].to_numpy()
    of_requests = 2 * 1.96 * values.std() / math.sqrt(len(values))
    assert estimate.high - estimate.low > 2 * of_requests


def test_without_enough_idle_moments_the_units_are_batches():
    """Broken: a handful of cycles gives an interval that nobody should believe."""
    one = step(0.5, wall_s=0.4)
    assert 5 < one.requests < CYCLES
    assert "batches" in one.units


def test_littles_law_holds_and_fails_when_requests_are_missing():
    """Broken: the check cannot fail, or fails on good data."""
    requests, blocks, load = simulated(50, SERVICE_S, 20.0, 1)
    good = open_loop_step(requests, blocks, load)
    assert good.little == pytest.approx(1, abs=0.01)
    table = requests.table
    lost = table.assign(plain=table["plain"] & (table.index % 10 != 0))
    bad = open_loop_step(type(requests)(lost), blocks, load)
    assert bad.little == pytest.approx(0.9, abs=0.03)
    laws = {
        check.name: check.passed for check in load_checks("small", "warm", PrefixCache(None, None, None), bad)
    }
    assert laws["in flight = arrival rate x latency"] is False


# ---- numbers that would mislead are refused, by name


def test_generator_that_sends_late_is_named():
    """Broken: the generator's own delay is reported as the server's latency."""
    one = step(0.5, late_s=0.005)
    assert one.late_p99_ms == pytest.approx(5, rel=1e-3)
    assert one.latency_ms == {}
    assert "the load generator is the bottleneck" in one.refused[0]
    assert not one.overloaded


def test_latency_counts_from_the_planned_time():
    """Broken: a request that is sent late seems to be quick (coordinated omission)."""
    requests, _, _ = simulated(20, SERVICE_S, 20.0, 1, late_s=0.005)
    assert requests.table["latency_ms"].min() == pytest.approx(15)


def test_overloaded_server_is_named():
    """Broken: the percentiles of an ever-growing queue are reported, which depend on the length of the step."""
    one = step(1.2)
    assert one.overloaded
    assert one.latency_ms == {}
    assert "overloaded" in one.refused[0]
    assert one.achieved_per_s == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("rho", [0.2, 0.6, 0.9])
def test_busy_server_is_not_called_overloaded(rho):
    """Broken: a stable queue's ups and downs pass for overload."""
    assert sum(step(rho, seed=seed).overloaded for seed in range(6)) <= 1


def test_timeouts_are_longer_than_the_limit_not_absent():
    """Broken: requests that time out vanish, and the percentiles look better the worse the server is."""
    one = step(0.8, timeout_s=0.04)
    assert one.timeouts > 50
    values = {name: one.latency_ms[name].value for name in ("mean", "p50", "p99")}
    assert values["p50"] < 40
    assert values["p99"] == values["mean"] == math.inf
    row = next(
        row
        for row in with_queueing(latency_rows("x", _of(0.8, timeout_s=0.04)), one)
        if row["which"] == "all"
    )
    assert math.isnan(row["p99_ms"])
    assert row["p50_ms"] == values["p50"]


def _of(rho, **more):
    return simulated(rho / SERVICE_S, SERVICE_S, 20.0, 1, **more)[0]


def test_short_steps_say_so():
    """Broken: a step of a few relaxation times passes for a steady state."""
    assert not step(0.5, wall_s=10.0).too_short
    short = step(0.9, wall_s=10.0)
    assert short.relaxations == pytest.approx(10 / SERVICE_S * (1 - math.sqrt(0.9)) ** 2, rel=0.01)
    assert short.too_short


def test_intervals_that_cover_too_little_say_so():
    """Broken: an interval near the capacity, where queues are rare and long, is believed."""
    assert not step(0.5, wall_s=10.0).narrow
    assert step(0.9, wall_s=10.0).narrow


def test_closed_loop_has_no_step():
    """Broken: a closed loop's service time is reported as latency under a rate."""
    requests, blocks, _ = simulated(50, SERVICE_S, 5.0, 1)
    assert open_loop_step(requests, blocks, Load("closed", concurrency=1)) is None


# ---- what a capacity planner asks


def test_knee_is_where_throughput_per_latency_is_largest():
    """Broken: the knee is at the first or the last rate, whatever the curve."""
    rates = [20, 40, 60, 80, 90]
    means = [md1_mean_ms(rate / 100, SERVICE_S) for rate in rates]
    power = [rate / mean for rate, mean in zip(rates, means, strict=True)]
    assert knee(rates, means) == rates[power.index(max(power))] == 60
    assert knee(rates, [math.nan] * 5) is None
    assert knee([*rates, 110], [*means, math.nan]) == 60


def test_highest_rate_meets_the_limit_with_all_lower_ones():
    """Broken: a lucky high rate is recommended beyond one that fails."""
    assert highest_rate([2, 5, 10], [10, 20, 90], 50) == 5
    assert highest_rate([10, 2, 5], [30, 10, 90], 50) == 2
    assert highest_rate([2, 5], [math.nan, 10], 50) == 5, "too few requests at a low rate are no violation"
    assert highest_rate([2, 5], [90, math.nan], 50) is None
    assert highest_rate([2, 5], [math.nan, math.nan], 50) is None
    assert highest_rate([2], [math.inf], 50) is None


def test_goodput_counts_what_meets_the_limit():
    """Broken: late answers, or the time of other blocks, count."""
    requests, blocks, _ = simulated(50, SERVICE_S, 20.0, 1)
    share = (requests.plain()["latency_ms"] <= 12).mean()
    assert goodput_per_s(requests, blocks, 12) == pytest.approx(share * len(requests.plain()) / 20, rel=1e-6)
    assert goodput_per_s(requests, blocks, 1) == 0
