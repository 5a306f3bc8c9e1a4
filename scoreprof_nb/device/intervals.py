"""Sets of time: disjoint intervals in whole nanoseconds, with union, intersection and difference."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Nanoseconds = NDArray[np.int64]
_FIRST, _LAST = np.iinfo(np.int64).min // 2, np.iinfo(np.int64).max // 2


@dataclass(frozen=True)
class Intervals:
    """Disjoint, non-empty intervals [start, end) in ascending order: two arrays of equal length."""

    starts: Nanoseconds
    ends: Nanoseconds

    @classmethod
    def union(cls, starts: ArrayLike, ends: ArrayLike) -> Self:
        """The union of any intervals; those that overlap or touch become one, empty ones vanish."""
        first, last = (np.asarray(values, dtype=np.int64).ravel() for values in (starts, ends))
        first, last = first[last > first], last[last > first]
        if not len(first):
            return cls(first, last)
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order])
        opens = np.concatenate([[True], first[1:] > last[:-1]])
        return cls(first[opens], last[np.concatenate([opens[1:], [True]])])

    @property
    def total_ns(self) -> int:
        return int((self.ends - self.starts).sum())

    def __or__(self, other: "Intervals") -> "Intervals":
        return Intervals.union(
            np.concatenate([self.starts, other.starts]), np.concatenate([self.ends, other.ends])
        )

    def __and__(self, other: "Intervals") -> "Intervals":
        """The time that lies in both. For each interval of ``self``, those of ``other`` that overlap it."""
        first = np.searchsorted(other.ends, self.starts, side="right")
        last = np.searchsorted(other.starts, self.ends, side="left")
        counts = np.maximum(last - first, 0)
        mine = np.repeat(np.arange(len(self.starts)), counts)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        theirs = np.repeat(first, counts) + np.arange(len(mine)) - before
        return Intervals(
            np.maximum(self.starts[mine], other.starts[theirs]),
            np.minimum(self.ends[mine], other.ends[theirs]),
        )

    def __sub__(self, other: "Intervals") -> "Intervals":
        """The time that lies in ``self`` only."""
        gaps = Intervals(np.concatenate([[_FIRST], other.ends]), np.concatenate([other.starts, [_LAST]]))
        return self & gaps

    def within(self, starts: Nanoseconds, ends: Nanoseconds) -> Nanoseconds:
        """How many nanoseconds of each window [start, end) lie in the set; shape of ``starts``."""
        inside: Nanoseconds = np.maximum(self._covered(ends) - self._covered(starts), 0)
        return inside

    def _covered(self, at: Nanoseconds) -> Nanoseconds:
        """The length of the set before each time."""
        lengths = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        entered = np.searchsorted(self.starts, at, side="right")
        beyond = np.zeros_like(at)
        inside = entered > 0
        beyond[inside] = np.maximum(self.ends[entered[inside] - 1] - at[inside], 0)
        result: Nanoseconds = lengths[entered] - beyond
        return result
