"""scoreprof-nb: where a Score API request of sglang-jax spends its time, as an executed notebook."""

__version__ = "0.1.0"
