"""A simulated phase with known truth: correlated requests, blocks that differ, kinds in turn, ticks of py-spy.

Each request's components are multiplied by a common factor, an AR(1) process over all requests of the phase
(mean 1), and by a factor of its measured block (mean 1). Profiled requests are slower by SLOWDOWN.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from scoreprof_nb.analysis.latency import latency
from scoreprof_nb.analysis.observer import observer_effect
from scoreprof_nb.analysis.path_counts import Slices
from scoreprof_nb.analysis.path_estimate import estimate
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.capture.blocks import block_order
from scoreprof_nb.components.catalog import CATALOG

RATE_HZ = 100
REQUESTS_PER_SLICE = 9
SLOWDOWN = 1.04
# ms of a request of size 1; the last one is 0.1 ms, one tick in a hundred requests.
COMPONENTS = {"tokenize": 4.0, "host_prep": 2.0, "device_wait": 20.0, "detokenize": 0.5, "softmax": 0.1}
SIZES = {1: (1.0,), 3: (0.6, 1.0, 3.0)}  # by the number of kinds, sent in turn
SPREAD = 0.12  # of the logarithm of a request's factor


@dataclass(frozen=True)
class Case:
    """``rho``: lag-1 correlation; ``block_sd``: of the blocks' factors; ``kinds``: 1 or 3 (mixed);
    ``phase_s``: which sets the number of blocks as in a capture; ``rate_hz``: of the ticks; ``times``: of the
    components' ms."""

    rho: float
    block_sd: float
    kinds: int = 1
    phase_s: float = 24.0
    rate_hz: int = RATE_HZ
    times: float = 1.0

    @property
    def components_ms(self) -> dict[str, float]:
        return {name: self.times * ms for name, ms in COMPONENTS.items()}

    def __str__(self) -> str:
        kinds = "one kind" if self.kinds == 1 else f"{self.kinds} kinds in turn"
        blocks = len(block_order(self.phase_s, 0))
        requests = f"{kinds}, {sum(self.components_ms.values()):.0f} ms"
        return f"rho {self.rho}, block SD {self.block_sd:.0%}, {requests}, {blocks} blocks, {self.rate_hz} Hz"


CASES = [
    Case(rho, block_sd, kinds) for kinds in (1, 3) for rho in (0, 0.3, 0.6) for block_sd in (0, 0.01, 0.02)
]


