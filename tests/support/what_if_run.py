"""What-if experiments with exact numbers, written into a run folder: files as of a capture, stacks included."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scoreprof_nb.analysis.clock import CLOCK_FILE, FIRST_LINE, SLOT_S, SLOTS
from scoreprof_nb.run_folder.records import Block, Recording
from scoreprof_nb.run_folder.what_if import Delayed, WhatIf, WhatIfBlock, write_what_if
from scoreprof_nb.stacks.speedscope import write_speedscope
from tests.support.synthetic import place, stack_table
from tests.support.written_run import HTTP_STACKS, SCHEDULER_STACKS, request

START_S = 1_700_000_100.0
PER_BLOCK, RATE_HZ, ROUNDS = 8, 200, 8
TOKENIZES, AWAITS = HTTP_STACKS
SENDS = "main@/launch_server.py > _send_one_request@/tokenizer_manager.py"
POLLS, BATCHES = SCHEDULER_STACKS
Spans = Sequence[tuple[str, float, float]]  # stack, from ms, to ms


@dataclass(frozen=True)
class Served:
    """One request: what the HTTP thread and the scheduler work at, in ms since it was sent, and its
    latency. Both wait the rest of the time."""

    http: Spans
    scheduler: Spans
    latency_ms: float


Serve = Callable[[int | None], Served]  # by the number of the delayed function


def write_experiment(folder, functions: Sequence[Delayed], serve: Serve) -> None:
    """Eight rounds, every second of which is recorded; the latencies of rounds differ a little.

    ``functions``: with ``calls`` and ``delay_ns``; those that are left out come last.
    """
    blocks, requests = [], []
    clock_s = START_S
    delayed = [number for number, function in enumerate(functions) if function.left_out is None]
    for number in range(ROUNDS):
        started_s, first, parts = clock_s, len(blocks), []
        for one in (None, *(part for function in delayed for part in (function, None))):
            start_s = clock_s
            for _ in range(PER_BLOCK):
                served = serve(one)
                parts.append((clock_s, served))
                latency_ms = served.latency_ms + 0.01 * (number - 4) * (one is not None)
                requests.append(_row(len(requests), clock_s, latency_ms))
                clock_s += latency_ms / 1e3 + 0.001
            calls, put_in_ns = _counted(functions, one)
            block = Block(len(blocks), start_s, clock_s - 0.0005)
            blocks.append(WhatIfBlock(number, one, block, calls, put_in_ns, PER_BLOCK))
        if number % 2:
            name = f"what-if-{number}.speedscope.json"
            write_speedscope(_stacks(parts, started_s, clock_s), folder / name, name=name)
            recording = Recording(name, started_s, clock_s, RATE_HZ, errors=0)
            blocks[first:] = [
                replace(one, block=replace(one.block, recording=recording)) for one in blocks[first:]
            ]
        clock_s += 0.05
    write_what_if(folder, WhatIf(20.0, "spin", 150.0, tuple(functions), tuple(blocks)), requests)


def _counted(functions: Sequence[Delayed], delayed: int | None) -> tuple[int, int]:
    """The delayed calls of a block, and the sum of their delays in ns."""
    if delayed is None:
        return 0, 0
    calls = round(PER_BLOCK * functions[delayed].calls)
    return calls, calls * functions[delayed].delay_ns


def _row(number: int, sent_s: float, latency_ms: float) -> dict:
    sent_ns = round(sent_s * 1e9)
    times = {"sent_ns": sent_ns, "intended_ns": sent_ns, "done_ns": sent_ns + round(latency_ms * 1e6)}
    return {**request(number, **times), "repeat": False, "prompt_tokens": None, "shared_tokens": None}


def _stacks(parts: Sequence[tuple[float, Served]], started_s: float, stopped_s: float):
    at_s = started_s + (np.arange(round((stopped_s - started_s) * RATE_HZ)) + 0.5) / RATE_HZ
    sent_s = np.array([sent for sent, _ in parts])
    which = np.clip(np.searchsorted(sent_s, at_s, side="right") - 1, 0, None)
    since_ms = (at_s - sent_s[which]) * 1e3
    served = [parts[part][1] for part in which]
    at = list(zip(served, since_ms, strict=True))
    clock = [f"clock@{CLOCK_FILE}:{line}" for line in FIRST_LINE + (at_s / SLOT_S).astype(np.int64) % SLOTS]
    return stack_table(
        place("http", "main", [_stack(one.http, ms, AWAITS) for one, ms in at], pid=10, tid=10),
        place("scheduler", "main", [_stack(one.scheduler, ms, POLLS) for one, ms in at], pid=11, tid=11),
        place("clock", "main", clock, pid=9, tid=9),
    )


def _stack(spans: Spans, at_ms: float, waiting: str) -> str:
    return next((stack for stack, start_ms, end_ms in spans if start_ms <= at_ms < end_ms), waiting)
