"""All kinds of faults, by name.

A kind is set up before the run (``around``), strikes at a moment of it, and its setting is undone before the
next start, as an operator would.
"""

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack

from tests.faults.disk_kinds import disks
from tests.faults.kind import Kind
from tests.faults.network_kinds import answers, ports
from tests.faults.place import Place
from tests.faults.process_kinds import limits, pauses, signals


def _second_run(place: Place, undo: ExitStack) -> bool:
    """Another run into the same folder: refused, unless there is nothing left to capture."""
    second = subprocess.run(
        place.command("second.ipynb"),
        capture_output=True,
        text=True,
        cwd=place.folder,
        env=place.variables(),
        timeout=200,
    )
    refused = second.returncode == 42 and "another run is being captured into it" in second.stderr
    idle = second.returncode == 0 and "All phases exist already" in second.stdout
    if not refused and not idle:
        lines = (second.stdout + second.stderr).strip().splitlines()[-3:]
        place.problems.append(f"the second run ended with {second.returncode}: {lines}")
    return refused


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        *signals(),
        *pauses(),
        *disks(),
        *ports(),
        *answers(),
        *limits(),
        Kind("two runs on one folder", "two runs", _second_run, latest_s=12.0),
    )
}
