"""Figures of the report: DataFrames in, a matplotlib Figure out, nothing shown as a side effect."""

from scoreprof_nb.plots.components import plot_cpu, plot_request_path, plot_threads
from scoreprof_nb.plots.device import plot_device
from scoreprof_nb.plots.flame import plot_flame
from scoreprof_nb.plots.functions import plot_hot_functions
from scoreprof_nb.plots.history import plot_history
from scoreprof_nb.plots.latency import plot_latency, plot_latency_timeline, plot_observer_effect
from scoreprof_nb.plots.launches import plot_launches
from scoreprof_nb.plots.load import plot_latency_over_rate
from scoreprof_nb.plots.memory import plot_memory
from scoreprof_nb.plots.path_groups import plot_path_groups
from scoreprof_nb.plots.server import plot_batching, plot_utilisation
from scoreprof_nb.plots.sides import plot_path_change, plot_verdicts
from scoreprof_nb.plots.timeline import plot_timeline
from scoreprof_nb.plots.what_if import plot_what_if

__all__ = [
    "plot_batching",
    "plot_cpu",
    "plot_device",
    "plot_flame",
    "plot_history",
    "plot_hot_functions",
    "plot_latency",
    "plot_latency_over_rate",
    "plot_latency_timeline",
    "plot_launches",
    "plot_memory",
    "plot_observer_effect",
    "plot_path_change",
    "plot_path_groups",
    "plot_request_path",
    "plot_threads",
    "plot_timeline",
    "plot_utilisation",
    "plot_verdicts",
    "plot_what_if",
]
