"""One or two sentences per section that say what it shows in this run. All are Markdown."""

from scoreprof_nb.analysis.items import run_cost_per_item
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.components.headline import headline_group
from scoreprof_nb.engines.sglang_jax_known import MEMORY_GROWTH
from scoreprof_nb.report.findings import latency_with_interval, limiting_thread
from scoreprof_nb.report.format import escape_markdown, milliseconds, number, percent
from scoreprof_nb.report.profile import Report


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


def latency_lead(report: Report) -> str:
    texts = []
    for phase in report.analysis.phases:
        row = phase.latency.table.set_index("which").loc["all"].to_dict()
        hits = phase.batching.summary["compile_hit"]
        compiled = f", {hits} hit by a compile" if hits else ""
        texts.append(f"{phase.name} {latency_with_interval(row, 'p50', ' ms')}{compiled}")
    return escape_markdown(f"Median latency without py-spy: {'; '.join(texts)}.")


def path_lead(report: Report) -> str:
    texts = []
    for phase in report.analysis.phases:
        path = phase.path.table
        if path.empty:
            texts.append(f"{phase.name}: not known ({phase.path.reason})")
            continue
        host = path[[_is_host(phase, name) for name in path["component"]]]
        largest = host.head(3)
        parts = ", ".join(
            f"{name} {number(ms)}" for name, ms in zip(largest["component"], largest["mean_ms"], strict=True)
        )
        texts.append(f"{phase.name}: host {milliseconds(host['mean_ms'].sum())} (largest: {parts})")
    return escape_markdown(f"What the mean request with py-spy waits for. {'; '.join(texts)}.")


def _is_host(phase: PhaseAnalysis, component: str) -> bool:
    return headline_group(phase.ticks.catalog[component]).kind == "host"


def load_lead(report: Report) -> str:
    """For closed loops with several in flight: how throughput grows, and which thread limits it."""
    texts = []
    for phase in report.analysis.phases:
        if phase.load.loop == "closed" and phase.latency.throughput is not None:
            rate = number(phase.latency.throughput.requests_per_s)
            thread = limiting_thread(phase)
            limit = f", limited by {thread}" if thread and (phase.load.concurrency or 1) > 1 else ""
            texts.append(f"{phase.name}: {rate} requests/s{limit}")
    return escape_markdown(f"Throughput by the number of requests in flight: {'; '.join(texts)}.")


def cost_lead(report: Report) -> str:
    """What an item adds, and what twice the items of the largest phase would take."""
    costs = run_cost_per_item(report.analysis)
    per_item, fixed = float(costs["per_item_ms"].sum()), float(costs["fixed_ms"].sum())
    items = max(int(phase.requests.table["items"].max()) for phase in report.analysis.phases)
    text = (
        f"A request costs about {milliseconds(fixed)} and {milliseconds(per_item)} more per item. By this "
        f"line {2 * items} items take about {milliseconds(fixed + 2 * items * per_item)}, and {items} items "
        f"{milliseconds(fixed + items * per_item)}."
    )
    largest = costs.nlargest(1, "per_item_ms")
    if not largest.empty:
        first = largest.iloc[0]
        text += f" Most of what an item adds is {first['component']}: {milliseconds(first['per_item_ms'])}."
    return escape_markdown(text)


def cpu_lead(report: Report) -> str:
    texts = []
    for phase in report.analysis.phases:
        cpu = phase.threads.cpu
        if not cpu.empty:
            first = cpu.iloc[0]
            texts.append(
                f"{phase.name} {milliseconds(cpu['cpu_ms'].sum())}, most of it {first['component']} "
                f"({milliseconds(first['cpu_ms'])})"
            )
    if not texts:
        return "The CPU time of the server's threads is not known."
    return escape_markdown(f"CPU time of all the server's threads per request: {'; '.join(texts)}.")


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
    hot = report.analysis.table("hot")
    if hot.empty:
        return "No function is known: nothing was recorded."
    first = hot.nlargest(1, "self_ms").iloc[0]
    phase = next(phase for phase in report.analysis.phases if phase.name == first["phase"])
    path_ms = {name: mean for name, (mean, _, _) in phase.path.as_mapping().items()}.get(first["component"])
    compared = (
        ""
        if path_ms is None
        else f" Its component {first['component']} is {milliseconds(path_ms)} on the request path: "
        "here the whole "
        "thread's time counts, there only what the request waits for."
    )
    return escape_markdown(
        f"The most self time is in {first['function']}: {milliseconds(first['self_ms'])} per "
        f"{first['phase']} "
        f"request.{compared}"
    )


def batching_lead(report: Report) -> str:
    texts = []
    for phase in report.analysis.phases:
        row = phase.batching.summary
        if row["prefill_batches"] is None:
            continue
        mean = row["prefills_per_request"]
        texts.append(
            f"{phase.name} {number(mean if isinstance(mean, float) else None)} prefill batches per request, "
            f"{row['split']} of {row['requests']} requests split, {row['compile_hit']} hit by a compile"
        )
    if not texts:
        return "The server's log shows no batches, so splits and compiles are not known."
    return escape_markdown(f"{'; '.join(texts)}.")


def memory_lead(report: Report) -> str:
    table = report.analysis.table("memory")
    largest = table.nlargest(1, "most_mb").iloc[0]
    grows = table[table["growth_low"] > 0]
    names = ", ".join(f"{p} in {phase}" for p, phase in zip(grows["process"], grows["phase"], strict=True))
    growth = f"Growing with the requests: {names}." if names else "No process is known to grow."
    sentences = escape_markdown(
        f"The largest process is {largest['process']}: {largest['most_mb']:,.0f} MB in "
        f"{largest['phase']}. {growth}"
    )
    if not names:
        return sentences
    issues = ", ".join(f"[{name}]({address})" for name, address in MEMORY_GROWTH.issues)
    return f"{sentences} {MEMORY_GROWTH.what}: {issues}."
