"""Which thread works while another one of its process wants to, and cannot run.

Only one thread of a process runs Python at a time: it holds the GIL. A thread whose stack shows work that
needs no device, and that neither runs nor waits for a core, waits for something; if another thread of
its process works at that moment, on a core or in want of one, it most probably waits for the GIL, which a
thread keeps while it waits for a core.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.cpu_counters import Floats
from scoreprof_nb.analysis.thread_states import BlockStates, TickStates
from scoreprof_nb.components.component import Catalog

PAIR_COLUMNS = (
    *("phase", "process", "thread", "component", "holder", "holder_component", "ms"),
    *("off_cpu_ms", "off_low", "off_high", "requests"),
)


def blocked_pairs(states: tuple[BlockStates, ...], table: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """For each component in which a thread could not run, the threads that worked: columns PAIR_COLUMNS.

    ``table``: from ``state_table``. ``thread`` in ``component`` could not run for ``ms`` per request while
    the thread ``holder`` of its process worked in ``holder_component``; ``off_cpu_ms``, ``off_low``,
    ``off_high``: for all reasons, as in ``table``. Needs threads on common ticks. Largest first.
    """
    n = len(catalog.names)
    off_s: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(n))
    while_s: dict[tuple[str, str, str], Floats] = defaultdict(lambda: np.zeros((n, n)))
    for of_block in states:
        if of_block.block.aligned:
            for state in of_block.threads:
                role, components = state.thread.role, state.thread.components
                np.add.at(off_s[role.process, role.thread], components, _blocked(state, catalog))
                for holder, doing, seconds in _while_others_ran(state, of_block, catalog):
                    np.add.at(while_s[role.process, role.thread, holder], (components, doing), seconds)
    rows = []
    for row in table.to_dict("records"):
        process, thread, index = row["process"], row["thread"], catalog.index[row["component"]]
        total = off_s[process, thread][index]
        for (of_process, of_thread, holder), matrix in while_s.items():
            if (of_process, of_thread) == (process, thread) and total > 0:
                common = (row["phase"], process, thread, row["component"], holder)
                rows += [
                    (*common, catalog.names[other], ms, *(row[name] for name in PAIR_COLUMNS[7:]))
                    for other, ms in enumerate(matrix[index] / total * row["off_cpu_ms"])
                    if ms > 0
                ]
    result = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    return result.sort_values("ms", ascending=False, kind="stable", ignore_index=True)


def _blocked(state: TickStates, catalog: Catalog) -> Floats:
    """By tick: the share in which the thread could not run, though its stack shows work of the host."""
    wants_to_run = (catalog.work & ~catalog.waiting)[state.thread.components]
    return np.where(wants_to_run, state.off_cpu, 0.0)


def _while_others_ran(
    state: TickStates, of_block: BlockStates, catalog: Catalog
) -> Iterator[tuple[str, NDArray[np.int64], Floats]]:
    """For each other thread of the process: its role, its component by tick, and by tick the share in which
    it held a core, or wanted one, and this thread did neither."""
    n = len(state.on_cpu)
    pid, tid = state.thread.pid, state.thread.tid
    others = [one for one in of_block.threads if one.thread.pid == pid and one.thread.tid != tid]
    ran = [
        _last(np.where(catalog.waiting[one.thread.components], 0.0, 1.0 - one.off_cpu), n) for one in others
    ]
    together = np.maximum(sum(ran, np.zeros(n)), 1.0)
    for other, running in zip(others, ran, strict=True):
        doing = _last(other.thread.components.astype(np.float64), n).astype(np.int64)
        yield other.thread.role.thread, doing, _blocked(state, catalog) * running / together


def _last(values: Floats, n: int) -> Floats:
    """The last ``n`` values; zeros in front where there are fewer."""
    return np.concatenate([np.zeros(max(n - len(values), 0)), values[max(len(values) - n, 0) :]])
