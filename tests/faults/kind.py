"""A kind of fault: what is done to a run, and when."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass

import psutil

from scoreprof_nb.runner.supervisor import PAPERMILL
from tests.faults.place import Place

CODES = (0, 1, 42, 129, 130, 143)

type Find = Callable[[psutil.Process], bool]
type Strike = Callable[[Place, ExitStack], bool]


def _has(position: int, ending: str) -> Find:
    """A process of whose command line the word at this position ends so."""

    def find(process: psutil.Process) -> bool:
        words = process.cmdline()
        return len(words) > position and words[position].endswith(ending)

    return find


def _titled(title: str) -> Find:
    return lambda process: title in " ".join([process.name(), *process.cmdline()[:1]])


PROCESSES: Mapping[str, Find] = {
    "guard": _has(3, "runner/guard.py"),
    "papermill": lambda process: process.cmdline()[1:3] == ["-m", PAPERMILL],
    "kernel": _has(2, "ipykernel_launcher"),
    "launcher": _has(1, "capture/launcher.py"),
    "HTTP process": _has(1, "serve_0_0_2.py"),
    "scheduler": _titled("sglang::scheduler"),
    "detokenizer": _titled("sglang-jax::detokenizer"),
    "py-spy": _has(1, "record"),
    "reader of counters": _has(3, "capture/schedstat_reader.py"),
}


def process_of(place: Place, name: str) -> psutil.Process | None:
    """The process of the run with this name; None if there is none now."""
    if name == "runner":
        return place.runner
    for process in place.descendants():
        with suppress(psutil.Error):
            if PROCESSES[name](process):
                return process
    return None


@dataclass(frozen=True)
class Kind:
    """``strike``: does it, and whether there was something to hit; what it sets up on the stack is undone
    before the next start. ``after``: the name of a process, or a line of the output, that it waits for;
    ``latest_s``: how long after that it strikes at most. ``around``: what the run needs to be set up.
    ``may``: whether this machine can do it. ``codes``: the exit codes that the run may end with."""

    name: str
    group: str
    strike: Strike
    after: str = "launcher"
    latest_s: float = 20.0
    around: Callable[[Place], AbstractContextManager[None]] = nullcontext
    may: Callable[[], bool] = lambda: True
    codes: Sequence[int] = CODES

    def begun(self, place: Place) -> bool:
        """Whether what it waits for has come."""
        if self.after in ("runner", *PROCESSES):
            return process_of(place, self.after) is not None
        return self.after in place.text()
