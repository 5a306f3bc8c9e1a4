"""The requests of a phase, ready for analysis: the block each belongs to, and what happened to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.engines.sglang_jax_analysis import LOG_EVENTS
from scoreprof_nb.run_folder.records import Block, Load
from scoreprof_nb.run_folder.store import Phase


@dataclass(frozen=True)
class MeasuredRequests:
    """``table``: one row per request after the warm-up, in the order of sending.

    Columns of requests.parquet, and: ``latency_ms``, ``client_cpu_ms`` (float), ``ok`` (bool),
    ``block`` (int, -1: within none completely), ``profiled`` and ``plain`` (bool: py-spy was recording, or
    was off; neither where py-spy failed), ``prefills`` (number of prefill batches, Int64, <NA> if not
    known), ``compile_hit`` and ``split`` (boolean, <NA> if not known).
    """

    table: pd.DataFrame

    @property
    def failed(self) -> int:
        """The number of requests without an answer."""
        return int((~self.table["ok"]).sum())

    @property
    def failed_share(self) -> float:
        return self.failed / max(len(self.table), 1)

    def succeeded(self) -> pd.DataFrame:
        """The successful requests that lie within a block completely."""
        return self.table[self.table["ok"] & (self.table["block"] >= 0)]

    def profiled(self) -> pd.DataFrame:
        """The successful requests in blocks with py-spy."""
        succeeded = self.succeeded()
        return succeeded[succeeded["profiled"]]

    def plain(self) -> pd.DataFrame:
        """The successful requests in blocks without py-spy."""
        succeeded = self.succeeded()
        return succeeded[succeeded["plain"]]

    def answered_within(self, blocks: Sequence[Block]) -> pd.DataFrame:
        """The successful requests sent and answered from the start of the first block to the end of the last
        one, as the log's lines that ``within`` gives: those between two blocks too."""
        start_ns, stop_ns = blocks[0].start_s * 1e9, blocks[-1].stop_s * 1e9
        table = self.table
        return table[table["ok"] & (table["sent_ns"] >= start_ns) & (table["done_ns"] <= stop_ns)]


def measured_requests(phase: Phase, log: pd.DataFrame, load: Load) -> MeasuredRequests:
    """The requests of a phase. ``log``: the server's, columns time_ns and text.

    With planned sending times the latency counts from the planned one: a request that is sent late has
    already waited. Requests that were repeated to compare their scores are not part of the load.

    If the log has no prefill batch of the phase, as with a log level above info, it is not known which
    requests were split or hit by a compile.
    """
    counted = ~phase.requests["warmup"] & ~phase.requests["repeat"]
    start = "sent_ns" if load.loop == "closed" else "intended_ns"
    table = phase.requests[counted].sort_values(start, ignore_index=True).copy()
    table["latency_ms"] = (table["done_ns"] - table[start]) / 1e6
    table["client_cpu_ms"] = table["client_cpu_ns"] / 1e6
    table["ok"] = table["error"].isna()
    table["block"] = -1
    table["profiled"] = False
    table["plain"] = False
    for block in phase.record.blocks:
        until_s = block.stop_s if block.until_s is None else block.until_s
        sent_in_time = table[start].between(block.start_s * 1e9, until_s * 1e9)
        inside = sent_in_time & (table["done_ns"] <= block.stop_s * 1e9)
        table.loc[inside, "block"] = block.number
        table.loc[inside, "profiled"] = block.profiled
        table.loc[inside, "plain"] = block.plain
    known = _has_batches(phase, log)
    compiles = _counts(table, events(log, "compile")) if known else None
    prefills = _counts(table, events(log, "prefill")) if known and load.concurrency == 1 else None
    table["prefills"] = _column(prefills, len(table))
    table["compile_hit"] = _column(compiles, len(table)) > 0
    table["split"] = table["prefills"] > 1
    return MeasuredRequests(table)


def within(phase: Phase, log: pd.DataFrame) -> pd.DataFrame:
    """The log's rows between the start of the first and the end of the last block of a phase."""
    start, stop = phase.record.blocks[0].start_s * 1e9, phase.record.blocks[-1].stop_s * 1e9
    return log[(log["time_ns"] >= start) & (log["time_ns"] <= stop)]


def _has_batches(phase: Phase, log: pd.DataFrame) -> bool:
    """Whether the log shows a prefill batch of the phase: every answered request needs one."""
    return bool(phase.record.blocks) and not events(within(phase, log), "prefill").empty


def events(log: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The events of one kind in the server's log: columns time_ns, count.

    ``kind``: prefill (count: sequences in the batch), decode or compile (count: programs compiled).
    """
    pattern = LOG_EVENTS[kind]
    rows = [
        (time_ns, int(match[1] or 0))
        for time_ns, text in zip(log["time_ns"], log["text"], strict=True)
        if (match := pattern.search(text))
    ]
    return pd.DataFrame(rows, columns=["time_ns", "count"]).astype("int64")


def _counts(table: pd.DataFrame, happened: pd.DataFrame) -> NDArray[np.int64]:
    """How many events lie between sending each request and its response."""
    times = np.sort(happened["time_ns"].to_numpy())
    first = np.searchsorted(times, table["sent_ns"].to_numpy(), side="left")
    last = np.searchsorted(times, table["done_ns"].to_numpy(), side="right")
    return (last - first).astype(np.int64)


def _column(counts: NDArray[np.int64] | None, n: int) -> "pd.Series[int]":
    return pd.Series(counts if counts is not None else [pd.NA] * n, dtype="Int64")
