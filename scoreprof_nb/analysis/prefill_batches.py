"""Which requests each prefill batch holds, by the server's log.

The log says when a batch starts, how many sequences it holds (one per item) and how many are left in the
scheduler's queue. Sequences are served in the order in which their requests were sent, so counting them
is enough: no identities are needed. Where the counts contradict this, the result is a reason.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.engines.sglang_jax_analysis import LOG_EVENTS, QUEUED_SEQUENCES
from scoreprof_nb.run_folder.store import Phase

OUT_OF_ORDER_SHARE = 0.02  # of the requests; more is not first come, first served
# Of the median latency: how late the kit may read a line of the log, because the machine is busy. A batch of
# another request, or one too early or late, is further away.
LINE_DELAY = 0.5
_REJECTED = re.compile("^http_4")  # such a request has no sequences


@dataclass(frozen=True)
class PrefillBatches:
    """The batches of a phase in order, and the place of each request of a table among them.

    By batch: ``start_s`` (epoch), ``queued`` (the number of sequences handed over to the scheduler by
    then, those of earlier batches included; -1 if the log does not say). By request: ``first`` and
    ``last`` (the number of the batch with its first and with its last sequence, -1 for none) and
    ``sequences`` (the number of sequences up to and including its own).
    """

    start_s: NDArray[np.float64]
    queued: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    sequences: NDArray[np.int64]


def prefill_batches(phase: Phase, log: pd.DataFrame, requests: pd.DataFrame) -> PrefillBatches | str:
    """The batches of all requests of a phase (warm-up included), or why they are not known.

    ``requests``: in the order of sending; columns sent_ns, done_ns, items, error.
    """
    start_ns, sizes, queued = _logged(phase, log)
    if requests.empty or not len(sizes):
        return "the server's log shows no prefill batch"
    inside = (start_ns >= requests["sent_ns"].min()) & (start_ns <= requests["done_ns"].max())
    start_ns, sizes, queued = start_ns[inside], sizes[inside], queued[inside]
    rejected = requests["error"].fillna("").str.match(_REJECTED).to_numpy()
    items = np.where(rejected, 0, requests["items"].to_numpy(dtype=np.int64))
    if items.sum() != sizes.sum():
        return (
            f"the server's log shows {sizes.sum()} sequences in prefill batches, and {items.sum()} were "
            "sent: chunked prefill, retracted sequences or requests of other clients"
        )
    through = np.cumsum(items)
    ends = np.cumsum(sizes)
    first = np.searchsorted(ends, through - items, side="right")
    last = np.searchsorted(ends, through, side="left")
    known = items > 0
    sent_ns, done_ns = (requests[name].to_numpy(dtype=np.int64)[known] for name in ("sent_ns", "done_ns"))
    delay_ns = LINE_DELAY * float(np.median(done_ns - sent_ns)) if known.any() else 0.0
    late = start_ns[first[known]] > done_ns + delay_ns
    early = start_ns[last[known]] < sent_ns
    if (late | early).mean() > OUT_OF_ORDER_SHARE:
        return (
            f"{(late | early).mean():.0%} of the requests were answered before a batch for them started, or "
            "sent after it: they are not served first come, first served"
        )
    np.minimum.at(start_ns, first[known], done_ns)  # a line that was read late
    start_ns = np.minimum.accumulate(start_ns[::-1])[::-1]
    return PrefillBatches(
        start_s=start_ns / 1e9,
        queued=np.where(queued >= 0, ends + queued, -1),
        first=np.where(known, first, -1),
        last=np.where(known, last, -1),
        sequences=through,
    )


def _logged(
    phase: Phase, log: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each batch logged during the phase: epoch nanoseconds, sequences in it, and left in the queue."""
    start_ns, stop_ns = phase.record.started_s * 1e9, phase.record.finished_s * 1e9
    inside = log[(log["time_ns"] >= start_ns) & (log["time_ns"] <= stop_ns)]
    rows = []
    for time_ns, text in zip(inside["time_ns"], inside["text"], strict=True):
        if match := LOG_EVENTS["prefill"].search(text):
            left = QUEUED_SEQUENCES.search(text)
            rows.append((time_ns, int(match[1]), int(left[1]) if left else -1))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]
