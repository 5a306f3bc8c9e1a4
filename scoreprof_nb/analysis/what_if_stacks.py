"""What py-spy saw in the what-if blocks: the request path and the threads' time, by round and function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.request_path import request_path
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, block_ticks
from scoreprof_nb.components.classify import classify
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.run_folder.records import Load
from scoreprof_nb.run_folder.store import Phase
from scoreprof_nb.run_folder.what_if import WhatIfBlock
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.table import ImportFailed, NotOrdered

Components = Mapping[str, float]  # ms per request by component


@dataclass(frozen=True)
class Seen:
    """The blocks of one round with the same delay: ms per request by component.

    ``path``: own and queued time together; empty where there is no request path, ``reason`` says why;
    ``busy``: the time in which any thread of the server works in the component.
    """

    path: Components
    busy: Components
    reason: str | None = None


def seen_by_round(
    phase: Phase,
    blocks: Sequence[WhatIfBlock],
    requests: MeasuredRequests,
    load: Load,
    log: pd.DataFrame,
    rules: RuleSet,
) -> tuple[Mapping[tuple[int, int | None], Seen], tuple[str, ...]]:
    """By round and number of the delayed function (None: no delay), for the rounds with a recording; and why
    recordings cannot be used.

    ``phase``: with the requests and the blocks of the experiment; ``log``: the server's.
    """
    ticks, failures = _ticks(phase, blocks, rules)
    groups: dict[tuple[int, int | None], list[WhatIfBlock]] = {}
    for block in blocks:
        if block.block.number in ticks:
            groups.setdefault((block.round, block.delayed), []).append(block)
    log = _during(log, phase.requests)
    seen = {}
    for key, members in groups.items():
        part = PhaseTicks(phase, tuple(ticks[one.block.number] for one in members), (), rules.catalog)
        answered = sum(one.answered for one in members)
        seen[key] = _seen(part, requests, answered, load, log)
    return seen, failures


def busy_ms(ticks: PhaseTicks, answered: float) -> Components:
    """Milliseconds per request in which a thread works in each component that is work; all threads added."""
    total = np.zeros(len(ticks.catalog.names))
    for block in ticks.blocks:
        for thread in block.threads:
            if len(thread.components):
                counts = np.bincount(thread.components, minlength=len(total))
                total += counts * (block.block.wall_s * 1e3 / max(block.ticks, 1))
    if not answered:
        return {}
    return {
        name: float(ms) / answered
        for name, ms, work in zip(ticks.catalog.names, total, ticks.catalog.work, strict=True)
        if work and ms > 0
    }


def _seen(
    ticks: PhaseTicks, requests: MeasuredRequests, answered: int, load: Load, log: pd.DataFrame
) -> Seen:
    path = request_path(ticks, requests, load, log, capacity(ticks, float(max(answered, 1))))
    joint = path.method == "joint"
    reason = None if joint else path.reason or "no common ticks"
    return Seen(path.component_ms() if joint else {}, busy_ms(ticks, answered), reason)


def _ticks(
    phase: Phase, blocks: Sequence[WhatIfBlock], rules: RuleSet
) -> tuple[dict[int, BlockTicks], tuple[str, ...]]:
    """The ticks of each block that was recorded, by its number. A round's recording is read once."""
    ticks: dict[int, BlockTicks] = {}
    failures = []
    by_round: dict[int, list[WhatIfBlock]] = {}
    for block in blocks:
        by_round.setdefault(block.round, []).append(block)
    for number, members in by_round.items():
        recording = members[0].block.recording
        if recording is None or recording.file is None:
            continue
        try:
            table = read_recording(phase.folder / recording.file)
            activities = classify(table, rules)
            for one in members:
                found = block_ticks(one.block, recording, table, activities, rules.catalog)
                if found.threads and found.aligned:
                    ticks[one.block.number] = found
        except (ImportFailed, NotOrdered) as error:
            failures.append(f"round {number + 1}: {error}")
    return ticks, tuple(failures)


def _during(log: pd.DataFrame, requests: pd.DataFrame) -> pd.DataFrame:
    """The lines of the time of all these requests: whoever counts sequences needs every batch of them."""
    return log[log["time_ns"].between(requests["sent_ns"].min(), requests["done_ns"].max())]


def phase_of(phase: Phase, blocks: Sequence[WhatIfBlock], requests: pd.DataFrame) -> Phase:
    """The experiment as a phase of its own."""
    record = replace(phase.record, blocks=tuple(one.block for one in blocks))
    return replace(phase, record=record, requests=requests)
