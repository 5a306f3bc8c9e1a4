"""Puts a delay into a function of the server while it runs, as long as a shared file says so.

Python imports it at its start from PYTHONPATH, in each process of a server that is launched for what-if
blocks, and in no other. It wraps some functions when their modules are imported, counts their calls, and
delays those of one function while that function's number is in the file. Then it runs the sitecustomize that
it hides, if there is one. Standard library only.

    SCOREPROF_DELAYS          the file: int64 numbers, a header and a row for each process (below)
    SCOREPROF_DELAY_TARGETS   JSON: ["MODULE:CLASS.METHOD", ...]

A wrapper has the names of the function that it wraps, so that a stack sampled during the delay looks as if
the function itself took longer.

``python sitecustomize.py`` prints what a wrapper costs while no delay is on, in ns per call.
"""

import asyncio
import fcntl
import functools
import importlib.abc
import importlib.util
import inspect
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

FILE, TARGETS = "SCOREPROF_DELAYS", "SCOREPROF_DELAY_TARGETS"
# The header: the number of the delayed function (from 1; 0: none), whether it sleeps, and for how long.
ACTIVE, SLEEPS, DURATION_NS, HEADER = 0, 1, 2, 3
# A row: the process id, then for each function its state, its calls, its delayed calls and their delays.
PROCESSES = 64
STATE, CALLS, DELAYED, DELAY_NS, PER_FUNCTION = 0, 1, 2, 3, 4
WRAPPED, MISSING = 1, 2
_COST_CALLS = 20_000


def row_size(functions: int) -> int:
    """Numbers in the row of a process."""
    return 1 + PER_FUNCTION * functions


class Delays:
    """The shared file, and this process's row in it."""

    def __init__(self, cells: "memoryview[int]", row: int) -> None:
        """``row``: where the process's row begins."""
        self._cells = cells
        self._row = row

    @classmethod
    def of_process(cls, path: str, functions: int) -> "Delays | None":
        """Take the first free row of the file; None if there is none."""
        with open(path, "r+b") as file:  # noqa: PTH123  # start-up of each process: the fewest layers
            cells = memoryview(mmap.mmap(file.fileno(), 0)).cast("B").cast("q")
            fcntl.flock(file, fcntl.LOCK_EX)
            rows = (HEADER + number * row_size(functions) for number in range(PROCESSES))
            row = next((row for row in rows if cells[row] == 0), None)
            if row is not None:
                cells[row] = os.getpid()
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do it: the map keeps the file open
        return None if row is None else cls(cells, row)

    def set_state(self, function: int, state: int) -> None:
        """``function``: its number, from 0."""
        self._cells[self._row + 1 + PER_FUNCTION * function + STATE] = state

    def wrapped(self, original: Any, function: int) -> Any:
        """The function with a counter, and a delay that can be switched on."""
        cells, number = self._cells, function + 1
        place = self._row + 1 + PER_FUNCTION * function
        calls = place + CALLS

        def delay() -> None:
            start_ns = time.perf_counter_ns()
            if cells[SLEEPS]:
                time.sleep(cells[DURATION_NS] / 1e9)
            else:
                end_ns = start_ns + cells[DURATION_NS]
                while time.perf_counter_ns() < end_ns:
                    pass
            cells[place + DELAYED] += 1
            cells[place + DELAY_NS] += time.perf_counter_ns() - start_ns

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            cells[calls] += 1
            if cells[ACTIVE] == number:
                delay()
            return original(*args, **kwargs)

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            cells[calls] += 1
            if cells[ACTIVE] == number:
                delay()
            return await original(*args, **kwargs)

        return _named_like(coroutine if asyncio.iscoroutinefunction(original) else wrapper, original)


def _named_like(wrapper: Any, original: Any) -> Any:
    code = getattr(inspect.unwrap(original), "__code__", None)
    if code is not None:
        wrapper.__code__ = wrapper.__code__.replace(
            co_name=code.co_name, co_qualname=code.co_qualname, co_filename=code.co_filename
        )
    return functools.update_wrapper(wrapper, original)


def install(delays: Delays, module: ModuleType, path: str, function: int) -> None:
    """Replace a function of a module by its wrapper. ``path``: within the module."""
    *outer, name = path.split(".")
    try:
        owner = functools.reduce(getattr, outer, module)
        kept = inspect.getattr_static(owner, name)
    except AttributeError:
        delays.set_state(function, MISSING)
        return
    if isinstance(kept, classmethod | staticmethod):
        replacement: Any = type(kept)(delays.wrapped(kept.__func__, function))
    else:
        replacement = delays.wrapped(kept, function)
    setattr(owner, name, replacement)
    delays.set_state(function, WRAPPED)


class WrapOnImport(importlib.abc.MetaPathFinder):
    """Wraps the functions of a module right after it has run, before others import names from it."""

    def __init__(self, path: str, targets: Sequence[str]) -> None:
        self._path = path
        self._functions = len(targets)
        self._delays: Delays | None = None
        self._pending: dict[str, list[tuple[int, str]]] = {}
        for number, target in enumerate(targets):
            module, _, inside = target.partition(":")
            self._pending.setdefault(module, []).append((number, inside))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        functions = self._pending.pop(fullname, None)
        if functions is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            if self._delays is None:
                self._delays = Delays.of_process(self._path, self._functions)
            if self._delays is not None:
                for number, inside in functions:
                    install(self._delays, module, inside, number)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def off_cost_ns() -> float:
    """What a wrapper adds to a call while no delay is on: the best of some rounds."""

    class Service:
        def call(self, argument: int) -> int:
            return argument

    def round_ns(function: Callable[[Service, int], int]) -> float:
        service = Service()
        start_ns = time.perf_counter_ns()
        for number in range(_COST_CALLS):
            function(service, number)
        return (time.perf_counter_ns() - start_ns) / _COST_CALLS

    cells = memoryview(bytearray(8 * (HEADER + row_size(1)))).cast("q")
    wrapper = Delays(cells, HEADER).wrapped(Service.call, 0)
    return min(round_ns(wrapper) for _ in range(5)) - min(round_ns(Service.call) for _ in range(5))


def _run_hidden() -> None:
    here = Path(__file__).parent
    places = [place for place, path in enumerate(sys.path) if Path(path).absolute() == here]
    later = sys.path[places[0] + 1 :] if places else []
    spec = PathFinder.find_spec("sitecustomize", later)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "__main__":
    print(off_cost_ns())
else:
    if FILE in os.environ:
        sys.meta_path.insert(0, WrapOnImport(os.environ[FILE], json.loads(os.environ[TARGETS])))
    _run_hidden()
