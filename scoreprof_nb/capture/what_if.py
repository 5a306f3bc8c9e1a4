"""What-if blocks: short blocks with a delay in one function of the server, each between two without.

A round delays every function once, in random order, with a block without a delay before, between and after
them. A delayed block is compared with its two neighbours, which cancels a linear drift of the machine. Of
each pair of rounds py-spy records one, chosen at random, in one recording: it shows where the request path
puts the delay.
"""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from scoreprof_nb.capture.blocks import POLL_S, SETTLE_S, BlockRecording, next_answer, wait
from scoreprof_nb.capture.delay_switch import Counters, DelaySwitch
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.open_loop import START_S, OpenLoop, poisson
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.request_log import RequestLog
from scoreprof_nb.capture.run_clock import now_s
from scoreprof_nb.capture.server import Server
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.what_if import SLEEP
from scoreprof_nb.run_folder.files import what_if_recording_name
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Block, Load, Recording
from scoreprof_nb.run_folder.what_if import Delayed, WhatIf, WhatIfBlock, write_what_if

PURPOSE = "/what-if"  # of the workload: texts of its own
FEWEST_ROUNDS, MOST_ROUNDS = 8, 40
SHORTEST_BLOCK_S, REQUESTS_PER_BLOCK = 0.5, 8  # requests: of each client
# The calls per request are counted over so many answers: one call more or less at the edges is little then.
COUNTED_REQUESTS, LONGEST_COUNTING_S = 50, 15.0
NOTHING = Counters(0, 0, 0)


@dataclass(frozen=True)
class Round:
    """``order``: the functions by number, as they are delayed."""

    order: tuple[int, ...]
    profiled: bool


