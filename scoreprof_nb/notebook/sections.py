"""The sections of a run's report, in order. Each gives None where there is nothing to show.

A section of one's own is a function from the report to a ``Section`` or None, added to ``SECTIONS``.
"""

from collections.abc import Callable

from scoreprof_nb import plots
from scoreprof_nb.notebook.display import Part, Section, show
from scoreprof_nb.notebook.head import contents_of, show_answer
from scoreprof_nb.notebook.thread_sections import cpu, flame_graph, hot_functions, threads
from scoreprof_nb.report import (
    device_tables,
    leads,
    load_tables,
    method_notes,
    path_tables,
    quality_tables,
    what_if_table,
)
from scoreprof_nb.report import profile_tables as tables
from scoreprof_nb.report.answer import trust
from scoreprof_nb.report.blocks import Table
from scoreprof_nb.report.component_tables import component_table, findings_overview
from scoreprof_nb.report.finding_cards import finding_cards
from scoreprof_nb.report.format import escape_markdown
from scoreprof_nb.report.method_notes import note
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.profile_files import files_table
from scoreprof_nb.report.profile_verdict import path_notes


def show_head(report: Report) -> None:
    """The title, the answer, the first table, what was measured, and the contents."""
    show_answer(report)
    show(contents_of(make(report) for make in SECTIONS))


def findings(report: Report) -> Section | None:
    """One finding per component."""
    if not report.analysis.phases:
        return None
    parts: list[Part] = (
        [findings_overview(report), finding_cards(report)] if report.component_findings else []
    )
    return Section("findings", "What costs how much, and what to do", leads.findings_lead(report), parts)


def latency(report: Report) -> Section | None:
    """Percentiles, and every request over time."""
    if not report.analysis.phases:
        return None
    parts: list[Part] = [
        load_tables.sent_markdown(report),
        lambda: plots.plot_latency(tables.latency_overview(report)),
        Table(tables.latency_table(report), "Latency in ms (95 % interval)", folded=False),
        lambda: plots.plot_latency_timeline(tables.timeline_table(report)),
        note(method_notes.LATENCY),
    ]
    return Section("latency", "Latency", leads.latency_lead(report), parts)


def request_path(report: Report) -> Section | None:
    """The components of the request path; how busy the threads are where it is not known."""
    analysis = report.analysis
    if not analysis.phases:
        return None
    chart: list[Part]
    if report.has_path:
        chart = [lambda: plots.plot_request_path(analysis.paths(), analysis.catalog), component_table(report)]
    elif not analysis.table("utilisation").empty:
        chart = [lambda: plots.plot_utilisation(analysis.table("utilisation"))]
    else:
        chart = []
    queue, groups, threads = (
        Table(rows, caption, folded=True)
        for rows, caption in (
            (path_tables.queue_table(report), "Own time, and time queued behind other requests, in ms"),
            (
                path_tables.group_table(report),
                "All requests, those without a compile, the slowest tenth, in ms",
            ),
            (path_tables.capacity_table(report), "How busy the threads are, and the throughput each allows"),
        )
    )
    more: list[Part] = [table for table in (queue, groups, threads) if not table.rows.empty]
    drawn = path_tables.group_rows(report)
    if not drawn.empty:
        more.insert(0, lambda: plots.plot_path_groups(drawn, analysis.catalog))
    parts: list[Part] = [*chart, *more, path_notes(report), note(method_notes.PATH)]
    return Section("request-path", "Request path, by component", leads.path_lead(report), parts)


def load(report: Report) -> Section | None:
    """Latency over the offered rate, and over the number in flight."""
    rates, in_flight = load_tables.rate_table(report), load_tables.in_flight_table(report)
    if rates.empty and in_flight.empty:
        return None
    parts: list[Part] = []
    if not rates.empty:
        slo_ms = report.parameters.slo_ms
        parts += [
            lambda: plots.plot_latency_over_rate(load_tables.rate_curve(report), slo_ms),
            Table(rates, "Open loop: latency from the planned sending time", folded=False),
        ]
    if not in_flight.empty:
        parts.append(
            Table(in_flight, "Closed loop: latency by the number of requests in flight", folded=False)
        )
    lead = load_tables.rate_markdown(report) or leads.load_lead(report)
    return Section("load", "Load", lead, [*parts, note(method_notes.LOAD)])


