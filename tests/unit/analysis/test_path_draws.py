"""Sums of components have intervals of their own, from the draws that they share."""

import numpy as np
import pytest

from scoreprof_nb.analysis.path_draws import path_draws

NAMES = ("tokenize", "http", "device_wait", "rest", "client")
SEEDS, REQUESTS = 200, 40


def draws(counts, latency_ms=None, seed=0):
    counts = np.array(counts, dtype=float)
    latency_ms = np.full(len(counts), 100.0) if latency_ms is None else latency_ms
    return path_draws(counts, latency_ms, np.zeros(len(counts)), NAMES, 3, 4, seed)


# Of each request's ten ticks, five are spent in tokenize or http: in which of them differs.
TRADING = [[5, 0, 4, 1, 0], [0, 5, 4, 1, 0]] * 10
HOST = {"tokenize": "host", "http": "host"}


def test_sums_add_up_to_the_mean_latency():
    """Broken: the first table of the report and the table below it disagree."""
    whole = draws(TRADING).sums({**HOST, "device_wait": "device", "rest": "rest", "client": "client"})
    assert whole["mean_ms"].sum() == pytest.approx(100.0)
    assert whole["share"].sum() == pytest.approx(1.0)
    assert list(whole["group"]) == ["host", "device", "rest", "client"]
    assert whole.set_index("group").loc["host", "mean_ms"] == pytest.approx(50.0)


def test_interval_of_a_sum_is_not_the_sum_of_the_intervals():
    """Broken: two components that trade places make a group look uncertain that is certain."""
    path = draws(TRADING)
    low, high = path.intervals()
    host = path.sums(HOST).iloc[0]
    assert high[0] - low[0] > 5
    assert host["high"] - host["low"] == pytest.approx(0, abs=1e-9)


def test_share_of_a_constant_part_is_certain_though_the_latency_is_not():
    """Broken: a percentage gets the interval of milliseconds, which also holds the latency's spread."""
    latency_ms = np.tile([50.0, 150.0], 10)
    host = draws([[5, 0, 5, 0, 0]] * 20, latency_ms).sums(HOST).iloc[0]
    assert host["high"] - host["low"] > 10
    assert (host["share_low"], host["share_high"]) == pytest.approx((0.5, 0.5))


def test_group_without_a_component_is_no_row():
    path = draws(TRADING)
    assert list(path.sums({"tokenize": "a", "gc": "b"})["group"]) == ["a"]


def test_intervals_of_sums_hold_the_truth_as_often_as_they_say():
    """Broken: the first table is surer than its data. Tokenize and http depend on one another here."""
    held = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        size = rng.normal(10.0, 2.0, REQUESTS).clip(1)
        times = np.stack([size, 0.5 * size, rng.normal(40.0, 5.0, REQUESTS), *np.zeros((2, REQUESTS))], 1)
        row = draws(rng.poisson(times), times.sum(axis=1), seed).sums(HOST).iloc[0]
        held += row["low"] <= 15.0 <= row["high"]
    assert 0.88 <= held / SEEDS <= 0.99, held / SEEDS
