"""One or two sentences per section that say what it shows in this run. All are Markdown."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from scoreprof_nb.analysis.items import request_cost_per_item, run_cost_per_item
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.components.headline import headline_group
from scoreprof_nb.engines.sglang_jax_known import MEMORY_GROWTH
from scoreprof_nb.report.findings import latency_with_interval, limiting_thread
from scoreprof_nb.report.format import escape_markdown, milliseconds, number, percent, with_interval
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import see

SMALLEST_GROWTH_MB = 1.0  # per 1,000 requests: less is what any process allocates


def findings_lead(report: Report) -> str:
    host = [f for f in report.component_findings if f.group.kind == "host"]
    if not report.component_findings:
        return (
            "No component costs more than its interval leaves to chance. Measure longer: increase `phase_s`."
        )
    first = f"; the largest is {host[0].component.name}" if host else ""
    return escape_markdown(
        f"{len(report.component_findings)} components cost at least 1 % of a request, and more than chance: "
        f"{len(host)} of them on the host{first}. Gains do not add up: they are bounds for one "
        "component at a time."
    )


def _each_phase(report: Report, text_of: Callable[[PhaseAnalysis], str | None]) -> str:
    """``single 1.0 ms; large 2.0 ms``: the text of each phase that has one, with its name; may be empty."""
    texts = ((phase.name, text_of(phase)) for phase in report.analysis.phases)
    return "; ".join(f"{name} {text}" for name, text in texts if text is not None)


def latency_lead(report: Report) -> str:
    def text(phase: PhaseAnalysis) -> str:
        row = phase.latency.table.set_index("which").loc["all"].to_dict()
        hits = phase.batching.summary["compile_hit"]
        return f"{latency_with_interval(row, 'mean', ' ms')}{f', {hits} hit by a compile' if hits else ''}"

    return escape_markdown(f"Mean latency without py-spy: {_each_phase(report, text)}.")


def path_lead(report: Report) -> str:
    def text(phase: PhaseAnalysis) -> str:
        path = phase.path.table
        if path.empty:
            return f"not known ({phase.path.reason})"
        host = path[[_is_host(phase, name) for name in path["component"]]]
        parts = ", ".join(
            f"{row['component']} {number(row['mean_ms'])}{see([phase], row['component'])}"
            for row in host.head(3).to_dict("records")
        )
        return f"host {milliseconds(host['mean_ms'].sum())} (largest: {parts})"

    return escape_markdown(f"What the mean request with py-spy waits for: {_each_phase(report, text)}.")


def _is_host(phase: PhaseAnalysis, component: str) -> bool:
    return headline_group(phase.ticks.catalog[component]).kind == "host"


def _is_host_name(report: Report, component: str) -> bool:
    return headline_group(report.analysis.catalog[component]).kind == "host"


def load_lead(report: Report) -> str:
    """For closed loops with several in flight: how throughput grows, and which thread limits it."""

    def text(phase: PhaseAnalysis) -> str | None:
        if phase.load.loop != "closed" or phase.latency.throughput is None:
            return None
        thread = limiting_thread(phase)
        limit = f", limited by {thread}" if thread and (phase.load.concurrency or 1) > 1 else ""
        return f"{number(phase.latency.throughput.requests_per_s)} requests/s{limit}"

    return escape_markdown(f"Throughput by the number of requests in flight: {_each_phase(report, text)}.")


def cost_lead(report: Report) -> str:
    """What an item adds, and what twice the items of the largest phase would take."""
    costs, whole = run_cost_per_item(report.analysis), request_cost_per_item(report.analysis)
    items = max(int(phase.requests.table["items"].max()) for phase in report.analysis.phases)
    text = "What a whole request costs per item is not known."
    if not whole.empty:
        row = whole.iloc[0].to_dict()
        fixed = with_interval(row["fixed_ms"], row["fixed_low"], row["fixed_high"], " ms")
        slope = with_interval(row["per_item_ms"], row["per_item_low"], row["per_item_high"], " ms", 2)
        more = tuple(items * float(row[f"per_item_{name}"]) for name in ("ms", "low", "high"))
        text = (
            f"A request costs {fixed} and {slope} more per item, by a line through {row['phases']}. So "
            f"{2 * items} items instead of {items} would take "
            f"{with_interval(more[0], more[1], more[2], ' ms')} more, if nothing else changes."
        )
    shown = costs[costs["per_item_low"] > 0].sort_values("per_item_ms", ascending=False).to_dict("records")
    if not shown:
        return escape_markdown(f"{text} No component was shown to cost more per item.")
    text += f" Most of what an item adds is {_per_item(shown[0])}"
    of_host = [row for row in shown if _is_host_name(report, row["component"])]
    if not of_host:
        text += "; no component of the host was shown to cost more per item"
    elif of_host[0] is not shown[0]:
        text += f"; on the host it is {_per_item(of_host[0])}"
    return escape_markdown(f"{text}.")


def _per_item(cost: Mapping[Hashable, Any]) -> str:
    return f"{cost['component']}: {number(cost['per_item_ms'], 2)} ms"


def cpu_lead(report: Report) -> str:
    def text(phase: PhaseAnalysis) -> str | None:
        cpu = phase.threads.cpu
        if cpu.empty:
            return None
        first = cpu.iloc[0]
        total = milliseconds(cpu["cpu_ms"].sum())
        return f"{total}, most of it {first['component']} ({milliseconds(first['cpu_ms'])})"

    texts = _each_phase(report, text)
    if not texts:
        return "The CPU time of the server's threads is not known."
    return escape_markdown(f"CPU time of all the server's threads per request: {texts}.")


def threads_lead(report: Report) -> str:
    table = report.analysis.table("utilisation")
    if table.empty:
        return "No thread was recorded."
    busiest = table.nlargest(1, "busy_share").iloc[0]
    idle = table.groupby(["process", "thread"])["busy_share"].max()
    never = sum(share == 0 for share in idle)
    return escape_markdown(
        f"The busiest thread is {busiest['process']} / {busiest['thread']}: it works or waits for "
        "the device in "
        f"{percent(busiest['busy_share'], 0)} of phase {busiest['phase']}. {never} of {len(idle)} "
        "threads never work."
    )


def hot_lead(report: Report) -> str:
    """The host's function with the most self time, and how its component's time differs."""
    hot = report.analysis.table("hot")
    catalog = report.analysis.catalog
    of_host = hot[[headline_group(catalog[name]).kind in ("host", "compile") for name in hot["component"]]]
    if of_host.empty:
        return "No function of the host is known: nothing was recorded, or nothing but waiting."
    first = of_host.nlargest(1, "self_ms").iloc[0]
    phase = next(phase for phase in report.analysis.phases if phase.name == first["phase"])
    path_ms = phase.path.as_mapping().get(first["component"], (None,))[0]
    compared = (
        ""
        if path_ms is None
        else f" Its component {first['component']} is {milliseconds(path_ms)} on the request path: here the "
        "whole thread's time counts, there only what the request waits for."
    )
    return escape_markdown(
        f"The host's most self time is in {first['function']}: {milliseconds(first['self_ms'])} per "
        f"{first['phase']} request.{compared}"
    )


def batching_lead(report: Report) -> str:
    def text(phase: PhaseAnalysis) -> str | None:
        row = phase.batching.summary
        if row["prefill_batches"] is None:
            return None
        mean = row["prefills_per_request"]
        return (
            f"{number(mean if isinstance(mean, float) else None)} prefill batches per request, of "
            f"{row['requests']} requests sent {row['split']} split and {row['compile_hit']} hit by a compile"
        )

    texts = _each_phase(report, text)
    if not texts:
        return "The server's log shows no batches, so splits and compiles are not known."
    return escape_markdown(f"{texts}.")


def memory_lead(report: Report) -> str:
    table = report.analysis.table("memory")
    largest = table.nlargest(1, "most_mb").iloc[0]
    grows = table[table["growth_low"] > SMALLEST_GROWTH_MB]
    names = ", ".join(f"{p} in {phase}" for p, phase in zip(grows["process"], grows["phase"], strict=True))
    growth = (
        f"Growing by more than {SMALLEST_GROWTH_MB:g} MB per 1,000 requests: {names}."
        if names
        else f"No process is known to grow by {SMALLEST_GROWTH_MB:g} MB per 1,000 requests."
    )
    sentences = escape_markdown(
        f"The largest process is {largest['process']}: {largest['most_mb']:,.0f} MB in "
        f"{largest['phase']}. {growth}"
    )
    if not names:
        return sentences
    issues = ", ".join(f"[{name}]({address})" for name, address in MEMORY_GROWTH.issues)
    return f"{sentences} {MEMORY_GROWTH.what}: {issues}."
