"""The sentence about the server's memory."""

from types import SimpleNamespace

import pandas as pd

from scoreprof_nb.report.leads import memory_lead

COLUMNS = ["phase", "process", "most_mb", "growth_low"]


def lead(*rows):
    table = pd.DataFrame(rows, columns=COLUMNS)
    return memory_lead(SimpleNamespace(analysis=SimpleNamespace(table=lambda name: table)))


def test_process_that_grows_is_named_with_what_is_known_about_it():
    """Broken: a scheduler that grows until it is killed is a number in a table only."""
    text = lead(("single", "http", 900.0, -1.0), ("single", "scheduler", 4000.0, 12.0))
    assert "Growing with the requests: scheduler in single." in text
    assert "was seen to grow until the kernel killed the process: [sglang-jax #1176](https://" in text


def test_memory_that_does_not_grow_blames_nobody():
    """Broken: every report tells of a leak."""
    text = lead(("single", "http", 900.0, -1.0), ("single", "scheduler", 4000.0, float("nan")))
    assert "No process is known to grow" in text
    assert "1176" not in text
