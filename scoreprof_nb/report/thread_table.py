"""What each thread does, with the threads that never work in one line."""

import pandas as pd

from scoreprof_nb.analysis.run_analysis import RunAnalysis

_KEYS = ["phase", "process", "thread"]


def working_threads(analysis: RunAnalysis) -> pd.DataFrame:
    """The rows of the threads table of the threads that work in at least one phase."""
    table = analysis.table("threads")
    idle = set(idle_threads(analysis))
    keep = [key not in idle for key in zip(table["process"], table["thread"], strict=True)]
    return table[keep]


def idle_threads(analysis: RunAnalysis) -> list[tuple[str, str]]:
    """Process and thread of those that only wait, in all phases."""
    table = analysis.table("threads")
    if table.empty:
        return []
    works = table["component"].map(lambda name: analysis.catalog[name].work)
    busy = table.assign(busy=table["share"] * works).groupby(["process", "thread"], sort=False)["busy"].sum()
    idle = busy[busy == 0].reset_index()
    return list(zip(idle["process"].map(str), idle["thread"].map(str), strict=True))


def idle_line(analysis: RunAnalysis) -> str:
    """``process / thread`` of the threads that never work, as plain text; empty without one."""
    names = [f"{process} / {thread}" for process, thread in idle_threads(analysis)]
    return f"Never working in any phase: {', '.join(names)}." if names else ""
