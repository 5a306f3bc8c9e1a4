"""Batches and compiles, as the server's log tells of them."""

import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests, events, within
from scoreprof_nb.run_folder.store import Phase

COLUMNS = ("phase", "new_sequences", "batches")


def prefill_batches(phase: Phase, log: pd.DataFrame) -> pd.DataFrame:
    """How many prefill batches had how many sequences: columns phase, new_sequences, batches."""
    counts = events(within(phase, log), "prefill")["count"].value_counts().sort_index()
    return pd.DataFrame({"phase": phase.name, "new_sequences": counts.index, "batches": counts.to_numpy()})


def batching_row(phase: Phase, log: pd.DataFrame, requests: MeasuredRequests) -> dict[str, object]:
    """One row of the batching table; None where the log is not known.

    Keys: phase, requests, prefill_batches, prefills_per_request, split, decode_batches_at_least,
    decode_batches_at_most, compiles, compile_hit.
    """
    table = requests.table
    inside = within(phase, log)
    prefills = len(events(inside, "prefill"))
    known = prefills > 0  # every answered request needs one: without any, the log does not tell
    at_least, at_most = _decode_batches(phase, log, inside) if known else (None, None)
    return {
        "phase": phase.name,
        "requests": len(table),
        "prefill_batches": prefills if known else None,
        "prefills_per_request": float(table["prefills"].mean()) if table["prefills"].notna().any() else None,
        "split": int(table["split"].sum()) if table["split"].notna().any() else None,
        "decode_batches_at_least": at_least,
        "decode_batches_at_most": at_most,
        "compiles": int(events(inside, "compile")["count"].sum()) if known else None,
        "compile_hit": int(table["compile_hit"].sum()) if table["compile_hit"].notna().any() else None,
    }


def _decode_batches(phase: Phase, log: pd.DataFrame, inside: pd.DataFrame) -> tuple[int, int | None]:
    """How many decode steps the phase had, at least and at most; ``inside``: the log's rows of the phase.

    The server logs each n-th, and those that compiled (process_batch_result_decode in its
    scheduler_output_processor_mixin.py); n is the ``decode_log_interval`` it names when it starts. An
    n-th that compiled cannot be told from the others, so ``at most`` may rarely be n too small.
    """
    lines = events(inside, "decode")
    before = log.loc[log["time_ns"] <= phase.record.blocks[0].start_s * 1e9, "text"]
    intervals = before.str.extract(r"\bdecode_log_interval=([1-9]\d*)", expand=False).dropna()
    if intervals.empty:
        return len(lines), None
    n = int(intervals.iloc[-1])
    regular = int((lines["count"] == 0).sum())
    return max(len(lines), (regular - 1) * n + 1), max(len(lines), (regular + 1) * n - 1)
