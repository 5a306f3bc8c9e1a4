"""The load of a phase: how its requests were sent."""

from collections.abc import Mapping
from typing import Any

from scoreprof_nb.run_folder.records import Load, PhaseRecord


def load_of(record: PhaseRecord, parameters: Mapping[str, Any]) -> Load:
    """The load of a phase. A run of an older version has a closed loop with its manifest's concurrency."""
    if record.load is not None:
        return record.load
    return Load("closed", concurrency=int(parameters.get("concurrency", 1)))
