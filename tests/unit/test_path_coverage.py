"""The intervals of the request path hold the truth as often as they say: 95 %, over repeated seeds."""

import numpy as np
import pytest

from scoreprof_nb.analysis.request_path import PATH_NAMES, _estimate

RATE_HZ, SEEDS = 100, 200
# Components of a request in ms: mean, and how much it varies from request to request.
TRUTH = {"tokenize": (8.0, 2.0), "host_prep": (4.0, 1.0), "device_wait": (70.0, 12.0), "softmax": (2.0, 0.5)}


def simulated(seed, requests=60):
    """Counts of Poisson ticks, shape (requests, components), and the latencies in ms."""
    rng = np.random.default_rng(seed)
    times = np.zeros((requests, len(PATH_NAMES)))
    for name, (mean, spread) in TRUTH.items():
        times[:, PATH_NAMES.index(name)] = np.maximum(rng.normal(mean, spread, requests), 0.1)
    return rng.poisson(times * RATE_HZ / 1000).astype(float), times.sum(axis=1)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Broken: the report is surer than its data, or so unsure that it says nothing."""
    held = dict.fromkeys(TRUTH, 0)
    for seed in range(SEEDS):
        counts, latency_ms = simulated(seed)
        table = _estimate(counts, latency_ms, np.zeros_like(latency_ms), seed).set_index("component")
        for name, (mean, _) in TRUTH.items():
            if name in table.index:
                held[name] += table.loc[name, "low"] <= mean <= table.loc[name, "high"]
    for name, count in held.items():
        assert 0.88 <= count / SEEDS <= 0.99, f"{name}: {count / SEEDS:.3f}"


@pytest.mark.parametrize("requests", [1, 2, 3, 5, 10])
def test_intervals_of_few_requests_are_wide_enough(requests):
    """Broken: long requests in a short phase give two or three of them, and intervals of next to nothing."""
    held = 0
    for seed in range(SEEDS):
        counts, latency_ms = simulated(seed, requests)
        table = _estimate(counts, latency_ms, np.zeros_like(latency_ms), seed).set_index("component")
        if "device_wait" in table.index:
            found = table.loc["device_wait"]
            held += found["low"] <= TRUTH["device_wait"][0] <= found["high"]
    assert held / SEEDS >= (0.88 if requests > 1 else 0.4)  # what one request took is all that is known


def test_mean_over_seeds_is_the_truth():
    """Broken: the estimate is biased."""
    means = {name: [] for name in TRUTH}
    for seed in range(SEEDS):
        counts, latency_ms = simulated(seed)
        table = _estimate(counts, latency_ms, np.zeros_like(latency_ms), seed).set_index("component")[
            "mean_ms"
        ]
        for name in TRUTH:
            means[name].append(table.get(name, 0.0))
    for name, (mean, _) in TRUTH.items():
        off = abs(np.mean(means[name]) - mean)
        assert off <= 4 * np.std(means[name]) / np.sqrt(SEEDS), f"{name}: {np.mean(means[name]):.3f}"
