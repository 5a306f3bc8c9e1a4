"""The server's memory: its growth is that of the requests, and unknown where it cannot be known."""

import math

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.memory import COLUMNS, SAMPLE_COLUMNS, memory, memory_samples
from scoreprof_nb.analysis.requests import measured_requests
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.run_folder.records import Load, ServerProcess
from tests.support.synthetic import START_S, block, phase, sent

RULES = load_rules("")
SERVER = ServerProcess(10, 1, "python -m sgl_jax.launch_server --port 1")
SCHEDULER = ServerProcess(11, 10, "sglang::scheduler")
NO_LOG = pd.DataFrame(columns=["time_ns", "text"])
SECONDS, PER_SECOND = 40, 5


def samples(pid, rss_mb):
    time_ns = [round((START_S + second) * 1e9) for second in range(len(rss_mb))]
    return pd.DataFrame({"time_ns": time_ns, "pid": pid, "rss_bytes": [round(mb * 1e6) for mb in rss_mb]})


def analysed(*of_processes, seconds=SECONDS):
    requests = sent(
        *({"at_ms": 1e3 * number / PER_SECOND, "latency_ms": 50.0} for number in range(seconds * PER_SECOND))
    )
    made = phase(
        [block(wall_s=float(seconds))],
        requests=requests,
        memory=pd.concat(of_processes, ignore_index=True),
        processes=(SERVER, SCHEDULER),
    )
    return memory(made, measured_requests(made, NO_LOG, Load("closed", concurrency=1)), RULES).set_index(
        "process"
    )


def test_leak_is_found_per_thousand_requests():
    """Broken: a server that grows until the kernel kills it looks healthy, or the unit is wrong."""
    leak_mb = 0.02  # per request
    scheduler = 500 + leak_mb * PER_SECOND * np.arange(SECONDS)
    table = analysed(samples(10, [300.0] * SECONDS), samples(11, scheduler))
    assert table.loc["scheduler", ["first_mb", "last_mb"]].tolist() == [500.0, 500 + leak_mb * 5 * 39]
    growth = table.loc["scheduler", ["growth_mb", "growth_low", "growth_high"]].tolist()
    np.testing.assert_allclose(growth, [20.0] * 3)
    assert table.loc["http", "growth_mb"] == 0


def test_one_allocation_is_no_growth():
    """Broken: a buffer that is allocated once in a phase is reported as a leak."""
    table = analysed(samples(11, [500.0] * 36 + [900.0] * 4))
    assert table.loc["scheduler", "growth_mb"] == 0
    assert table.loc["scheduler", "most_mb"] == 900


def test_growth_in_a_short_phase_is_not_known():
    """Broken: the slope of five samples is given as a number."""
    table = analysed(samples(11, [500.0, 501.0, 502.0, 503.0, 504.0]), seconds=5)
    assert math.isnan(table.loc["scheduler", "growth_mb"])


def test_run_of_an_older_version_has_no_memory():
    """Broken: a run without memory.parquet cannot be analysed again."""
    old = phase([block()], requests=sent({"at_ms": 1.0, "latency_ms": 5.0}))
    table = memory(old, measured_requests(old, NO_LOG, Load("closed", concurrency=1)), RULES)
    assert (list(table.columns), len(table)) == (list(COLUMNS), 0)


def test_samples_are_those_of_the_server_from_the_first_one_on():
    """Broken: the figure shows the launcher, or another process's line; or time that starts in 1970."""
    made = phase(
        [block(wall_s=float(SECONDS))],
        memory=pd.concat([samples(10, [900.0, 910.0]), samples(11, [4000.0]), samples(9, [10.0])]),
        processes=(SERVER, SCHEDULER, ServerProcess(9, 1, "python /x/scoreprof_nb/capture/launcher.py a")),
    )
    table = memory_samples(made, RULES)
    assert tuple(table.columns) == SAMPLE_COLUMNS
    assert table[["pid", "time_s", "rss_mb"]].to_numpy().tolist() == [
        [10, 0, 900],
        [10, 1, 910],
        [11, 0, 4000],
    ]
    assert table["process"].nunique() == 2
    assert memory_samples(phase([block(wall_s=1.0)]), RULES).empty
