"""The sections of a run's report about threads: flame graph, functions, CPU time, what each thread does."""

from scoreprof_nb import plots
from scoreprof_nb.notebook.display import Output, Part, Section
from scoreprof_nb.report import leads, method_notes
from scoreprof_nb.report import profile_tables as tables
from scoreprof_nb.report.blocks import Table
from scoreprof_nb.report.component_tables import hot_overview
from scoreprof_nb.report.flame_views import flame_boxes, flame_stacks, interactive_flame_graph
from scoreprof_nb.report.format import escape_markdown
from scoreprof_nb.report.method_notes import note
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.thread_states import states_markdown, states_table, timeline_tables
from scoreprof_nb.report.thread_table import idle_line, working_threads


def flame_graph(report: Report) -> Section | None:
    """The stacks of the working threads, as a picture and to zoom in."""
    analysis = report.analysis
    if not any(phase.ticks.blocks for phase in analysis.phases):
        return None
    lead = (
        "Which functions call which, while the threads work: the wider, the more time per request. "
        "Zoom by click; "
        "choose a phase, thread or component; search by a part of a function's or a file's name."
    )

    def picture() -> Output:
        stacks = list(flame_stacks(analysis.phases))
        return plots.plot_flame(flame_boxes(stacks, analysis.catalog), analysis.catalog)

    return Section("flame-graph", "Flame graph", lead, [picture, lambda: interactive_flame_graph(report)])


def hot_functions(report: Report) -> Section | None:
    """The functions with the most self time."""
    analysis = report.analysis
    if analysis.table("hot").empty:
        return None
    parts: list[Part] = [
        lambda: plots.plot_hot_functions(analysis.table("hot"), analysis.catalog),
        hot_overview(report),
        note(method_notes.HOT),
    ]
    return Section("hot-functions", "Hot functions", leads.hot_lead(report), parts)


def cpu(report: Report) -> Section | None:
    """CPU time per request."""
    analysis = report.analysis
    if analysis.table("cpu").empty:
        return None
    parts: list[Part] = [
        lambda: plots.plot_cpu(analysis.table("cpu"), analysis.catalog),
        Table(tables.cpu_table(report), "CPU milliseconds per request (95 % interval)"),
        note(method_notes.CPU),
    ]
    return Section("cpu", "CPU cost", leads.cpu_lead(report), parts)


def threads(report: Report) -> Section | None:
    """What each thread does."""
    analysis = report.analysis
    working = working_threads(analysis)
    if working.empty:
        return None
    parts: list[Part] = [
        lambda: plots.plot_threads(working, analysis.catalog),
        escape_markdown(idle_line(analysis)),
        states_markdown(report),
        Table(states_table(report), "At work: running, waiting for a core, or neither", folded=True),
        lambda: plots.plot_timeline(*timeline_tables(report), analysis.catalog),
        Table(tables.threads_table(report), "All threads, with CPU time"),
        note(method_notes.THREADS),
    ]
    return Section("threads", "Threads", leads.threads_lead(report), [part for part in parts if part != ""])
