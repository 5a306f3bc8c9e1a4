"""Switches delays in a launched server on and off, and reads how often its functions were called.

The other side is ``delays/sitecustomize.py``, which the server's processes import; both share a file.
"""

import importlib.util
import json
import mmap
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from scoreprof_nb.capture.pyspy import PTRACER
from scoreprof_nb.engines.sglang_jax_what_if import TARGETS
from scoreprof_nb.engines.what_if import Target, WhatIfFileError, chosen, targets_of
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError

DELAYS = Path(__file__).with_name("delays")
FILE_PREFIX = "sp-delays-"
_COST_S = 60.0


def _server_side() -> ModuleType:
    """The module of the server's processes, for the layout of the file. Importing it changes nothing here:
    it wraps functions only where the environment names a file."""
    spec = importlib.util.spec_from_file_location("scoreprof_delays", DELAYS / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layout = _server_side()


@dataclass(frozen=True)
class Counters:
    """Of one function, over all processes: its calls, those that were delayed, and the sum of the delays."""

    calls: int
    delayed: int
    delay_ns: int

    def since(self, earlier: "Counters") -> "Counters":
        return Counters(
            self.calls - earlier.calls, self.delayed - earlier.delayed, self.delay_ns - earlier.delay_ns
        )


class DelaySwitch:
    """The shared file; entering creates it, leaving removes it."""

    def __init__(self, targets: Sequence[Target], off_ns: float) -> None:
        """``off_ns``: what a wrapper costs per call while no delay is on."""
        self.targets = tuple(targets)
        self.off_ns = off_ns

    def __enter__(self) -> Self:
        handle, self._path = tempfile.mkstemp(prefix=FILE_PREFIX)
        with os.fdopen(handle, "r+b") as file:
            file.truncate(8 * (layout.HEADER + layout.PROCESSES * layout.row_size(len(self.targets))))
            self._map = mmap.mmap(file.fileno(), 0)
        self._cells = memoryview(self._map).cast("B").cast("q")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cells.release()
        self._map.close()
        Path(self._path).unlink(missing_ok=True)

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The server's environment with the switch in it."""
        paths = environment.get("PYTHONPATH", "").split(os.pathsep)
        # Each sitecustomize runs the one that it hides: ptracer's the first other one, this one a later one.
        first = 1 if paths[0] == str(PTRACER) else 0
        return {
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, [*paths[:first], str(DELAYS), *paths[first:]])),
            layout.FILE: self._path,
            layout.TARGETS: json.dumps([target.function for target in self.targets]),
        }

    def on(self, function: int, delay_ns: int, sleeps: bool) -> None:
        """Delay each call of a function, by its number from 0; no other one is delayed any more."""
        self.off()
        self._cells[layout.DURATION_NS] = delay_ns
        self._cells[layout.SLEEPS] = int(sleeps)
        self._cells[layout.ACTIVE] = function + 1

    def off(self) -> None:
        """Delay nothing."""
        self._cells[layout.ACTIVE] = 0

    def counters(self) -> tuple[Counters, ...]:
        """Of each function, since the server was started."""
        return tuple(
            Counters(*(sum(self._column(number, column)) for column in _COUNTED))
            for number in range(len(self.targets))
        )

    def left_out(self, number: int) -> str | None:
        """Why a function cannot be delayed; None if it can."""
        states = self._column(number, layout.STATE)
        if layout.WRAPPED in states:
            return None
        if layout.MISSING in states:
            return "this server has no such function"
        return "no process of this server imported its module"

    def _column(self, function: int, column: int) -> list[int]:
        size = layout.row_size(len(self.targets))
        first = layout.HEADER + 1 + layout.PER_FUNCTION * function + column
        return [self._cells[first + number * size] for number in range(layout.PROCESSES)]


_COUNTED = (layout.CALLS, layout.DELAYED, layout.DELAY_NS)


def switch_of(parameters: Parameters, python: str) -> DelaySwitch | None:
    """The switch of a run; None without what-if. Raises ParameterError.

    ``python``: the server's interpreter.
    """
    if not parameters.what_if_ms:
        return None
    try:
        targets = (*TARGETS, *targets_of(parameters.rules_file))
    except WhatIfFileError as error:
        raise ParameterError("rules_file", parameters.rules_file, str(error)) from error
    try:
        targets = chosen(targets, parameters.what_if_components)
    except ValueError as error:
        raise ParameterError("what_if_components", parameters.what_if_components, str(error)) from error
    return DelaySwitch(targets, measured_off_ns(python))


def measured_off_ns(python: str) -> float:
    """What a wrapper costs per call in an interpreter while no delay is on."""
    process = subprocess.run(
        [python, str(DELAYS / "sitecustomize.py")],
        capture_output=True,
        text=True,
        timeout=_COST_S,
        check=True,
    )
    return max(float(process.stdout), 0.0)
