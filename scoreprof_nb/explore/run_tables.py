"""The tidy tables of a run: one row per request, per tick of a thread, per stack, per event of the log."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.breakdown import working_stacks
from scoreprof_nb.analysis.evidence import frame_text
from scoreprof_nb.analysis.path_sums import all_requests, most_in_flight, ticks_by_request
from scoreprof_nb.analysis.prefill_batches import PrefillBatches, prefill_batches
from scoreprof_nb.analysis.requests import events, within
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, concat_tables
from scoreprof_nb.analysis.ticks import joint
from scoreprof_nb.components.catalog import CLIENT
from scoreprof_nb.components.headline import headline_group
from scoreprof_nb.engines.sglang_jax_analysis import LOG_EVENTS

REQUEST_COLUMNS = (
    *("phase", "request", "kind", "items", "payload", "time_s", "latency_ms", "block", "profiled"),
    *("prefills", "compile_hit", "split", "ok", "error"),
)
TICK_COLUMNS = ("phase", "block", "time_s", "process", "thread", "component", "stack", "restored")
PATH_COLUMNS = (
    *("phase", "request", "kind", "items", "latency_ms", "compile_hit", "split", "slowest_tenth"),
    *("component", "queued", "group", "kind_of_work", "ms"),
)
STACK_COLUMNS = (
    *("phase", "process", "thread", "component", "function", "samples", "ms_per_request", "frames", "stack"),
)
EVENT_COLUMNS = ("phase", "time_s", "event", "count")


def requests_table(phases: Sequence[PhaseAnalysis]) -> pd.DataFrame:
    """Every measured request: columns REQUEST_COLUMNS. ``time_s``: since the start of the phase's first
    block."""
    parts = []
    for phase in phases:
        table = phase.requests.table
        time_s = (table["sent_ns"] - _start_ns(phase)) / 1e9
        parts.append(table.assign(phase=phase.name, time_s=time_s)[list(REQUEST_COLUMNS)])
    return concat_tables(parts, REQUEST_COLUMNS)


def ticks_table(phases: Sequence[PhaseAnalysis]) -> pd.DataFrame:
    """What each thread did at each tick: columns TICK_COLUMNS.

    ``stack``: number of the stack within its block, -1 where it was lost; ``restored``: the tick was lost,
    and its component is that of the nearest one.
    """
    parts = []
    for phase in phases:
        names = np.array(phase.ticks.catalog.names)
        for block in phase.ticks.blocks:
            for thread in block.threads:
                tick_s = block.tick_s[len(block.tick_s) - len(thread.components) :]
                part = pd.DataFrame(
                    {
                        "phase": phase.name,
                        "block": block.block.number,
                        "time_s": tick_s - _start_ns(phase) / 1e9,
                        "process": thread.role.process,
                        "thread": thread.role.thread,
                        "component": names[thread.components],
                        "stack": thread.stack_ids,
                        "restored": thread.lost,
                    }
                )
                parts.append(part)
    table = concat_tables(parts, TICK_COLUMNS)
    return table.astype(dict.fromkeys(("phase", "process", "thread", "component"), "category"))


def path_table(phases: Sequence[PhaseAnalysis], log: pd.DataFrame) -> pd.DataFrame:
    """What each profiled request waited for: columns PATH_COLUMNS, a row per request and component.

    ``queued``: the time was spent behind other requests. The mean over requests is the report's request
    path; a single request has few ticks, and its split is rough. ``kind_of_work``: host, compile, device or
    client. Phases without a joint request path have no rows.
    """
    parts = [_paths_of(phase, log) for phase in phases if phase.path.method == "joint"]
    return concat_tables(parts, PATH_COLUMNS)


def _paths_of(phase: PhaseAnalysis, log: pd.DataFrame) -> pd.DataFrame:
    catalog, profiled = phase.ticks.catalog, phase.requests.profiled()
    counted = _ticks_of(phase, log)
    counted = counted[counted["request"].isin(profiled["request"])]
    counted["component"] = np.array(catalog.names)[counted["component"]]
    # The client's share is of its own CPU time, which no tick shows.
    client_ms = profiled[["request", "client_cpu_ms"]].rename(columns={"client_cpu_ms": "ticks"})
    seen = counted[(counted["component"] != CLIENT) | counted["queued"]]
    weights = pd.concat([seen, client_ms.assign(component=CLIENT, queued=False)])
    means = {
        **{(name, False): mean for name, (mean, _, _) in phase.path.as_mapping().items()},
        **{(name, True): mean for name, (mean, _, _) in phase.path.queued_mapping().items()},
    }
    keys = list(zip(weights["component"], weights["queued"], strict=True))
    total_ms = np.array([means.get(key, 0.0) for key in keys]) * len(profiled)
    sums = weights.groupby(["component", "queued"])["ticks"].transform("sum").clip(lower=1e-12)
    weights = weights.assign(ms=weights["ticks"] / sums * total_ms)
    slowest = profiled["latency_ms"].rank(method="first", pct=True) > 0.9
    about = profiled.assign(phase=phase.name, slowest_tenth=slowest)
    groups = {name: headline_group(catalog[name]) for name in weights["component"].unique()}
    return about.merge(weights[["request", "component", "queued", "ms"]], on="request").assign(
        group=lambda table: table["component"].map(lambda name: groups[name].name),
        kind_of_work=lambda table: table["component"].map(lambda name: groups[name].kind),
    )[list(PATH_COLUMNS)]


def _ticks_of(phase: PhaseAnalysis, log: pd.DataFrame) -> pd.DataFrame:
    ticks = joint(phase.ticks)
    everything = all_requests(ticks, phase.requests)
    batches = prefill_batches(phase.phase, log, everything)
    alone = most_in_flight(everything, ticks) <= 1
    return ticks_by_request(
        ticks, everything, batches if isinstance(batches, PrefillBatches) else None, alone
    )


def stacks_table(phases: Sequence[PhaseAnalysis]) -> pd.DataFrame:
    """Every stack of a working thread: columns STACK_COLUMNS, the most time first.

    ``function``: the innermost frame's; ``frames``: ``function (file)`` of each, root first; ``stack``: text
    with lines, innermost first; ``ms_per_request``: wall time of the thread.
    """
    rows = [
        (
            *(phase.name, stack.role.process, stack.role.thread, stack.component, stack.frames[-1].name),
            *(stack.samples, stack.wall_ms / phase.threads.served, stack.labels()[1:]),
            " < ".join(frame_text(frame) for frame in reversed(stack.frames)),
        )
        for phase in phases
        if phase.threads.served > 0
        for stack in working_stacks(phase.ticks)
        if stack.frames
    ]
    table = pd.DataFrame(rows, columns=list(STACK_COLUMNS))
    return table.sort_values("ms_per_request", ascending=False, kind="stable", ignore_index=True)


def events_table(phases: Sequence[PhaseAnalysis], log: pd.DataFrame) -> pd.DataFrame:
    """Prefill batches, decode steps and compiles in the server's log: columns EVENT_COLUMNS. ``count``:
    sequences of a batch, or programs that were compiled."""
    parts = []
    for phase in phases:
        inside = within(phase.phase, log)
        for kind in LOG_EVENTS:
            happened = events(inside, kind)
            time_s = (happened["time_ns"] - _start_ns(phase)) / 1e9
            part = pd.DataFrame({"phase": phase.name, "time_s": time_s, "event": kind})
            parts.append(part.assign(count=happened["count"]))
    return concat_tables(parts, EVENT_COLUMNS).sort_values(["phase", "time_s"], ignore_index=True)


def _start_ns(phase: PhaseAnalysis) -> float:
    return phase.phase.record.blocks[0].start_s * 1e9
