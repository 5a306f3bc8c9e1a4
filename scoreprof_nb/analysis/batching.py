"""Batches and compiles, according to the server's log."""

import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests, events, within
from scoreprof_nb.engines.sglang_jax_analysis import DECODE_LOG_INTERVAL
from scoreprof_nb.run_folder.store import Phase

COLUMNS = ("phase", "new_sequences", "batches")


def prefill_batches(phase: Phase, log: pd.DataFrame) -> pd.DataFrame:
    """Prefill batches by their number of sequences: columns phase, new_sequences, batches."""
    counts = events(within(phase, log), "prefill")["count"].value_counts().sort_index()
    return pd.DataFrame({"phase": phase.name, "new_sequences": counts.index, "batches": counts.to_numpy()})


def batching_row(phase: Phase, log: pd.DataFrame, requests: MeasuredRequests) -> dict[str, object]:
    """One row of the batching table; None where the log does not show it.

    Keys: phase, requests, prefill_batches, prefills_per_request, split, decode_batches_at_least,
    decode_batches_at_most, compiles, compile_hit.
    """
    table = requests.table
    inside = within(phase, log)
    prefills = len(events(inside, "prefill"))
    known = prefills > 0  # every answered request needs one: a log without any shows nothing
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
    """The least and the greatest possible number of decode steps; ``inside``: the log's rows of the phase.

    The server logs every n-th step, and those that compiled. An n-th step that compiled looks like any
    other that compiled, so the greatest number may, rarely, be too small by n.
    """
    lines = events(inside, "decode")
    before = log.loc[log["time_ns"] <= phase.record.blocks[0].start_s * 1e9, "text"]
    intervals = before.str.extract(DECODE_LOG_INTERVAL, expand=False).dropna()
    if intervals.empty:
        return len(lines), None
    n = int(intervals.iloc[-1])
    regular = int((lines["count"] == 0).sum())
    return max(len(lines), (regular - 1) * n + 1), max(len(lines), (regular + 1) * n - 1)
