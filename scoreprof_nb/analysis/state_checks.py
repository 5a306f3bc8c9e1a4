"""Checks of the threads' states, and of the server's CPU quota."""

from collections import defaultdict

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.analysis.thread_states import BlockStates
from scoreprof_nb.analysis.ticks import PhaseTicks
from scoreprof_nb.run_folder.records import CpuQuota

_TOLERANCE = 1e-6
# The kernel updates the counters of a running thread once per timer tick, at most 10 ms; each of the two
# sources reads twice per block.
_TICK_S, _RELATIVE = 0.010, 0.02


def state_checks(ticks: PhaseTicks, states: tuple[BlockStates, ...], table: pd.DataFrame) -> list[Check]:
    """``states``, ``table``: from ``thread_states.phase_states`` and ``state_table``."""
    return [
        _sum_law(ticks, states, table),
        _kernel_check(ticks, states),
        _quota_check(ticks.phase.name, ticks.phase.record.cpu_quota),
    ]


def _sum_law(ticks: PhaseTicks, states: tuple[BlockStates, ...], table: pd.DataFrame) -> Check:
    name = "on CPU, waiting for a core and neither sum to the ticks at work"
    if table.empty:
        return Check(ticks.phase.name, name, None, "the kernel's counters were not read")
    at_work_s: dict[tuple[str, str], float] = defaultdict(float)
    for of_block in states:
        block = of_block.block
        for thread in block.threads:
            if (thread.pid, thread.tid) in of_block.counters:
                at_work = int(ticks.catalog.work[thread.components].sum())
                key = thread.role.process, thread.role.thread
                at_work_s[key] += at_work / max(block.ticks, 1) * block.block.wall_s
    parts_ms = table["on_cpu_ms"] + table["runnable_ms"] + table["off_cpu_ms"]
    summed_s = (parts_ms * table["requests"] / 1e3).groupby([table["process"], table["thread"]]).sum()
    off = {key: abs(summed_s.get(key, 0.0) - seconds) for key, seconds in at_work_s.items()}
    worst = max(off, key=lambda key: off[key])
    passed = bool(np.isclose(off[worst], 0.0, atol=_TOLERANCE * max(sum(at_work_s.values()), 1.0)))
    total_s = sum(at_work_s.values())
    text = f"{float(summed_s.sum()):.3f} s of {total_s:.3f} s of {len(off)} threads"
    return Check(
        ticks.phase.name, name, passed, text if passed else f"{text}; {' / '.join(worst)}: {off[worst]:.3f} s"
    )


def _kernel_check(ticks: PhaseTicks, states: tuple[BlockStates, ...]) -> Check:
    """The counters read per slot against those read before and after each block (threads.parquet)."""
    name = "CPU time read per slot agrees with that of the whole blocks"
    threads = ticks.phase.threads
    per_slot_s = whole_s = allowed_s = 0.0
    for of_block in states:
        block = of_block.block.block
        for row in threads[threads["block"] == block.number].to_dict("records"):
            known = of_block.counters.get((row["pid"], row["tid"]))
            used_s = row["cpu_after_s"] - row["cpu_before_s"]
            if known is not None and used_s == used_s:
                edges = np.array([block.start_s, block.stop_s])
                read_s = float(known.between(edges)[0][0])
                per_slot_s, whole_s = per_slot_s + read_s, whole_s + used_s
                allowed_s += 2 * _TICK_S if max(read_s, used_s) > 0 else 0.0
    if whole_s == 0:
        return Check(ticks.phase.name, name, None, "the kernel's counters were not read")
    passed = abs(per_slot_s - whole_s) <= _RELATIVE * whole_s + allowed_s
    return Check(ticks.phase.name, name, passed, f"{per_slot_s:.3f} s of {whole_s:.3f} s")


def _quota_check(phase: str, quota: CpuQuota | None) -> Check:
    name = "the CPU quota never stopped the server"
    if quota is None:
        return Check(phase, name, None, "no control group with a CPU quota can be seen")
    limit = (
        "no quota is set"
        if quota.quota_s is None or not quota.period_s
        else f"the quota is {quota.quota_s / quota.period_s:g} CPUs"
    )
    text = (
        f"stopped in {quota.throttled_periods} of {quota.periods} periods, for {quota.throttled_s:.3f} s "
        f"of CPU time; {limit}"
    )
    return Check(phase, name, quota.throttled_periods == 0, text)
