"""Synthetic runs of two sides, compared: their analysis is built from numbers, without a run folder."""

import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.breakdown import HOT_COLUMNS
from scoreprof_nb.analysis.device import BUSY, Estimate
from scoreprof_nb.analysis.latency import latency_rows
from scoreprof_nb.analysis.request_path import COLUMNS, RequestPath
from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.comparison import ComparisonReport
from tests.support.synthetic import block as block_of
from tests.support.synthetic import measured, phase_of, place, sent, stack_table, thread_ticks, ticked

PAIRS = 6
BASE = {"tokenize": 4.0, "device_wait": 30.0, "ipc_and_wakeup": 6.0}
NOISE = np.array([1.01, 0.99, 1.005, 0.995, 1.008, 0.992])


def _requests(latency_ms, requests, failed, scores=0.25):
    return [
        {
            "at_ms": 50 * number,
            "latency_ms": latency_ms * (1 + 0.002 * (number % 5)),
            "payload": number % 4,
            "profiled": False,
            "scores": [[scores, 1 - scores]],
            "error": "timeout" if number < failed else None,
        }
        for number in range(requests)
    ]


@functools.cache
def _latency_rows(name, latency_ms, requests, failed):
    """Computed once for all runs that have the same latencies."""
    return latency_rows(name, measured(*_requests(latency_ms, requests, failed)))


def phase(
    path=BASE,
    factor=1.0,
    *,
    name="small",
    scores=0.25,
    failed=0,
    stack="work@/x/site-packages/sgl_jax/a.py",
    requests=40,
    workload="8 small x 4; SHA-256 0123456789abcdef",
    compiles=2,
    warm=True,
    prefills=1.0,
    observer=1.02,
    cached=None,
    what_if=None,
):
    """One phase: every request takes the sum of the path."""
    latency_ms = sum(path.values()) * factor
    rows = _requests(latency_ms, requests, failed, scores)
    requests_sent = measured(*rows)
    table = pd.DataFrame(
        [
            (
                name,
                component,
                ms * factor,
                ms * factor * 0.95,
                ms * factor * 1.05,
                0.1,
                1.1,
                requests,
                latency_ms,
            )
            for component, ms in path.items()
        ],
        columns=list(COLUMNS),
    )
    thread = thread_ticks("http", "main", "tokenize*100")
    ticks = phase_of(
        ticked([thread], of=block_of(wall_s=1.0), table=stack_table(place("http", "main", [stack]))),
        name=name,
    )
    cpu = pd.DataFrame({"phase": [name], "component": ["tokenize"], "cpu_ms": [latency_ms * 2]})
    plain = [{key: value for key, value in row.items() if key != "profiled"} for row in rows]
    busy = Estimate(0.5 * latency_ms, 0.45 * latency_ms, 0.55 * latency_ms)
    return SimpleNamespace(
        name=name,
        phase=SimpleNamespace(
            requests=sent(*plain),
            record=SimpleNamespace(workload=workload, warmup=SimpleNamespace(compiles=compiles, warm=warm)),
        ),
        batching=SimpleNamespace(summary={"compiles": 0, "prefills_per_request": prefills}),
        requests=requests_sent,
        latency=SimpleNamespace(
            table=pd.DataFrame(_latency_rows(name, latency_ms, requests, failed)),
            throughput=(1e3 / latency_ms, 4e3 / latency_ms),
            observer_effect=SimpleNamespace(mean_ratio=observer),
        ),
        path=RequestPath(table, "joint"),
        prefix_cache=SimpleNamespace(cached_share=cached),
        threads=SimpleNamespace(
            cpu=cpu,
            served=20.0,
            hot_functions=pd.DataFrame(
                [
                    (
                        name,
                        "http",
                        "main",
                        "work",
                        "/x/site-packages/sgl_jax/a.py",
                        "tokenize",
                        4.0 * factor,
                        4.0 * factor,
                    )
                ],
                columns=list(HOT_COLUMNS),
            ),
        ),
        ticks=ticks,
        quality=SimpleNamespace(checks=()),
        what_if=what_if,
        device=SimpleNamespace(work=SimpleNamespace(time=SimpleNamespace(times={BUSY: busy}))),
    )


def run(*phases, started_s=1e9, provenance=None, label="run", **parameters):
    shown = {**Parameters().as_dict(), "model_path": "/models/tiny", **parameters}
    return SimpleNamespace(
        run=SimpleNamespace(
            manifest=SimpleNamespace(
                run_id=f"{label}-{started_s:.0f}",
                label=label,
                started_s=started_s,
                finished_s=started_s + 60,
                parameters=shown,
            ),
            provenance={
                "jax": "0.8.0",
                "cpus": 2,
                "command": "python --dtype bfloat16",
                **(provenance or {}),
            },
            folder="nowhere",
        ),
        phases=tuple(phases),
        catalog=CATALOG,
        status=lambda: "complete",
    )


def side(factor=1.0, pairs=PAIRS, at=0.0, label="run", provenance=None, parameters=None, **of_phase):
    return [
        run(
            phase(factor=factor * NOISE[(number * 5 + int(at)) % 6], **of_phase),
            started_s=1e9 + 100 * number + at,
            label=label,
            provenance=provenance,
            **(parameters or {}),
        )
        for number in range(pairs)
    ]


def compared(control=None, test=None, **how):
    return compare(control or side(), test or side(at=1), **how)


def verdicts(comparison):
    return dict(zip(comparison.metrics["metric"], comparison.metrics["verdict"], strict=True))


def report_of(comparison, *, missing=None, compare_dir="nowhere", **parameters):
    return ComparisonReport(
        CompareParameters(compare_dir=str(compare_dir), **parameters), comparison, missing
    )


# ---- verdicts
