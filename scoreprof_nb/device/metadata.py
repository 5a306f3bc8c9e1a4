"""The parts of an xplane file that ``jax.profiler.ProfileData`` does not show, read from its bytes.

These are the stats of *event metadata*, where a TPU has an operation's category, flops and bytes once for all
of its events, and the programs (HLO) in the plane ``/host:metadata``. Field numbers are those of OpenXLA's
``xplane.proto``, ``hlo.proto`` and ``xla_data.proto``. The events themselves are skipped, so this is quick.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

METADATA_PLANE = "/host:metadata"
_TYPES = {
    **{1: "pred", 2: "s8", 3: "s16", 4: "s32", 5: "s64", 6: "u8", 7: "u16", 8: "u32", 9: "u64", 10: "f16"},
    **{11: "f32", 12: "f64", 16: "bf16", 19: "f8e5m2", 20: "f8e4m3fn", 21: "s4", 22: "u4"},
}
_INTEGERS = (4, 5, 8, 9)  # s32, s64, u32, u64
_TUPLE = 13
_SHAPES_SHOWN = 6

Value = str | int | float
Stats = Mapping[str, Value]


@dataclass(frozen=True)
class Program:
    """A compiled program: its number of inputs, and the shapes of the integer ones (token ids, positions,
    lengths), by which the programs of one function differ; of all where none is an integer."""

    name: str  # module and id, such as jit_run_model(24)
    inputs: int
    shapes: str


@dataclass(frozen=True)
class Metadata:
    """``operations``: the stats of event metadata by plane and event name."""

    operations: Mapping[tuple[str, str], Stats]
    programs: tuple[Program, ...]


def read_metadata(content: bytes) -> Metadata:
    """Raises ValueError when the bytes are not an xplane file."""
    operations: dict[tuple[str, str], Stats] = {}
    programs: list[Program] = []
    for tag, plane in _fields(memoryview(content)):
        if tag == 1 and isinstance(plane, memoryview):
            name, kinds = _plane(plane)
            if name == METADATA_PLANE:
                programs += [
                    _program(title, value)
                    for title, stats in kinds
                    for value in stats.values()
                    if isinstance(value, memoryview)
                ]
            else:
                for title, stats in kinds:
                    plain = {key: value for key, value in stats.items() if not isinstance(value, memoryview)}
                    if plain:
                        operations[name, title] = plain
    return Metadata(operations, tuple(programs))


def _plane(plane: memoryview) -> tuple[str, list[tuple[str, dict[str, Value | memoryview]]]]:
    """Name, and of each event metadata with stats: name and stats."""
    name, stat_names, kinds = "", dict[int, str](), []
    for tag, value in _fields(plane):
        if not isinstance(value, memoryview):
            continue
        if tag == 2:
            name = _text(value)
        elif tag == 5:
            stat = _one(_one(value, 2), 2)
            stat_names[_whole(value, 1)] = _text(stat)
        elif tag == 4:
            kinds.append(_one(value, 2))
    result = []
    for kind in kinds:
        stats = {
            stat_names.get(_whole(stat, 1), ""): _stat(stat, stat_names)
            for tag, stat in _fields(kind)
            if tag == 5 and isinstance(stat, memoryview)
        }
        if stats:
            result.append((_text(_one(kind, 2)), stats))
    return name, result


def _stat(stat: memoryview, stat_names: Mapping[int, str]) -> Value | memoryview:
    for tag, value in _fields(stat):
        if tag == 2 and isinstance(value, memoryview):
            number: float = struct.unpack("<d", value)[0]
            return number
        if tag == 4 and isinstance(value, int):
            return value - 2**64 if value >= 2**63 else value
        if tag == 7 and isinstance(value, int):
            return stat_names.get(value, "")
        if tag == 5 and isinstance(value, memoryview):
            return _text(value)
        if tag in (3, 6):
            return value
    return ""


def _program(name: str, hlo: memoryview) -> Program:
    signature = _one(_one(hlo, 1), 4)  # HloProto.hlo_module, HloModuleProto.host_program_shape
    shapes = [shape for tag, shape in _fields(signature) if tag == 1 and isinstance(shape, memoryview)]
    arrays = [shape for shape in shapes if _whole(shape, 2) != _TUPLE]
    chosen = [shape for shape in arrays if _whole(shape, 2) in _INTEGERS and _dimensions(shape)] or arrays
    texts = list(dict.fromkeys(map(_shape, chosen)))
    more = ", ..." if len(texts) > _SHAPES_SHOWN else ""
    return Program(name, len(shapes), ", ".join(texts[:_SHAPES_SHOWN]) + more)


def _shape(shape: memoryview) -> str:
    kind = _whole(shape, 2)
    return f"{_TYPES.get(kind, f'type{kind}')}[{','.join(map(str, _dimensions(shape)))}]"


def _dimensions(shape: memoryview) -> list[int]:
    sizes: list[int] = []
    for tag, value in _fields(shape):
        if tag == 3 and isinstance(value, int):
            sizes.append(value)
        elif tag == 3 and isinstance(value, memoryview):  # packed
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                sizes.append(size)
    return sizes


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: tag, and a whole number or bytes. Raises ValueError."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        tag, wire = key >> 3, key & 7
        if wire == 0:
            number, at = _varint(message, at)
            yield tag, number
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(message):
            raise ValueError("a field is longer than its message")
        yield tag, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(message):
            raise ValueError("the file ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError(f"no number at byte {at}")


def _one(message: memoryview, wanted: int) -> memoryview:
    """The last field of bytes with this tag; empty without one."""
    found = memoryview(b"")
    for tag, value in _fields(message):
        if tag == wanted and isinstance(value, memoryview):
            found = value
    return found


def _whole(message: memoryview, wanted: int) -> int:
    for tag, value in _fields(message):
        if tag == wanted and isinstance(value, int):
            return value
    return 0


def _text(value: memoryview) -> str:
    return bytes(value).decode(errors="replace")
