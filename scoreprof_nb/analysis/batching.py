"""Batches and compiles, as the server's log tells of them."""

import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests, events
from scoreprof_nb.run import Phase

COLUMNS = ("phase", "new_sequences", "batches")


def within(phase: Phase, log: pd.DataFrame) -> pd.DataFrame:
    """The log's rows between the start of the first and the end of the last block of a phase."""
    start, stop = phase.record.blocks[0].start_s * 1e9, phase.record.blocks[-1].stop_s * 1e9
    return log[(log["time_ns"] >= start) & (log["time_ns"] <= stop)]


def prefill_batches(phase: Phase, log: pd.DataFrame) -> pd.DataFrame:
    """How many prefill batches had how many sequences: columns phase, new_sequences, batches."""
    counts = events(within(phase, log), "prefill")["count"].value_counts().sort_index()
    return pd.DataFrame({"phase": phase.name, "new_sequences": counts.index, "batches": counts.to_numpy()})


def batching_row(phase: Phase, log: pd.DataFrame, requests: MeasuredRequests) -> dict[str, object]:
    """One row of the batching table; None where the log is not known.

    Keys: phase, requests, prefill_batches, prefills_per_request, split, decode_batches_logged,
    compiles, compile_hit. The server logs a decode step only now and then, so decode batches are a
    lower bound.
    """
    table = requests.table
    inside = within(phase, log)
    known = not log.empty
    prefills = len(events(inside, "prefill"))
    return {
        "phase": phase.name,
        "requests": len(table),
        "prefill_batches": prefills if known else None,
        "prefills_per_request": float(table["prefills"].mean()) if table["prefills"].notna().any() else None,
        "split": int(table["split"].sum()) if table["split"].notna().any() else None,
        "decode_batches_logged": len(events(inside, "decode")) if known else None,
        "compiles": int(events(inside, "compile")["count"].sum()) if known else None,
        "compile_hit": int(table["compile_hit"].sum()) if table["compile_hit"].notna().any() else None,
    }
