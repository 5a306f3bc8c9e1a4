"""What a timeline consists of: tracks with slices, instants or a counter. Times are epoch nanoseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Detail = tuple[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of time with a name. ``children`` lie within it, in the order of time, without overlap."""

    start_ns: int
    end_ns: int
    name: str
    details: tuple[Detail, ...] = ()
    children: tuple["Slice", ...] = ()


@dataclass(frozen=True, slots=True)
class Instant:
    """Something that happened at one moment."""

    time_ns: int
    name: str
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True)
class Counter:
    """A number over time: each value holds until the next. ``unit``: such as ``requests``."""

    unit: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Group:
    """Tracks that are shown together. ``pid``: of a process of the server; None for what is none."""

    name: str
    pid: int | None = None


@dataclass(frozen=True)
class Track:
    """One line of the timeline. ``tid``: of a thread of the group's process.

    ``slices`` do not overlap and are in the order of time.
    """

    group: Group
    name: str
    tid: int | None = None
    slices: tuple[Slice, ...] = ()
    instants: tuple[Instant, ...] = ()
    counter: Counter | None = None


Window = tuple[int, int]  # from, to (epoch nanoseconds, the end excluded)


def clipped(track: Track, windows: Sequence[Window]) -> Track:
    """The track with only what begins in one of the windows."""

    def inside(time_ns: int) -> bool:
        return any(first <= time_ns < last for first, last in windows)

    counter = track.counter
    return replace(
        track,
        slices=tuple(one for one in track.slices if inside(one.start_ns)),
        instants=tuple(one for one in track.instants if inside(one.time_ns)),
        counter=counter and replace(counter, points=tuple(one for one in counter.points if inside(one[0]))),
    )


def events_in(track: Track) -> int:
    """The number of events that a track takes in a file: two per slice."""
    points = len(track.counter.points) if track.counter is not None else 0
    return sum(map(_events_of, track.slices)) + len(track.instants) + points


def _events_of(one: Slice) -> int:
    return 2 + sum(map(_events_of, one.children))
