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
    busy = (table["share"] * works).groupby([table["process"], table["thread"]], sort=False).sum()
    return [(str(process), str(thread)) for (process, thread), share in busy.items() if share == 0]


def idle_line(analysis: RunAnalysis) -> str:
    """``process / thread`` of the threads that never work, as plain text; empty without one."""
    names = [f"{process} / {thread}" for process, thread in idle_threads(analysis)]
    return f"Never working in any phase: {', '.join(names)}." if names else ""
