"""Tracks as a Perfetto trace: the format of https://perfetto.dev/docs/reference/synthetic-track-event.

Equal tracks give equal bytes. Names are written once each and referred to by number ("interned"). Most
packets have only a time, a kind, a track and a known name. To build each of them would take most of a
timeline's time: such a packet is built once without its time, and each time is put before it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackDescriptor, TrackEvent

from scoreprof_nb.timeline.tracks import Detail, Group, Slice, Track

_SEQUENCE = 1
_PACKET = b"\x0a"  # field 1 of Trace, as bytes
_TIMESTAMP = b"\x40"  # field 8 of TracePacket, as a number; it comes first
_HALF_BITS = 14  # two bytes of a number, of seven bits each
_HALF = (1 << _HALF_BITS) - 1


class _Writer:
    """Writes the packets of one sequence."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self._names: dict[str, int] = {}
        self._detail_names: dict[str, int] = {}
        self._timeless: dict[tuple[int, int, int | None], bytes] = {}
        self._uuids = 0

    def serialize(self) -> bytes:
        return b"".join(self._packets)

    def group(self, group: Group, rank: int) -> int:
        """Describe a group of tracks; return its uuid."""
        packet, descriptor = self._descriptor(rank)
        if group.pid is None:
            descriptor.name = group.name
        else:
            descriptor.process.pid = group.pid
            descriptor.process.process_name = group.name
        descriptor.child_ordering = TrackDescriptor.EXPLICIT
        self._add(packet)
        return int(descriptor.uuid)

    def track(self, track: Track, parent: int, rank: int) -> None:
        """Describe a track and write its events."""
        packet, descriptor = self._descriptor(rank)
        descriptor.parent_uuid = parent
        if track.tid is not None and track.group.pid is not None:
            descriptor.thread.pid, descriptor.thread.tid = track.group.pid, track.tid
            descriptor.thread.thread_name = track.name
        else:
            descriptor.name = track.name
        uuid = int(descriptor.uuid)
        if track.counter is not None:
            descriptor.counter.unit_name = track.counter.unit
        self._add(packet)
        if track.counter is not None:
            for time_ns, value in track.counter.points:
                packet = self._event(TrackEvent.TYPE_COUNTER, uuid)
                packet.timestamp, packet.track_event.double_counter_value = time_ns, value
                self._add(packet)
        for one in track.slices:
            self._slice(one, uuid)
        for instant in track.instants:
            self._named(TrackEvent.TYPE_INSTANT, uuid, instant.time_ns, instant.name, instant.details)

    def _slice(self, one: Slice, uuid: int) -> None:
        self._named(TrackEvent.TYPE_SLICE_BEGIN, uuid, one.start_ns, one.name, one.details)
        for child in one.children:
            self._slice(child, uuid)
        self._plain(TrackEvent.TYPE_SLICE_END, uuid, one.end_ns, None)

    def _named(self, kind: int, uuid: int, time_ns: int, name: str, details: tuple[Detail, ...]) -> None:
        if not details and name in self._names:
            self._plain(kind, uuid, time_ns, self._names[name])
            return
        packet = self._event(kind, uuid)
        packet.timestamp = time_ns
        event, added = packet.track_event, packet.interned_data
        event.name_iid = _interned(name, self._names, added.event_names)
        for key, value in details:
            annotation = event.debug_annotations.add()
            annotation.name_iid = _interned(key, self._detail_names, added.debug_annotation_names)
            if isinstance(value, int):
                annotation.int_value = value
            elif isinstance(value, float):
                annotation.double_value = value
            else:
                annotation.string_value = value
        if added.ByteSize() == 0:
            packet.ClearField("interned_data")
        self._add(packet)

    def _plain(self, kind: int, uuid: int, time_ns: int, name: int | None) -> None:
        """An event without details, whose name is known by its number."""
        timeless = self._timeless.get((kind, uuid, name))
        if timeless is None:
            packet = self._event(kind, uuid)
            if name is not None:
                packet.track_event.name_iid = name
            timeless = self._timeless[kind, uuid, name] = packet.SerializeToString()
        body = _TIMESTAMP + _time(time_ns) + timeless
        self._packets.append(_head(len(body)) + body)

    def _descriptor(self, rank: int) -> tuple[Any, Any]:
        self._uuids += 1
        packet = _new_packet()
        if not self._packets:
            packet.sequence_flags |= TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        descriptor = packet.track_descriptor
        descriptor.uuid, descriptor.sibling_order_rank = self._uuids, rank
        return packet, descriptor

    def _event(self, kind: int, uuid: int) -> Any:
        packet = _new_packet()
        packet.track_event.type, packet.track_event.track_uuid = kind, uuid
        return packet

    def _add(self, packet: Any) -> None:
        content = packet.SerializeToString()
        self._packets.append(_head(len(content)) + content)


def _new_packet() -> Any:
    packet = TracePacket()
    packet.trusted_packet_sequence_id = _SEQUENCE
    packet.sequence_flags = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
    return packet


@cache
def _head(size: int) -> bytes:
    """What comes before a packet of so many bytes."""
    return _PACKET + _number(size)


def _time(time_ns: int) -> bytes:
    """A number as protobuf writes it, quick for the many that differ in their lowest 28 bits."""
    halves, more = _halves(), time_ns >> _HALF_BITS
    return halves[time_ns & _HALF] + halves[more & _HALF] + _number(more >> _HALF_BITS)


@cache
def _halves() -> list[bytes]:
    """Each number of 14 bits in two bytes that say that more follow."""
    return [bytes((value & 127 | 128, value >> 7 | 128)) for value in range(_HALF + 1)]


@cache
def _number(value: int) -> bytes:
    """A whole number as protobuf writes it: seven bits to a byte, the lowest first. Raises ValueError."""
    if value < 0:
        raise ValueError(f"a number below zero: {value}")
    parts = b""
    while value > 127:
        parts += bytes((value & 127 | 128,))
        value >>= 7
    return parts + bytes((value,))


def _interned(name: str, known: dict[str, int], added: Any) -> int:
    """The number of a name, which is defined in this packet if it is new."""
    if name not in known:
        known[name] = len(known) + 1
        added.add(iid=known[name], name=name)
    return known[name]


def perfetto_trace(tracks: Iterable[Track]) -> bytes:
    """The trace, in the order of the tracks; groups in the order of their first track."""
    writer = _Writer()
    groups: dict[Group, int] = {}
    for rank, track in enumerate(tracks):
        if track.group not in groups:
            groups[track.group] = writer.group(track.group, len(groups))
        writer.track(track, groups[track.group], rank)
    return writer.serialize()
