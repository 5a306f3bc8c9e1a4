"""A simulated what-if experiment on a server of known structure: what 1 ms in each stage costs is exact.

A request passes a front stage, then two stages at the same time (a short and a long one), then a back stage.
The short stage may hold the GIL that the long one needs to begin. With several clients the back stage serves
one request at a time, first come first served, and is the bottleneck. Each request's stages vary by a common
factor, and each block by one of its own; the machine becomes slower by DRIFT over the experiment.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.what_if_effects import DelayedBlocks
from scoreprof_nb.capture.what_if import rounds_of
from scoreprof_nb.run_folder.records import Block, Recording
from scoreprof_nb.run_folder.what_if import Delayed, WhatIfBlock

STAGES_MS = {"front": 3.0, "short": 4.0, "long": 12.0, "back": 5.0}
SPREAD, BLOCK_SD, DRIFT = 0.08, 0.01, 0.1
DELAY_MS = 4.0
BLOCK_S = 0.5
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
    """The blocks of an experiment, without stacks."""
    rng = np.random.default_rng(seed)
    blocks: list[WhatIfBlock] = []
    requests: list[tuple[int, float, float]] = []
    clock_s = 1_700_000_000.0
    plan = rounds_of(range(len(FUNCTIONS)), rounds, str(seed), profiles=True)
    total = rounds * (2 * len(FUNCTIONS) + 1)
    for number, one in enumerate(plan):
        for delayed in (None, *(part for function in one.order for part in (function, None))):
            place = len(blocks)
            slower = (1 + DRIFT * place / total) * (1 + BLOCK_SD * rng.standard_normal())
            rows, stop_s = _block(structure, rng, delayed, slower, clock_s)
            requests += [(place, start, done) for start, done in rows]
            recording = Recording(None, clock_s, stop_s, 100, failure="simulated") if one.profiled else None
            put_in_ns = 0 if delayed is None else round(len(rows) * DELAY_MS * 1e6)
            blocks.append(
                WhatIfBlock(
                    number, delayed, Block(place, clock_s, stop_s, recording), len(rows), put_in_ns, len(rows)
                )
            )
            clock_s = stop_s + 0.01
    table = pd.DataFrame(requests, columns=["block", "start_s", "done_s"])
    table = table.assign(
        latency_ms=(table["done_s"] - table["start_s"]) * 1e3, kind="single", items=1, ok=True
    )
    return DelayedBlocks(blocks, MeasuredRequests(table), {}, several=structure.clients > 1)


def _block(structure, rng, delayed, slower, clock_s):
    """(start, done) of the requests of a block, and its end; the clients start when nothing is in flight."""
    free_s = np.full(structure.clients, clock_s)
    back_free_s = clock_s
    rows = []
    names = list(STAGES_MS)
    extra = [DELAY_MS * (names[delayed] == name) if delayed is not None else 0.0 for name in names]
    count = round(BLOCK_S * 1e3 / (24.0 if structure.clients == 1 else structure.back_ms))
    warm = 4 * structure.clients if structure.clients > 1 else 0  # until the queue is as it stays
    for number in range(count + warm):
        client = int(np.argmin(free_s))
        factor = slower * np.exp(SPREAD * rng.standard_normal())
        front, short, long = (STAGES_MS[name] * factor for name in names[:3])
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
    return rows, float(free_s.max())
