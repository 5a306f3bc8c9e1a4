"""Checks of a phase's capture as a whole: not cut off, no clock set, no pause of the whole machine."""

from itertools import pairwise

import numpy as np

from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.run_folder.records import PhaseRecord
from scoreprof_nb.run_folder.store import Phase

SHOWN_STEPS = 3
PAUSED_S = 3.0  # between two samples of the memory, which are a second apart; a busy machine is late by less


def capture_checks(phase: Phase) -> list[Check]:
    """Of one phase. Older versions recorded less."""
    return [_whole_check(phase.record), _clock_check(phase.record), _pause_check(phase)]


def _whole_check(record: PhaseRecord) -> Check:
    name = "every planned block was measured"
    planned, measured = record.planned_blocks, len(record.blocks)
    if planned is None:
        return Check(record.name, name, None, "not recorded by the version that captured this run")
    text = f"{measured} of {planned}"
    if record.cut_off:
        measured_s = sum(block.wall_s for block in record.blocks)
        text += f", {measured_s:.0f} s: the capture was cut off; the results cover these blocks"
    return Check(record.name, name, not record.cut_off, text)


def _clock_check(record: PhaseRecord) -> Check:
    name = "the machine's clock was not set"
    steps = record.clock_steps
    if steps is None:
        return Check(record.name, name, None, "not recorded by the version that captured this run")
    start_s = record.blocks[0].start_s if record.blocks else record.started_s
    shown = ", ".join(
        f"{by_s:+.1f} s {at_s - start_s:.0f} s after the start" for at_s, by_s in steps[:SHOWN_STEPS]
    )
    more = f" and {len(steps) - SHOWN_STEPS} more" if len(steps) > SHOWN_STEPS else ""
    text = f"set by {shown}{more}; the run's own times do not follow it" if steps else "it was not"
    return Check(record.name, name, not steps, text)


def _pause_check(phase: Phase) -> Check:
    """The kit itself stood still, as when a virtual machine is suspended, or a process group is stopped."""
    name = "the capture was never paused"
    times_s = np.unique(phase.memory["time_ns"].to_numpy(dtype=np.float64)) / 1e9
    blocks = phase.record.blocks
    if len(times_s) < 2 or not blocks:
        return Check(phase.name, name, None, "not recorded by the version that captured this run")
    pauses = [
        f"{after_s - before_s:.1f} s, {before_s - blocks[0].start_s:.0f} s after the start"
        for before_s, after_s in pairwise(times_s.tolist())
        if after_s - before_s > PAUSED_S
        and any(before_s < block.stop_s and block.start_s < after_s for block in blocks)
    ]
    more = f", and {len(pauses) - SHOWN_STEPS} more" if len(pauses) > SHOWN_STEPS else ""
    text = (
        f"for {'; '.join(pauses[:SHOWN_STEPS])}{more}: latencies and paths include it"
        if pauses
        else "it was not"
    )
    return Check(phase.name, name, not pauses, text)
