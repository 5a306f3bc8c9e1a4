"""Figures of the report: DataFrames in, a matplotlib Figure out, nothing shown as a side effect."""

from scoreprof_nb.plots.components import plot_cpu, plot_hot_functions, plot_request_path, plot_threads
from scoreprof_nb.plots.history import plot_history
from scoreprof_nb.plots.latency import plot_latency, plot_latency_timeline, plot_observer_effect
from scoreprof_nb.plots.launches import plot_launches
from scoreprof_nb.plots.server import plot_batching, plot_utilisation
from scoreprof_nb.plots.sides import plot_path_change, plot_verdicts

__all__ = [
    "plot_batching",
    "plot_cpu",
    "plot_history",
    "plot_hot_functions",
    "plot_latency",
    "plot_latency_timeline",
    "plot_launches",
    "plot_observer_effect",
    "plot_path_change",
    "plot_request_path",
    "plot_threads",
    "plot_utilisation",
    "plot_verdicts",
]