def what_if(report: Report) -> Section | None:
    """What a millisecond in each function really costs, by experiment."""
    if not any(True for _ in what_if_table.experiments(report)):
        return None
    ranking, functions, several, calibration = (
        Table(rows, caption, folded=False)
        for rows, caption in (
            (what_if_table.ranking_table(report), "What each component really costs (95 % interval)"),
            (what_if_table.sensitivity_table(report), "What 1 ms more in each function costs"),
            (what_if_table.load_table(report), "Throughput and p99, per ms put in"),
            (what_if_table.calibration_table(report), "Calibration: what py-spy finds of each ms"),
        )
    )
    parts: list[Part] = [
        ranking,
        lambda: plots.plot_what_if(what_if_table.sensitivity_curve(report)),
        functions,
        *([] if several.rows.empty else [several]),
        calibration,
        what_if_table.conditions_markdown(report),
        note(method_notes.WHAT_IF),
    ]
    return Section("what-if", "What if: measured, not inferred", what_if_table.what_if_lead(report), parts)


def cost_per_item(report: Report) -> Section | None:
    """What a request costs, and what each item adds."""
    rows = path_tables.cost_per_item_table(report)
    if rows.empty:
        return None
    parts: list[Part] = [
        Table(rows, "Each component: n items cost the fixed ms plus n times the ms per item (95 % interval)"),
        note(method_notes.COST_PER_ITEM),
    ]
    return Section("cost-per-item", "What more items cost", leads.cost_lead(report), parts)


def device(report: Report) -> Section | None:
    """The device's own timeline."""
    if all(phase.phase.record.device_trace is None for phase in report.analysis.phases):
        return None
    parts: list[Part] = []
    if device_tables.has_device(report):
        parts = [
            Table(device_tables.device_table(report), "The device during the traced requests", folded=False),
            lambda: plots.plot_device(device_tables.device_parts(report)),
            Table(
                device_tables.device_idle_table(report),
                "Device idle: what the host did, ms per request (95 % interval)",
            ),
            Table(device_tables.device_wait_table(report), "What the host waits for in JAX's runtime"),
            Table(device_tables.programs_table(report), "The device's programs", folded=True),
            Table(device_tables.operations_table(report), "The device's largest operations", folded=True),
            Table(device_tables.chips_table(report), "Chips", folded=True),
        ]
    parts.append(note(method_notes.DEVICE))
    return Section("device", "Device", device_tables.device_markdown(report), parts)


def batching(report: Report) -> Section | None:
    """Batches and compiles."""
    batches = report.analysis.table("batches")
    if batches.empty:
        return None
    parts: list[Part] = [
        lambda: plots.plot_batching(batches),
        Table(tables.batching_table(report), "Between the first and the last block of a phase"),
        note(method_notes.BATCHING),
    ]
    return Section("batching", "Batching and compiles", leads.batching_lead(report), parts)


def memory(report: Report) -> Section | None:
    """The host's memory of each process."""
    rows = tables.memory_table(report)
    if rows.empty:
        return None
    parts: list[Part] = [
        lambda: plots.plot_memory(report.analysis.table("memory_samples")),
        rows,
        note(method_notes.MEMORY),
    ]
    return Section("memory", "Memory", leads.memory_lead(report), parts)


def quality(report: Report) -> Section | None:
    """Whether the numbers can be trusted."""
    if not report.analysis.phases:
        return None
    unclassified = tables.unclassified(report)
    parts: list[Part] = [
        lambda: plots.plot_observer_effect(quality_tables.observer_table(report)),
        Table(quality_tables.quality_overview(report), "Quality of the capture, by phase", folded=True),
        Table(quality_tables.checks_table(report), "All checks"),
    ]
    if not unclassified.empty:
        parts += [
            "Unclassified stacks, the most frequent first, each with a rule. To classify one, "
            "paste its rule into a "
            "file, fill in the component, and set the parameter `rules_file` to the file.",
            Table(unclassified, "Unclassified stacks", folded=True),
        ]
    parts.append(note(method_notes.QUALITY))
    return Section("quality", "Can the numbers be trusted?", escape_markdown(trust(report)), parts)


def provenance(report: Report) -> Section | None:
    """Versions, the machine, and the parameters."""
    lead = "Versions, machine and parameters of this run, so that somebody else can repeat it."
    parts = [
        Table(tables.provenance_table(report), "Versions and machine", folded=True),
        Table(tables.parameters_table(report), "Parameters", folded=True),
    ]
    return Section("provenance", "Provenance", lead, parts)


def run_files(report: Report) -> Section | None:
    """The files of the run folder."""
    lead = f"Everything that this report was made of, in {escape_markdown(str(report.folder))}."
    return Section("files", "Files", lead, [Table(files_table(report), "Files", folded=True)])


SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    findings,
    latency,
    load,
    request_path,
    what_if,
    cost_per_item,
    device,
    flame_graph,
    hot_functions,
    cpu,
    threads,
    batching,
    memory,
    quality,
    provenance,
    run_files,
)
