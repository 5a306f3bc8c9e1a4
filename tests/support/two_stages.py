"""A simulated server with two stages, as the sampler, the client and the server's log would see it.

Clients in a closed loop send requests to an HTTP thread, which tokenises one after the other, and hands
them over to a scheduler, whose forward thread computes one batch after the other. The time that each
request spends in a stage and behind it is known exactly.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.request_path import request_path
from scoreprof_nb.analysis.ticks import BlockTicks, ThreadTicks
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import Role
from scoreprof_nb.run_folder.records import Load
from tests.support.synthetic import START_S, block, measured, phase_of, stack_table

RATE_HZ = 100


@dataclass(frozen=True)
class Served:
    """Requests in the order of sending, times in ms: columns sent, tokenized_from, handed_over,
    batch_from, done. ``batches``: start in ms, sequences in the batch, and left in the queue."""

    requests: pd.DataFrame
    batches: list[tuple[float, int, int]]
    in_flight: int

    def truth(self, first_ms: float, last_ms: float) -> dict[str, float]:
        """Mean ms of the requests sent and answered in between: own and queued, of both stages."""
        table = self.requests[(self.requests["sent"] >= first_ms) & (self.requests["done"] <= last_ms)]
        return {
            "tokenize": (table["handed_over"] - table["tokenized_from"]).mean(),
            "behind tokenize": (table["tokenized_from"] - table["sent"]).mean(),
            "device_wait": (table["done"] - table["batch_from"]).mean(),
            "behind device_wait": (table["batch_from"] - table["handed_over"]).mean(),
        }


def serve(tokenize_ms, batch_ms, requests: int, in_flight: int, largest_batch: int = 1) -> Served:
    """``tokenize_ms`` and ``batch_ms``: functions without arguments that return the next time."""
    waiting = deque((0.0, client) for client in range(in_flight))  # (sent, client), in order
    rows, batches, queue = [], [], deque()
    http_free = batch_free = 0.0
    while len(rows) < requests:
        # The HTTP thread goes on until the next batch starts: what it hands over by then is in the queue.
        while waiting:
            sent = waiting[0][0]
            start = max(sent, http_free)
            if queue and start >= max(batch_free, queue[0][2]):
                break
            waiting.popleft()
            http_free = start + tokenize_ms()
            queue.append((sent, start, http_free))
        begin = max(batch_free, queue[0][2])
        size = min(sum(handed <= begin for _, _, handed in queue), largest_batch)
        held = [queue.popleft() for _ in range(size)]
        batch_free = begin + batch_ms()
        batches.append((begin, size, sum(handed <= begin for _, _, handed in queue)))
        rows += [(*times, begin, batch_free) for times in held]
        waiting.extend((batch_free, 0) for _ in held)
    columns = ["sent", "tokenized_from", "handed_over", "batch_from", "done"]
    return Served(pd.DataFrame(rows, columns=columns), batches, in_flight)


def observed(served: Served, rng, first_ms: float, last_ms: float, *, queue_logged=True):
    """What the kit sees of the time between: the ticks, the rows of the requests, and the server's log."""
    table = served.requests
    at = np.sort(rng.uniform(first_ms, last_ms, rng.poisson((last_ms - first_ms) * RATE_HZ / 1e3)))
    tokenizes, computes = (
        _during(at, table[start], table[stop])
        for start, stop in (("tokenized_from", "handed_over"), ("batch_from", "done"))
    )
    threads = {
        ("http", "main"): np.where(tokenizes, "tokenize", "await_request"),
        ("scheduler", "main"): np.where(computes, "wait_forward", "idle_poll"),
        ("scheduler", "forward"): np.where(computes, "device_wait", "idle_wait"),
    }
    of = block(0, START_S + first_ms / 1e3, (last_ms - first_ms) / 1e3)
    nothing = np.zeros(len(at), dtype=np.bool_)
    ticks = []
    for role, names in threads.items():
        components = np.array([CATALOG.index[name] for name in names], dtype=np.int16)
        ids = components.astype(np.int32)
        ticks.append(ThreadTicks(Role(*role), 10, 10, components, ids, nothing, nothing))
    blocks = BlockTicks(of, of.recording, stack_table(), START_S + at / 1e3, True, 0, tuple(ticks))
    inside = (table["sent"] >= first_ms) & (table["done"] <= last_ms)
    rows = [
        {"at_ms": sent, "latency_ms": done - sent, "items": 1, "block": 0 if here else -1, "profiled": here}
        for sent, done, here in zip(table["sent"], table["done"], inside, strict=True)
    ]
    return phase_of(blocks), rows, log_of(served, queue_logged)


def path_of(served: Served, rng, first_ms: float, last_ms: float, **how):
    """The request path that the kit computes of what lies between two times."""
    phase, rows, log = observed(served, rng, first_ms, last_ms, **how)
    load = Load("closed", concurrency=served.in_flight)
    done = sum(row["profiled"] for row in rows)
    return request_path(phase, measured(*rows), load, log, capacity(phase, done))


def coverage(seeds) -> dict[str, float]:
    """How often the intervals hold the long-run mean, of a server with 8 in flight: 6 ms to tokenise, 40 ms
    for a batch, both random. Each seed is a capture of 20 s."""
    truths, intervals = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        served = serve(lambda rng=rng: rng.gamma(8, 6 / 8), lambda rng=rng: rng.gamma(8, 40 / 8), 2250, 8, 8)
        last_ms = float(served.requests["done"].iloc[-1]) - 200
        values = found(path_of(served, rng, 500.0, last_ms))
        truth = served.truth(500.0, last_ms)
        truths.append(truth)
        intervals.append({name: values.get(name, (0.0, 0.0, 0.0)) for name in truth})
    means = pd.DataFrame(truths).mean()
    return {
        name: float(
            np.mean([low <= means[name] <= high for _, low, high in (one[name] for one in intervals)])
        )
        for name in means.index
    }


def found(path) -> dict[str, tuple[float, float, float]]:
    """Mean, low and high by the names of ``Served.truth``."""
    return dict(path.as_mapping()) | {
        f"behind {name}": values for name, values in path.queued_mapping().items()
    }


def _during(at, start, stop):
    """Whether each time lies in one of the intervals, which are in order and do not overlap."""
    starts, stops = np.unique(start), np.unique(stop)
    return np.searchsorted(starts, at, side="right") > np.searchsorted(stops, at, side="right")


def log_of(served: Served, queue_logged: bool) -> pd.DataFrame:
    rows = []
    for begin, size, left in served.batches:
        queue = f", #queue-req: {left}, " if queue_logged else ""
        rows.append((round((START_S + begin / 1e3) * 1e9), f"Prefill batch. #new-seq: {size}{queue}"))
    return pd.DataFrame(rows, columns=["time_ns", "text"])