def rounds_of(functions: Sequence[int], number: int, seed: str, profiles: bool) -> tuple[Round, ...]:
    """The order of the experiment: of two rounds one is profiled, if any is."""
    rng = random.Random(seed)
    rounds: list[Round] = []
    for _ in range(number // 2):
        first = rng.random() < 0.5
        for profiled in (first, not first):
            order = list(functions)
            rng.shuffle(order)
            rounds.append(Round(tuple(order), profiled and profiles))
    return tuple(rounds)


def schedule(functions: int, budget_s: float, request_s: float) -> tuple[int, float]:
    """The number of rounds, even, and the seconds per block: what fits, but at least FEWEST_ROUNDS."""
    block_s = max(SHORTEST_BLOCK_S, REQUESTS_PER_BLOCK * request_s)
    fit = int(budget_s / ((2 * functions + 1) * block_s)) // 2 * 2
    return min(max(fit, FEWEST_ROUNDS), MOST_ROUNDS), block_s


def capture_what_if(
    server: Server,
    plan: Plan,
    parameters: Parameters,
    phase: str,
    load_plan: Load,
    request_s: float,
    staging: Path,
    log_progress: LogProgress,
) -> None:
    """Measure the what-if blocks of a phase under its load, and write them into its folder.

    ``request_s``: how long a request takes. Raises ServerFailed when the server dies meanwhile.
    """
    assert plan.delays is not None
    delays = plan.delays
    load: LoadGenerator | OpenLoop
    workload = plan.workloads.of(phase, PURPOSE)
    api_key = parameters.api_key()
    if load_plan.loop == "closed":
        assert load_plan.concurrency is not None
        load = LoadGenerator(server.url, workload, load_plan.concurrency, parameters.request_s, api_key)
        load.warming = False
    elif load_plan.loop == "open":
        assert load_plan.offered_per_s is not None
        times_s = poisson(load_plan.offered_per_s, f"{parameters.seed}/{phase}{PURPOSE}")
        load = OpenLoop(server.url, workload, times_s, parameters.request_s, api_key)
        load.measured_from_ns = 0
    else:
        log_progress("  no what-if blocks: every stretch of a replay has a load of its own")
        return
    with ExitStack() as stack:
        stack.callback(delays.off)
        stack.enter_context(load)
        if load_plan.loop == "open":
            time.sleep(START_S)
        experiment = _Experiment(server, plan, parameters, delays, load, staging, log_progress)
        record = experiment.run(f"{parameters.seed}/{phase}", request_s)
    rows = sorted(load.rows, key=lambda row: row["request"])
    write_what_if(staging, record, rows)


@dataclass
class _Experiment:
    server: Server
    plan: Plan
    parameters: Parameters
    delays: DelaySwitch
    load: RequestLog
    staging: Path
    log_progress: LogProgress

    def run(self, seed: str, request_s: float) -> WhatIf:
        functions = self._functions()
        used = [number for number, function in enumerate(functions) if function.left_out is None]
        number, block_s = schedule(len(used), self.parameters.what_if_s, request_s)
        total_s = number * (2 * len(used) + 1) * block_s
        self.log_progress(
            f"  what if: {len(used)} functions, {number} rounds, blocks of {block_s:.1f} s, "
            f"about {total_s:.0f} s"
        )
        blocks: list[WhatIfBlock] = []
        notes: list[str] = []
        rounds = rounds_of(used, number, seed, self.plan.recorder is not None) if used else ()
        for position, one in enumerate(rounds):
            measured, note = self._round(position, one, functions, block_s, len(blocks))
            blocks += measured
            notes += [note] if note else []
            self.log_progress(
                f"  what-if round {position + 1} of {len(rounds)}, py-spy {'on' if one.profiled else 'off'}"
            )
        return WhatIf(
            delay_ms=self.parameters.what_if_ms,
            kind=cast(Literal["spin", "sleep"], self.parameters.what_if_kind),
            off_ns=self.delays.off_ns,
            functions=functions,
            blocks=tuple(blocks),
            notes=tuple(notes),
        )

    def _functions(self) -> tuple[Delayed, ...]:
        """Which functions can be delayed, and by how much per call: counted over some requests."""
        _, before, answered = self._edge()
        deadline_s = now_s() + LONGEST_COUNTING_S
        while len(self.load.rows) < answered + COUNTED_REQUESTS and now_s() < deadline_s:
            wait(self.server, POLL_S)
        _, after, answered_after = self._edge()
        requests = max(answered_after - answered, 1)
        functions = []
        for number, target in enumerate(self.delays.targets):
            reason = self.delays.left_out(number)
            calls = after[number].since(before[number]).calls / requests
            if reason is None and not calls:
                reason = "the requests of this phase do not call it"
            each_ms = self.parameters.what_if_ms / max(calls, 1.0)
            functions.append(
                Delayed(target.component, target.function, left_out=reason)
                if reason is not None
                else Delayed(target.component, target.function, calls=calls, delay_ns=round(each_ms * 1e6))
            )
        return tuple(functions)

    def _round(
        self, number: int, one: Round, functions: tuple[Delayed, ...], block_s: float, first: int
    ) -> tuple[list[WhatIfBlock], str | None]:
        """The blocks of a round, and why its recording failed."""
        recorder = self.plan.recorder
        recording: Recording | None = None
        blocks = []
        with ExitStack() as stack:
            running = None
            if one.profiled and recorder is not None:
                output = self.staging / what_if_recording_name(number, recorder.suffix)
                running = stack.enter_context(BlockRecording(recorder, self.server, output, self.plan.redact))
                wait(self.server, SETTLE_S)
            blocks.append(self._block(number, None, functions, block_s, first))
            for function in one.order:
                for delayed in (function, None):
                    blocks.append(self._block(number, delayed, functions, block_s, first + len(blocks)))
            if running is not None:
                recording = running.stop()
        if recording is None:
            return blocks, None
        note = f"round {number + 1}: {recording.failure}" if recording.failure else None
        return [replace(block, block=replace(block.block, recording=recording)) for block in blocks], note

    def _block(
        self,
        number: int,
        delayed: int | None,
        functions: tuple[Delayed, ...],
        block_s: float,
        position: int,
    ) -> WhatIfBlock:
        """One block. Requests that are in flight when a delay is switched belong to none."""
        if delayed is None:
            self.delays.off()
        else:
            delay_ns = functions[delayed].delay_ns
            assert delay_ns is not None
            self.delays.on(delayed, delay_ns, self.parameters.what_if_kind == SLEEP)
        start_s, before, answered = self._edge()
        wait(self.server, block_s)
        until_s = now_s()
        stop_s, after, answered_after = self._edge()
        counted = NOTHING if delayed is None else after[delayed].since(before[delayed])
        return WhatIfBlock(
            round=number,
            delayed=delayed,
            block=Block(position, start_s, stop_s, None, until_s),
            calls=counted.delayed,
            put_in_ns=counted.delay_ns,
            answered=answered_after - answered,
        )

    def _edge(self) -> tuple[float, tuple[Counters, ...], int]:
        """Wait until what is in flight is answered: epoch seconds, the counters, and the requests so far."""
        at_s = next_answer(self.server, self.load, self.parameters.request_s)
        return at_s, self.delays.counters(), len(self.load.rows)
