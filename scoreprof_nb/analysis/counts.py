"""How many requests there are of each sort, and whether the numbers add up.

A report shows many counts; each says what it counts, and this module checks that they agree.
"""

from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.analysis.requests import MeasuredRequests, events, within
from scoreprof_nb.run_folder.store import Phase


@dataclass(frozen=True)
class RequestCounts:
    """The measured requests of a phase, each counted once.

    ``plain``: answered, in a block without py-spy; ``profiled``: answered, in a block with py-spy;
    ``not_recorded``: answered, in a block in which py-spy failed; ``between``: answered, and in no block
    completely: it was sent while py-spy started or stopped; ``failed``: without an answer.

    The server's log is read from the start of the first block to the end of the last one: ``items`` are those
    of the requests that lie within, and ``sequences`` those of the prefill batches within, None if the log
    shows no batch. ``within``: how many requests these are.
    """

    phase: str
    sent: int
    plain: int
    profiled: int
    not_recorded: int
    between: int
    failed: int
    within: int
    items: int
    sequences: int | None


def request_counts(phase: Phase, requests: MeasuredRequests, log: pd.DataFrame) -> RequestCounts:
    """Count the requests of a phase. ``log``: the server's, columns time_ns and text."""
    table = requests.table
    in_block = table[table["ok"] & (table["block"] >= 0)]
    prefills = events(within(phase, log), "prefill")
    answered = requests.answered_within(phase.record.blocks)
    return RequestCounts(
        phase=phase.name,
        sent=len(table),
        plain=len(requests.plain()),
        profiled=len(requests.profiled()),
        not_recorded=int((~in_block["plain"] & ~in_block["profiled"]).sum()),
        between=int((table["ok"] & (table["block"] < 0)).sum()),
        failed=requests.failed,
        within=len(answered),
        items=int(answered["items"].sum()),
        sequences=None if prefills.empty else int(prefills["count"].sum()),
    )


def counts_check(counts: RequestCounts) -> Check:
    """Each request is counted once: the parts sum to what was sent."""
    parts = counts.plain + counts.profiled + counts.not_recorded + counts.between + counts.failed
    text = (
        f"{counts.sent:,} sent = {counts.plain:,} without py-spy + {counts.profiled:,} with py-spy"
        f"{_part(counts.not_recorded, 'where py-spy failed')}{_part(counts.between, 'outside the blocks')}"
        f"{_part(counts.failed, 'failed')}"
    )
    return Check(counts.phase, "the counts of requests add up", parts == counts.sent, text)


def sequences_check(counts: RequestCounts, concurrency: int | None) -> Check:
    """Every item is one sequence of a prefill batch. With several requests in flight some of them begin
    before the first block and have batches in it, and a long prompt is computed in several batches: then
    the check is not run."""
    name = "the items sent are the sequences that the server computed"
    if counts.sequences is None:
        return Check(counts.phase, name, None, "the server's log shows no batches")
    text = f"{counts.items:,} items in requests, {counts.sequences:,} sequences in prefill batches"
    if concurrency != 1 or counts.failed or counts.sequences > counts.items:  # more: long prompts in chunks
        return Check(counts.phase, name, None, text)
    return Check(counts.phase, name, counts.items == counts.sequences, text)


def _part(number: int, what: str) -> str:
    return f" + {number:,} {what}" if number else ""