def factors(case: Case, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each request's factor and block."""
    blocks = len(block_order(case.phase_s, 0))
    block = np.arange(n) * blocks // n
    new = rng.standard_normal(n) * np.append(1.0, np.full(n - 1, np.sqrt(1 - case.rho**2)))
    noise = lfilter([1.0], [1.0, -case.rho], new)
    of_block = 1 + case.block_sd * rng.standard_normal(blocks)
    return np.exp(SPREAD * noise - SPREAD**2 / 2) * of_block[block], block


def simulated(case: Case, seed: int) -> tuple[MeasuredRequests, np.ndarray]:
    """The requests, and the ticks of the profiled ones by component, shape (requests, components)."""
    rng = np.random.default_rng(seed)
    sizes = np.array(SIZES[case.kinds])
    typical_ms = np.array(list(case.components_ms.values()))
    n = round(case.phase_s * 1e3 / (typical_ms.sum() * sizes.mean()))
    factor, block = factors(case, rng, n)
    kind = np.arange(n) % case.kinds
    profiled = np.array(block_order(case.phase_s, 0))[block]
    factor = factor * sizes[kind] * np.where(profiled, SLOWDOWN, 1)
    components_ms = factor[:, None] * typical_ms
    latency_ms = components_ms.sum(axis=1)
    sent_ns = np.concatenate([[0], np.cumsum(latency_ms)[:-1]]) * 1e6
    table = pd.DataFrame(
        {
            "kind": np.array(["a", "b", "c"])[kind],
            "items": kind + 1,
            "block": block,
            "profiled": profiled,
            "plain": ~profiled,
            "ok": True,
            "sent_ns": sent_ns.astype(np.int64),
            "latency_ms": latency_ms,
            "compile_hit": pd.Series(False, index=range(n), dtype="boolean"),
            "split": pd.Series(False, index=range(n), dtype="boolean"),
        }
    )
    counts = np.zeros((int(profiled.sum()), len(CATALOG.names)))
    columns = [CATALOG.index[name] for name in COMPONENTS]
    counts[:, columns] = rng.poisson(components_ms[profiled] * case.rate_hz / 1e3)
    return MeasuredRequests(table), counts


@cache
def true_percentile(case: Case, quantile: float) -> float:
    """Of plain requests, from many blocks of independent requests, which have the same distribution."""
    rng = np.random.default_rng(0)
    n = 400_000
    factor = np.exp(SPREAD * rng.standard_normal(n) - SPREAD**2 / 2)
    factor *= 1 + case.block_sd * rng.standard_normal(n)
    sizes = np.array(SIZES[case.kinds])[np.arange(n) % case.kinds]
    return float(np.quantile(factor * sizes * sum(case.components_ms.values()), quantile))


def _slices(profiled: pd.DataFrame, counts: np.ndarray) -> Slices:
    """Sums over some requests in a row of the same block, as the request path has them over time."""
    place = profiled.groupby("block").cumcount() // REQUESTS_PER_SLICE
    number = profiled.assign(place=place).groupby(["block", "place"], sort=False).ngroup().to_numpy()
    size = int(number.max()) + 1

    def summed(values):
        sums = np.zeros((size, *values.shape[1:]))
        np.add.at(sums, number, values)
        return sums

    block = np.zeros(size, dtype=np.int64)
    block[number] = profiled["block"].to_numpy()
    own, nothing = summed(counts), np.zeros(size)
    latency_ms, requests = summed(profiled["latency_ms"].to_numpy()), summed(np.ones(len(number)))
    return Slices(own, np.zeros_like(own), nothing, latency_ms, nothing, requests, block)


def intervals(case: Case, seed: int) -> dict[str, tuple[float, float, float]]:
    """Truth, low and high of every estimate of a phase. The kit's own functions give the intervals."""
    requests, counts = simulated(case, seed)
    size = np.mean(SIZES[case.kinds])
    row = latency("small", "all", requests.plain())
    effect = observer_effect(requests)
    profiled = requests.profiled()
    latency_ms = profiled["latency_ms"].to_numpy()
    path = estimate(_slices(profiled, counts), float(latency_ms.max()), CATALOG)[0].set_index("component")
    unseen_ms = 3.84 * latency_ms.mean() / counts.sum()
    found = {
        "mean": (sum(case.components_ms.values()) * size, row["mean_low"], row["mean_high"]),
        "p50": (true_percentile(case, 0.5), row["p50_low"], row["p50_high"]),
        "p90": (true_percentile(case, 0.9), row["p90_low"], row["p90_high"]),
        "observer p50": (SLOWDOWN, effect.low, effect.high),
        "observer mean": (SLOWDOWN, effect.mean_low, effect.mean_high),
    }
    for name, typical_ms in case.components_ms.items():
        low, high = path.loc[name, ["low", "high"]] if name in path.index else (0.0, unseen_ms)
        found[f"{name} {typical_ms:.3g} ms"] = (typical_ms * size * SLOWDOWN, low, high)
    return found


def coverage(case: Case, repeats: int) -> pd.DataFrame:
    """One row per estimate: ``covered`` (share of the known intervals that hold the truth), ``width`` (mean,
    relative to the truth) and ``unknown`` (share without an interval)."""
    covered, known, width = Counter(), Counter(), Counter()
    for seed in range(repeats):
        for name, (truth, low, high) in intervals(case, seed).items():
            if np.isfinite(high):
                known[name] += 1
                covered[name] += low <= truth <= high
                width[name] += (high - low) / truth
    return pd.DataFrame(
        {
            "covered": {name: covered[name] / known[name] for name in known},
            "width": {name: width[name] / known[name] for name in known},
            "unknown": {name: 1 - known[name] / repeats for name in known},
        }
    )
