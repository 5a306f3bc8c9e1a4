"""Figures of the report: DataFrames in, a matplotlib Figure out, nothing shown as a side effect."""

from scoreprof_nb.plots.components import plot_cpu, plot_hot_functions, plot_request_path, plot_threads
from scoreprof_nb.plots.latency import plot_latency, plot_latency_timeline, plot_observer_effect
from scoreprof_nb.plots.server import plot_batching, plot_utilisation

__all__ = [
    "plot_batching",
    "plot_cpu",
    "plot_hot_functions",
    "plot_latency",
    "plot_latency_timeline",
    "plot_observer_effect",
    "plot_request_path",
    "plot_threads",
    "plot_utilisation",
]
