"""XSpace protobufs written field by field, by the names and numbers of OpenXLA's ``xplane.proto``.

The kit reads them with ``jax.profiler.ProfileData``, which is not part of the kit: a trace that it reads as
meant is written correctly.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Value = str | bytes | int | float
Stats = Mapping[str, Value]


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def block(tag: int, content: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(content)) + content


@dataclass(frozen=True)
class Event:
    """``start_ns`` is relative to its line; ``of_kind``: stats of the event's metadata, shared by equal names."""

    name: str
    start_ns: float
    duration_ns: float
    stats: Stats = field(default_factory=dict)
    of_kind: Stats = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    name: str
    events: Sequence[Event]
    timestamp_ns: int = 0


@dataclass(frozen=True)
class Plane:
    """``kinds``: event metadata without an event, as ``/host:metadata`` has it."""

    name: str
    lines: Sequence[Line] = ()
    stats: Stats = field(default_factory=dict)
    kinds: Mapping[str, Stats] = field(default_factory=dict)


def xspace(planes: Sequence[Plane]) -> bytes:
    return b"".join(block(1, _plane(plane)) for plane in planes)


def task_environment(start_ns: int, stop_ns: int) -> Plane:
    return Plane("Task Environment", stats={"profile_start_time": start_ns, "profile_stop_time": stop_ns})


def _plane(plane: Plane) -> bytes:
    names: dict[str, int] = {}
    kinds: dict[str, tuple[int, Stats]] = {}
    for at, (name, stats) in enumerate(plane.kinds.items(), start=1):
        kinds[name] = (at, stats)
    for line in plane.lines:
        for event in line.events:
            kinds.setdefault(event.name, (len(kinds) + 1, event.of_kind))
    lines = b"".join(block(3, _line(number_, line, kinds, names)) for number_, line in enumerate(plane.lines))
    metadata = b"".join(
        block(4, number(1, at) + block(2, number(1, at) + block(2, name.encode()) + _stats(5, stats, names)))
        for name, (at, stats) in kinds.items()
    )
    own = _stats(6, plane.stats, names)
    stat_names = b"".join(
        block(5, number(1, at) + block(2, number(1, at) + block(2, name.encode())))
        for name, at in names.items()
    )
    return block(2, plane.name.encode()) + lines + metadata + stat_names + own


def _line(at: int, line: Line, kinds: Mapping[str, tuple[int, Stats]], names: dict[str, int]) -> bytes:
    events = b"".join(
        block(
            4,
            number(1, kinds[event.name][0])
            + number(2, round(event.start_ns * 1000))
            + number(3, round(event.duration_ns * 1000))
            + _stats(4, event.stats, names),
        )
        for event in line.events
    )
    return number(1, at) + block(2, line.name.encode()) + number(3, line.timestamp_ns) + events


def _stats(tag: int, stats: Stats, names: dict[str, int]) -> bytes:
    return b"".join(
        block(tag, number(1, names.setdefault(name, len(names) + 1)) + _value(value))
        for name, value in stats.items()
    )


def _value(value: Value) -> bytes:
    if isinstance(value, float):
        return varint(2 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return number(4, value) if value < 0 else number(3, value)
    return block(5, value.encode()) if isinstance(value, str) else block(6, value)
