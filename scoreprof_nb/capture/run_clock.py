"""The clock of a capture: seconds since the epoch that nobody can set.

It is read from the system's clock once, when a capture begins, and then counted by CLOCK_MONOTONIC, which
all processes of a machine share. So requests, blocks, log lines, ticks and counters of a run are on one
clock, even if the machine's is set by an hour meanwhile. ``from_system_s`` puts times on it that another
program took from the system's clock.

``launcher.py`` and ``schedstat_reader.py`` import nothing of the kit: they are given ``epoch_ns``.
"""

import time
from dataclasses import dataclass, field

STEP_S = 0.2  # a smaller difference is the time between the readings of the two clocks


@dataclass
class _Anchor:
    """Epoch nanoseconds of the monotonic clock's zero."""

    epoch_ns: int = field(default_factory=lambda: time.time_ns() - time.monotonic_ns())


_ANCHOR = _Anchor()


def anchor(not_before_s: float = 0.0) -> float:
    """Begin a run: read the system's clock. Returns by how many seconds it is behind ``not_before_s``.

    Where it is behind, the run's clock goes on from there: a run that is resumed must not write times that
    it has used already.
    """
    system_ns = time.time_ns()
    begin_ns = max(system_ns, round(not_before_s * 1e9))
    _ANCHOR.epoch_ns = begin_ns - time.monotonic_ns()
    return (begin_ns - system_ns) / 1e9


def epoch_ns() -> int:
    """What to add to CLOCK_MONOTONIC, for another process."""
    return _ANCHOR.epoch_ns


def now_ns() -> int:
    """Epoch nanoseconds."""
    return _ANCHOR.epoch_ns + time.monotonic_ns()


def now_s() -> float:
    """Epoch seconds."""
    return now_ns() / 1e9


def system_ahead_s() -> float:
    """How far the system's clock is ahead of the run's; 0 if it was not set since."""
    ahead_s = (time.time_ns() - now_ns()) / 1e9
    return ahead_s if abs(ahead_s) > STEP_S else 0.0


def from_system_s(at_s: float) -> float:
    """A time that another program has just taken from the system's clock, by the run's."""
    return at_s - system_ahead_s()


class StepWatch:
    """Notices when the system's clock is set. ``steps``: when (by the run's clock), by how many seconds."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self._ahead_s = system_ahead_s()

    def look(self) -> None:
        """To be called often: two steps between two calls are one."""
        ahead_s = system_ahead_s()
        if abs(ahead_s - self._ahead_s) > STEP_S:
            self.steps.append((now_s(), ahead_s - self._ahead_s))
            self._ahead_s = ahead_s
