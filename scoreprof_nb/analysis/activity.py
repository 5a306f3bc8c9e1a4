"""What each thread did, second by second: for a figure with all threads on one clock."""

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import events, within
from scoreprof_nb.analysis.slices import slice_edges
from scoreprof_nb.analysis.ticks import PhaseTicks
from scoreprof_nb.run_folder.store import Phase

ACTIVITY_COLUMNS = ("phase", "process", "thread", "start_s", "width_s", "component", "share", "ticks")
BLOCK_COLUMNS = ("phase", "number", "start_s", "stop_s", "profiled")
COMPILE_COLUMNS = ("phase", "time_s")


def activity(ticks: PhaseTicks) -> pd.DataFrame:
    """The share of each component in each thread's ticks, by slice of about one second: ACTIVITY_COLUMNS.

    ``start_s``: since the start of the first block; ``ticks``: of the thread in the slice. The shares of a
    slice sum to 1. Threads of the same role are combined.
    """
    names, start_s = ticks.catalog.names, _start_s(ticks.phase)
    rows = []
    for block in ticks.blocks:
        edges = slice_edges(block.block)
        counts: dict[tuple[str, str], np.ndarray] = {}
        for thread in block.threads:
            key = thread.role.process, thread.role.thread
            of_role = counts.setdefault(key, np.zeros((len(edges) - 1, len(names)), dtype=np.int64))
            at_s = block.tick_s[block.ticks - len(thread.components) :]
            np.add.at(of_role, (np.searchsorted(edges[1:-1], at_s, side="right"), thread.components), 1)
        for (process, thread_name), of_role in counts.items():
            for slice_number, component in np.argwhere(of_role):
                total = int(of_role[slice_number].sum())
                begin_s, end_s = edges[slice_number], edges[slice_number + 1]
                share = float(of_role[slice_number, component]) / total
                common = (ticks.phase.name, process, thread_name, float(begin_s - start_s))
                rows.append((*common, float(end_s - begin_s), names[component], share, total))
    return pd.DataFrame(rows, columns=list(ACTIVITY_COLUMNS))


def blocks(phase: Phase) -> pd.DataFrame:
    """The blocks of a phase: BLOCK_COLUMNS, seconds since the start of the first one."""
    start_s = _start_s(phase)
    rows = [
        (phase.name, block.number, block.start_s - start_s, block.stop_s - start_s, block.profiled)
        for block in phase.record.blocks
    ]
    return pd.DataFrame(rows, columns=list(BLOCK_COLUMNS))


def compiles(phase: Phase, log: pd.DataFrame) -> pd.DataFrame:
    """When the server compiled during the blocks, by its log: COMPILE_COLUMNS."""
    happened = events(within(phase, log), "compile") if phase.record.blocks else events(log[:0], "compile")
    return pd.DataFrame({"phase": phase.name, "time_s": happened["time_ns"] / 1e9 - _start_s(phase)})


def _start_s(phase: Phase) -> float:
    return phase.record.blocks[0].start_s if phase.record.blocks else phase.record.started_s
