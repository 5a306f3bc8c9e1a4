"""What the report says of threads at work: they ran, they waited for a core, or neither."""

from collections.abc import Iterator

import pandas as pd

from scoreprof_nb.analysis.activity import (
    ACTIVITY_COLUMNS,
    BLOCK_COLUMNS,
    COMPILE_COLUMNS,
    activity,
    blocks,
    compiles,
)
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, concat_tables
from scoreprof_nb.report.format import escape_markdown, milliseconds, number, with_interval
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.profile_tables import timeline_table

SMALLEST_SHARE = 0.01  # of the mean latency of the profiled requests
SHOWN_COMPONENTS = 3
_TIMES = ("work_ms", "on_cpu_ms", "runnable_ms", "off_cpu_ms")
_EXPLANATION = (
    "What each thread at work did, by the kernel's counters: it ran on a CPU, it waited for a core, or "
    "neither. A thread that does neither waits for the GIL, a lock, a page, or, in `device_wait`, for the "
    "device. The three sum to its ticks at work."
)


def states_markdown(report: Report) -> str:
    """Markdown: how to read the table, who kept whom from running, and each phase's CPU quota."""
    phases = report.analysis.phases
    pairs = [sentence for phase in phases for sentence in blocked_sentences(phase)]
    lines = [f"- {escape_markdown(sentence)}" for sentence in pairs]
    if not lines and any(not phase.threads.states.empty for phase in phases):
        lines = ["- No thread was kept from running by another one for 1 % of a request or more."]
    quotas: dict[str, list[str]] = {}
    for phase in phases:
        quotas.setdefault(quota_sentence(phase), []).append(phase.name)
    lines += [f"- {escape_markdown(f'{", ".join(names)}: {text}')}" for text, names in quotas.items()]
    return "\n".join([_EXPLANATION, "", *lines])


def blocked_sentences(phase: PhaseAnalysis) -> Iterator[str]:
    """For each pair of threads of which one worked while the other, with something to do, could not.

    Named are pairs from SMALLEST_SHARE of a request on, where the time in which the component could not run
    is more than the noise.
    """
    profiled = phase.latency.table.set_index("which").loc["with py-spy"]
    for row in phase.threads.blocked.to_dict("records"):
        if row["off_low"] > 0 and row["ms"] >= SMALLEST_SHARE * profiled["mean_ms"]:
            yield (
                f"{phase.name}: {row['process']} / {row['thread']} could not run in {row['component']} for "
                f"{milliseconds(row['ms'])} per request while {row['process']} / {row['holder']} worked in "
                f"{row['holder_component']}: the two share one GIL (in all, it could not run there for "
                f"{with_interval(row['off_cpu_ms'], row['off_low'], row['off_high'], ' ms')})"
            )


def quota_sentence(phase: PhaseAnalysis) -> str:
    """Whether the container's CPU quota stopped the server, in words."""
    quota = phase.phase.record.cpu_quota
    if quota is None:
        return "CPU quota not known"
    cpus = quota.quota_s / quota.period_s if quota.quota_s and quota.period_s else None
    limit = "no CPU quota is set" if cpus is None else f"a CPU quota of {cpus:g} CPUs"
    if quota.throttled_periods == 0:
        return limit if cpus is None else f"{limit}; it never stopped the server"
    return (
        f"{limit}; it stopped the server in {quota.throttled_periods} of {quota.periods} periods, for "
        f"{quota.throttled_s:.2f} s of CPU time: raise the limit, or the latencies are the quota's"
    )


def timeline_tables(report: Report) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What ``plots.plot_timeline`` draws: activity by second, blocks, requests and compiles of all phases."""
    phases = report.analysis.phases
    return (
        concat_tables([activity(phase.ticks) for phase in phases], ACTIVITY_COLUMNS),
        concat_tables([blocks(phase.phase) for phase in phases], BLOCK_COLUMNS),
        timeline_table(report),
        concat_tables([compiles(phase.phase, report.analysis.run.log) for phase in phases], COMPILE_COLUMNS),
    )


def thread_times(states: pd.DataFrame) -> pd.DataFrame:
    """The states summed over components: columns phase, process, thread, work_ms, on_cpu_ms, runnable_ms,
    off_cpu_ms (ms per request, at work)."""
    return states.groupby(["phase", "process", "thread"], sort=False)[list(_TIMES)].sum().reset_index()


def states_table(report: Report) -> pd.DataFrame:
    """One row per thread and phase, milliseconds per request at work, and the components with most of the
    time in which the thread did neither (95 % interval)."""
    states = report.analysis.table("states")
    rows = []
    for times in thread_times(states).to_dict("records"):
        keys = ["phase", "process", "thread"]
        of_thread = states[(states[keys] == [times[key] for key in keys]).all(axis=1)]
        largest = of_thread[of_thread["off_cpu_ms"] > 0].nlargest(SHOWN_COMPONENTS, "off_cpu_ms")
        text = ", ".join(
            f"{row['component']} {with_interval(row['off_cpu_ms'], row['off_low'], row['off_high'])}"
            for row in largest.to_dict("records")
        )
        rows.append((*(times[key] for key in keys), *(number(times[name], 2) for name in _TIMES), text))
    columns = ["phase", "process", "thread", "at work ms", "on CPU ms", "waiting for a core ms", "neither ms"]
    return pd.DataFrame(rows, columns=[*columns, "most of neither in, ms (95 % interval)"])
