"""Simulated queues, whose waiting times are known, as the requests of an open loop."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests, measured_requests
from scoreprof_nb.run_folder.records import Block, Load
from tests.support.synthetic import START_S, phase, sent

BLOCKS = 4
LEAD_IN_SHARE = 0.1
NO_LOG = pd.DataFrame({"time_ns": pd.Series(dtype="int64"), "text": pd.Series(dtype="object")})


def one_server(arrivals_s: Sequence[float], service_s: float) -> list[float]:
    """The instants at which a server that takes ``service_s`` per request, one after another, is done."""
    done, free = [], 0.0
    for at_s in arrivals_s:
        free = max(at_s, free) + service_s
        done.append(free)
    return done


def md1_mean_ms(rho: float, service_s: float) -> float:
    """The mean latency of Poisson arrivals at a server of constant service time: s + rho s / (2 (1 - rho))."""
    return 1e3 * (service_s + rho * service_s / (2 * (1 - rho)))


def simulated(
    rate_per_s: float, service_s: float, wall_s: float, seed: int, late_s: float = 0.0, timeout_s: float = 1e9
) -> tuple[MeasuredRequests, tuple[Block, ...], Load]:
    """Poisson arrivals at one server, measured in blocks without py-spy after a lead-in.

    ``late_s``: how late the generator sends each request; ``timeout_s``: what takes longer times out.
    """
    rng = np.random.default_rng(seed)
    lead_in_s = LEAD_IN_SHARE * wall_s
    gaps = rng.exponential(1 / rate_per_s, size=int(2 * rate_per_s * wall_s) + 100)
    planned = np.cumsum(gaps)
    planned = planned[planned < lead_in_s + wall_s]
    done = np.array(one_server(planned + late_s, service_s))
    rows = [
        {
            "at_ms": 1e3 * at_s,
            "latency_ms": 1e3 * min(end_s - at_s, timeout_s),
            "warmup": at_s < lead_in_s,
            "error": "timeout" if end_s - at_s > timeout_s else None,
            "sent_ns": round((START_S + at_s + late_s) * 1e9),
        }
        for at_s, end_s in zip(planned, done, strict=True)
    ]
    length_s = wall_s / BLOCKS
    starts = [START_S + lead_in_s + number * length_s for number in range(BLOCKS)]
    last_s = START_S + float(done[-1]) + 1
    blocks = tuple(
        Block(number, start_s, max(last_s, start_s + length_s), until_s=start_s + length_s)
        for number, start_s in enumerate(starts)
    )
    load = Load("open", offered_per_s=rate_per_s, capacity_per_s=1 / service_s, timeout_s=timeout_s)
    table: pd.DataFrame = sent(*rows)
    return measured_requests(phase(blocks, requests=table), NO_LOG, load), blocks, load
