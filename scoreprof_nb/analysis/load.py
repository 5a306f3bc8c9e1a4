"""The load of a phase: how its requests were sent, and whether they were sent as planned."""

from collections.abc import Mapping
from typing import Any

from scoreprof_nb.analysis.open_loop import OpenLoopStep
from scoreprof_nb.analysis.prefix_cache import PrefixCache, cache_check
from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.run_folder.records import Load, PhaseRecord

LAW = 0.01


def load_of(record: PhaseRecord, parameters: Mapping[str, Any]) -> Load:
    """The load of a phase. A run of an older version has a closed loop with its manifest's concurrency."""
    if record.load is not None:
        return record.load
    return Load("closed", concurrency=int(parameters.get("concurrency", 1)))


def load_checks(phase: str, mode: str, cache: PrefixCache, step: OpenLoopStep | None) -> list[Check]:
    """The checks on what was sent and how. ``mode``: the parameter ``prefix_cache``."""
    hits = cache_check(phase, mode, cache)
    checks = [] if hits is None else [hits]
    if step is None:
        return checks
    law = None if step.little is None else abs(step.little - 1) <= LAW + step.edges
    found = (
        "nothing was in flight"
        if step.little is None
        else f"ratio {step.little:.3f}; edges of blocks {step.edges:.3f}"
    )
    return [
        *checks,
        Check(
            phase,
            "the load generator kept to its times",
            not step.late,
            f"p99 of its delay {step.late_p99_ms:.2f} ms; {step.sent_share:.1%} sent in time",
        ),
        Check(phase, "in flight = arrival rate x latency", law, found),
    ]
