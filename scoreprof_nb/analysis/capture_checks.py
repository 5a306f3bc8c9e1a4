"""Checks of a phase's capture as a whole: that it was not cut off, and that nobody set the clock."""

from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.run_folder.records import PhaseRecord

SHOWN_STEPS = 3


def capture_checks(record: PhaseRecord) -> list[Check]:
    """Of one phase. Older versions recorded neither."""
    return [_whole_check(record), _clock_check(record)]


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
