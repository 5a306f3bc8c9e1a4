"""The tables of a run's report."""

import pandas as pd

from scoreprof_nb.analysis import memory
from scoreprof_nb.analysis.latency import QUANTILES, Throughput
from scoreprof_nb.analysis.rule_matches import unclassified_table
from scoreprof_nb.report import format
from scoreprof_nb.report.findings import latency_with_interval
from scoreprof_nb.report.format import with_interval
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import see

THREAD_COMPONENTS = 5
_BATCHING_WORDS = {
    "prefill_batches": "prefill\nbatches",
    "prefills_per_request": "prefill batches\nper request",
    "split": "of all sent:\nsplit",
    "decode_batches_at_least": "decode steps,\nat least",
    "decode_batches_at_most": "decode steps,\nat most",
    "compiles": "programs\ncompiled",
    "compile_hit": "of all sent:\nhit by a\ncompile",
}
TIMELINE_COLUMNS = ("phase", "time_s", "latency_ms", "block", "profiled", "compile_hit", "split", "failed")


def latency_table(report: Report) -> pd.DataFrame:
    """Columns: phase, which requests, n, mean and percentiles in ms with their intervals, and, of all
    requests without py-spy, requests and items per second."""
    per_s = {phase.name: phase.latency.throughput for phase in report.analysis.phases}
    rows = [
        {
            "phase": row["phase"],
            "requests": row["which"],
            "n": row["requests"],
            **{f"{name} ms": latency_with_interval(row.to_dict(), name) for name in ("mean", *QUANTILES)},
            **_rates(per_s[row["phase"]] if row["which"] == "all" else None),
        }
        for _, row in report.analysis.table("latency").iterrows()
        if row["requests"] or row["which"] == "all"
    ]
    return pd.DataFrame(rows)


def latency_overview(report: Report) -> pd.DataFrame:
    """The rows of all requests without py-spy, one per phase."""
    table = report.analysis.table("latency")
    return table[table["which"] == "all"].drop(columns="which")


def cpu_table(report: Report) -> pd.DataFrame:
    """CPU ms per request: one row per component, one column per phase."""
    table = _wide(report.analysis.table("cpu"), "cpu_ms")
    if table.empty:
        return table
    phases = report.analysis.phases
    return table.assign(component=[name + see(phases, name) for name in table["component"]])


def threads_table(report: Report) -> pd.DataFrame:
    """One row per thread and phase: ticks, CPU seconds, and its largest components."""
    rows = []
    keys = ["phase", "process", "thread"]
    phases = {phase.name: phase for phase in report.analysis.phases}
    for (phase, process, thread), of_thread in report.analysis.table("threads").groupby(keys, sort=False):
        largest = of_thread.sort_values("share", ascending=False).head(THREAD_COMPONENTS)
        text = ", ".join(
            f"{row['component']} {format.share(row['share'], row['low'], row['high'])}"
            f"{see([phases[str(phase)]], row['component'])}"
            for _, row in largest.iterrows()
        )
        first = of_thread.iloc[0]
        rows.append((phase, process, thread, first["ticks"], first["cpu_s"], text))
    columns = [*keys, "ticks", "CPU s", "largest components, share of ticks (95 % interval)"]
    return pd.DataFrame(rows, columns=columns)


def memory_table(report: Report) -> pd.DataFrame:
    """One row per phase and process: its memory on the host (RSS) at the first and the last measured block,
    the most between them, and its growth with the requests."""
    table = report.analysis.table("memory")
    growth = [with_interval(*row) for row in table[list(memory.GROWTH)].itertuples(index=False, name=None)]
    shown = table[["phase", "process", "first_mb", "last_mb", "most_mb"]].round(1)
    shown = shown.set_axis(["phase", "process", "first MB", "last MB", "most MB"], axis=1)
    return shown.assign(**{"growth, MB per 1,000 requests": growth})


def batching_table(report: Report) -> pd.DataFrame:
    """One row per phase: batches, splits and compiles by the server's log. The log is read from the start of
    the first block to the end of the last: the requests within, their items, and the sequences of the
    batches within are counted for the same time."""
    rows = []
    for phase in report.analysis.phases:
        counts, summary = phase.counts, phase.batching.summary
        rows.append(
            {
                "phase": phase.name,
                "requests\nin the blocks' time": counts.within,
                "their\nitems": counts.items,
                "sequences\ncomputed": counts.sequences,
                **{words: summary[name] for name, words in _BATCHING_WORDS.items()},
            }
        )
    return pd.DataFrame(rows)


def timeline_table(report: Report) -> pd.DataFrame:
    """Every measured request: phase, time_s, latency_ms, block, profiled, compile_hit, split, failed."""
    parts = []
    for phase in report.analysis.phases:
        table = phase.requests.table
        start_ns = phase.phase.record.blocks[0].start_s * 1e9
        parts.append(
            pd.DataFrame(
                {
                    "phase": phase.name,
                    "time_s": (table["sent_ns"] - start_ns) / 1e9,
                    "latency_ms": table["latency_ms"],
                    "block": table["block"],
                    "profiled": table["profiled"],
                    "compile_hit": table["compile_hit"].fillna(False).astype(bool),
                    "split": table["split"].fillna(False).astype(bool),
                    "failed": ~table["ok"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(TIMELINE_COLUMNS))


def provenance_table(report: Report) -> pd.DataFrame:
    """Columns: what, value."""
    flat = {
        f"{name}.{inner}" if isinstance(value, dict) else name: shown
        for name, value in report.analysis.run.provenance.items()
        for inner, shown in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return pd.DataFrame([(name, str(value)) for name, value in flat.items()], columns=["what", "value"])


def parameters_table(report: Report) -> pd.DataFrame:
    """The parameters that the run was captured with. Columns: parameter, value."""
    items = report.analysis.run.manifest.parameters.items()
    return pd.DataFrame([(name, repr(value)) for name, value in items], columns=["parameter", "value"])


def unclassified(report: Report) -> pd.DataFrame:
    """The most frequent unclassified stacks, each with a rule; shares are of the thread's samples."""
    table = unclassified_table(report.analysis, report.rules)
    return table.assign(share=100 * table["share"]).rename(columns={"share": "% of thread"})


def _rates(throughput: Throughput | None) -> dict[str, str]:
    if throughput is None:
        return {"requests/s": "", "items/s": ""}
    return {
        "requests/s": with_interval(
            throughput.requests_per_s, *(throughput.requests_interval or (None, None))
        ),
        "items/s": with_interval(throughput.items_per_s, *(throughput.items_interval or (None, None))),
    }


def _wide(table: pd.DataFrame, value: str) -> pd.DataFrame:
    if table.empty:
        return table
    columns = (table[name] for name in (value, "low", "high"))
    return _pivoted(table.assign(text=list(map(with_interval, *columns))), value, "text")


def _pivoted(table: pd.DataFrame, value: str, text: str) -> pd.DataFrame:
    """Components as rows, the largest first; phases as columns."""
    if table.empty:
        return table
    order = table.groupby("component")[value].sum().sort_values(ascending=False).index
    phases = list(dict.fromkeys(table["phase"]))
    wide = table.pivot(index="component", columns="phase", values=text).loc[order, phases].fillna("")
    wide.columns.name = None
    return wide.reset_index()
