"""The host's memory that each process of the server uses, and whether it grows with the requests."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.distributions import theil_sen
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.components.classify import process_role
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.run_folder.store import Phase

GROWTH = ("growth_mb", "growth_low", "growth_high")  # per 1,000 requests, with its 95 % interval
COLUMNS = ("phase", "process", "pid", "first_mb", "last_mb", "most_mb", *GROWTH)
SAMPLE_COLUMNS = ("phase", "process", "pid", "time_s", "rss_mb")
SHORTEST_S = 10.0
_MB = 1e6


def memory(phase: Phase, requests: MeasuredRequests, rules: RuleSet) -> pd.DataFrame:
    """A row per process of the server: COLUMNS. Empty for a run whose memory was not recorded.

    Memory is the resident set size in megabytes; pages that processes share count for each of them. Growth
    is the slope over the second half of the measured blocks, by Theil and Sen: the median of the slopes
    between all pairs of samples, which one late allocation does not move. NaN where it is not known.
    """
    commands = {process.pid: process.command for process in phase.record.processes}
    blocks = phase.record.blocks
    per_s = len(requests.table) / (blocks[-1].stop_s - blocks[0].start_s) if blocks else 0.0
    rows = []
    for pid in phase.memory["pid"].drop_duplicates().tolist():
        samples = phase.memory[phase.memory["pid"] == pid]
        role = process_role(rules, commands.get(pid, ""))
        if role.excluded:
            continue
        time_s = samples["time_ns"].to_numpy(dtype=np.float64) / 1e9
        rss_mb = samples["rss_bytes"].to_numpy(dtype=np.float64) / _MB
        of_process = (phase.name, role.process, pid, rss_mb[0], rss_mb[-1], rss_mb.max())
        rows.append((*of_process, *_growth(time_s, rss_mb, per_s)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def memory_samples(phase: Phase, rules: RuleSet) -> pd.DataFrame:
    """Every sample of the server's processes: SAMPLE_COLUMNS; ``time_s``: since the phase's first one."""
    commands = {process.pid: process.command for process in phase.record.processes}
    roles = {pid: process_role(rules, commands.get(pid, "")) for pid in phase.memory["pid"].drop_duplicates()}
    shown = phase.memory[~phase.memory["pid"].isin([pid for pid, role in roles.items() if role.excluded])]
    start_ns = shown["time_ns"].min() if len(shown) else 0
    table = pd.DataFrame(
        {
            "phase": phase.name,
            "process": [roles[pid].process for pid in shown["pid"]],
            "pid": shown["pid"].to_numpy(),
            "time_s": (shown["time_ns"].to_numpy() - start_ns) / 1e9,
            "rss_mb": shown["rss_bytes"].to_numpy() / _MB,
        }
    )
    return table[list(SAMPLE_COLUMNS)]


def _growth(
    time_s: NDArray[np.float64], rss_mb: NDArray[np.float64], requests_per_s: float
) -> tuple[float, float, float]:
    """MB per 1,000 requests: the slope, and its 95 % interval."""
    if time_s[-1] - time_s[0] < SHORTEST_S or not requests_per_s:
        return math.nan, math.nan, math.nan
    later = time_s >= (time_s[0] + time_s[-1]) / 2
    line = theil_sen(time_s[later], rss_mb[later], CONFIDENCE)
    slope, low, high = (mb_per_s * 1000 / requests_per_s for mb_per_s in (line.value, line.low, line.high))
    return slope, low, high
