"""A simulated what-if experiment on a server of known structure: what 1 ms in each stage costs is exact.

A request passes a front stage, then two stages at the same time (a short and a long one), then a back stage.
The short stage may hold the GIL that the long one needs to begin. With several clients the back stage serves
one request at a time, first come first served, and is the bottleneck. Each request's stages vary by a common
factor, and each block by one of its own; the machine becomes slower by DRIFT over the experiment.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.what_if_effects import DelayedBlocks
from scoreprof_nb.capture.what_if import rounds_of
from scoreprof_nb.run_folder.records import Block, Recording
from scoreprof_nb.run_folder.what_if import Delayed, WhatIfBlock

START_S = 1_700_000_000.0
STAGES_MS = {"front": 3.0, "short": 4.0, "long": 12.0, "back": 5.0}
SPREAD, BLOCK_SD, DRIFT = 0.08, 0.01, 0.1
DELAY_MS = 4.0
BLOCK_S = 0.5
OFFERED_PER_S, OPEN_BACK_MS = 30.0, 9.0  # the back stage is busy for 0.27 of the time, with a delay 0.39
FUNCTIONS = tuple(Delayed(name, f"server:{name}", calls=1.0, delay_ns=4_000_000) for name in STAGES_MS)


@dataclass(frozen=True)
class Structure:
    """``clients``: requests in flight; ``back_ms``: of the back stage; ``gil_ms``: for how long the short stage
    keeps the long one from beginning, at most; ``truth``: of each stage, in the order of STAGES_MS."""

    clients: int
    back_ms: float
    gil_ms: float
    truth: tuple[float, float, float, float]


# With one client the short stage hides behind the long one. With eight, the back stage is never idle:
# a request waits for the seven before it, and all other stages are hidden in that wait.
ALONE = Structure(1, 5.0, 0.0, (1.0, 0.0, 1.0, 1.0))
QUEUE = Structure(8, 9.0, 0.0, (0.0, 0.0, 0.0, 8.0))
# The short stage keeps the GIL until it is done, and with a delay until it has to give it up: the long stage
# begins later by the difference. The mean of the short stage is that of its factors (log-normal, drift).
GIL_MS = 6.0
SHORT_MS = STAGES_MS["short"] * math.exp(SPREAD**2 / 2) * (1 + DRIFT / 2)
GIL = Structure(1, 5.0, GIL_MS, (1.0, (GIL_MS - SHORT_MS) / DELAY_MS, 1.0, 1.0))


def experiment(structure: Structure, seed: int, rounds: int = 8) -> DelayedBlocks:
    """The blocks of an experiment in a closed loop, without stacks."""
    rng = np.random.default_rng(seed)
    return _measured(partial(_closed_block, structure, rng), rng, seed, rounds, structure.clients > 1)


def open_experiment(seed: int, rounds: int = 8) -> DelayedBlocks:
    """The same in an open loop with OFFERED_PER_S, where the back stage serves one request at a time."""
    rng = np.random.default_rng(seed)
    return _measured(_OpenLoop(rng).block, rng, seed, rounds, several=True)


def open_truth() -> tuple[float, float, float, float]:
    """What 1 ms in each stage costs in that open loop: an M/D/1 queue, on average over the drift."""
    back_ms = OPEN_BACK_MS * (1 + DRIFT * np.linspace(0, 1, 1001))
    slow, usual = (served + _waits_ms(served) for served in (back_ms + DELAY_MS, back_ms))
    return 1.0, 0.0, 1.0, float((slow - usual).mean()) / DELAY_MS


def _waits_ms(service_ms):
    """The mean wait in an M/D/1 queue (Pollaczek and Khinchine)."""
    load = OFFERED_PER_S * service_ms / 1e3
    return load * service_ms / 2 / (1 - load)


class _Served(NamedTuple):
    """A block: its start and end, (start, done) of its requests, and how many were answered meanwhile."""

    start_s: float
    stop_s: float
    requests: list[tuple[float, float]]
    answered: int


def _measured(serve, rng, seed, rounds, several):
    """``serve``: (ms put into each stage, factor of all stages, the end of the last block) to a block."""
    blocks: list[WhatIfBlock] = []
    requests: list[tuple[int, float, float]] = []
    clock_s = START_S
    plan = rounds_of(range(len(FUNCTIONS)), rounds, str(seed), profiles=True)
    total = rounds * (2 * len(FUNCTIONS) + 1)
    for number, one in enumerate(plan):
        for delayed in (None, *(part for function in one.order for part in (function, None))):
            place = len(blocks)
            slower = (1 + DRIFT * place / total) * (1 + BLOCK_SD * rng.standard_normal())
            extra = [DELAY_MS * (delayed == stage) for stage in range(len(STAGES_MS))]
            served = serve(extra, slower, clock_s)
            requests += [(place, start, done) for start, done in served.requests]
            start_s, clock_s = served.start_s, served.stop_s
            recording = Recording(None, start_s, clock_s, 100, failure="simulated") if one.profiled else None
            put_in_ns = 0 if delayed is None else round(served.answered * DELAY_MS * 1e6)
            block = Block(place, start_s, clock_s, recording)
            blocks.append(WhatIfBlock(number, delayed, block, served.answered, put_in_ns, served.answered))
    table = pd.DataFrame(requests, columns=["block", "start_s", "done_s"])
    table = table.assign(
        latency_ms=(table["done_s"] - table["start_s"]) * 1e3, kind="single", items=1, ok=True
    )
    return DelayedBlocks(blocks, MeasuredRequests(table), {}, several)


def _closed_block(structure, rng, extra, slower, clock_s):
    """The clients start when nothing is in flight."""
    clock_s += 0.01
    free_s = np.full(structure.clients, clock_s)
    back_free_s = clock_s
    rows = []
    count = round(BLOCK_S * 1e3 / (24.0 if structure.clients == 1 else structure.back_ms))
    warm = 4 * structure.clients if structure.clients > 1 else 0  # until the queue is as it stays
    for number in range(count + warm):
        client = int(np.argmin(free_s))
        factor = slower * np.exp(SPREAD * rng.standard_normal())
        front, short, long = (ms * factor for ms in list(STAGES_MS.values())[:3])
        back = structure.back_ms * factor
        start_s = free_s[client]
        short_end = short + extra[1]
        long_end = min(short_end, structure.gil_ms) + long + extra[2]
        at_s = start_s + (front + extra[0] + max(short_end, long_end)) / 1e3
        at_s = max(at_s, back_free_s) if structure.clients > 1 else at_s
        at_s += (back + extra[3]) / 1e3
        back_free_s = free_s[client] = at_s
        if number >= warm:
            rows.append((start_s, at_s))
    return _Served(clock_s, float(free_s.max()), rows, len(rows))


class _OpenLoop:
    """Requests keep arriving: a block begins and ends, as that of a capture, when those are answered that
    were in flight, and its requests are those that were sent before it was to end."""

    def __init__(self, rng):
        self._rng = rng
        self._next_s = self._free_s = START_S

    def block(self, extra, slower, clock_s):
        front, short, long = (ms * slower for ms in list(STAGES_MS.values())[:3])
        before_ms = front + extra[0] + max(short + extra[1], long + extra[2])
        served = partial(self._until, before_ms / 1e3, (OPEN_BACK_MS * slower + extra[3]) / 1e3)
        start_s = max([clock_s, *(done for _, done in served(clock_s))])
        rows = served(start_s + BLOCK_S)
        stop_s = max([start_s + BLOCK_S, *(done for _, done in rows)])
        return _Served(start_s, stop_s, [row for row in rows if row[0] >= start_s], len(rows))

    def _until(self, before_s, back_s, until_s):
        """(arrival, done) of the requests that arrive until then."""
        rows = []
        while self._next_s <= until_s:
            self._free_s = max(self._next_s + before_s, self._free_s) + back_s
            rows.append((self._next_s, self._free_s))
            self._next_s += self._rng.exponential(1 / OFFERED_PER_S)
        return rows
