"""Tracks as a Perfetto trace: the format of https://perfetto.dev/docs/reference/synthetic-track-event.

Equal tracks give equal bytes. Names are written once each and referred to by number ("interned").
"""

from collections.abc import Iterable
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackDescriptor, TrackEvent
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

from scoreprof_nb.timeline.tracks import Detail, Group, Slice, Track

_SEQUENCE = 1


class _Writer:
    """Writes the packets of one sequence."""

    def __init__(self) -> None:
        self._builder = TraceProtoBuilder()
        self._names: dict[str, int] = {}
        self._detail_names: dict[str, int] = {}
        self._uuids = 0
        self._cleared = False

    def serialize(self) -> bytes:
        return bytes(self._builder.serialize())

    def group(self, group: Group, rank: int) -> int:
        """Describe a group of tracks; return its uuid."""
        descriptor = self._descriptor()
        if group.pid is None:
            descriptor.name = group.name
        else:
            descriptor.process.pid = group.pid
            descriptor.process.process_name = group.name
        descriptor.sibling_order_rank = rank
        descriptor.child_ordering = TrackDescriptor.EXPLICIT
        return int(descriptor.uuid)

    def track(self, track: Track, parent: int, rank: int) -> None:
        """Describe a track and write its events."""
        descriptor = self._descriptor()
        descriptor.parent_uuid = parent
        descriptor.sibling_order_rank = rank
        if track.tid is not None and track.group.pid is not None:
            descriptor.thread.pid, descriptor.thread.tid = track.group.pid, track.tid
            descriptor.thread.thread_name = track.name
        else:
            descriptor.name = track.name
        uuid = int(descriptor.uuid)
        if track.counter is not None:
            descriptor.counter.unit_name = track.counter.unit
            for time_ns, value in track.counter.points:
                self._event(TrackEvent.TYPE_COUNTER, uuid, time_ns).double_counter_value = value
        for one in track.slices:
            self._slice(one, uuid)
        for instant in track.instants:
            self._event(TrackEvent.TYPE_INSTANT, uuid, instant.time_ns, instant.name, instant.details)

    def _slice(self, one: Slice, uuid: int) -> None:
        self._event(TrackEvent.TYPE_SLICE_BEGIN, uuid, one.start_ns, one.name, one.details)
        for child in one.children:
            self._slice(child, uuid)
        self._event(TrackEvent.TYPE_SLICE_END, uuid, one.end_ns)

    def _descriptor(self) -> Any:
        self._uuids += 1
        descriptor = self._packet().track_descriptor
        descriptor.uuid = self._uuids
        return descriptor

    def _event(
        self, kind: int, uuid: int, time_ns: int, name: str | None = None, details: tuple[Detail, ...] = ()
    ) -> Any:
        packet = self._packet()
        packet.timestamp = time_ns
        event = packet.track_event
        event.type, event.track_uuid = kind, uuid
        if name is not None:
            event.name_iid = _interned(name, self._names, packet.interned_data.event_names)
        for key, value in details:
            annotation = event.debug_annotations.add()
            annotation.name_iid = _interned(
                key, self._detail_names, packet.interned_data.debug_annotation_names
            )
            if isinstance(value, int):
                annotation.int_value = value
            elif isinstance(value, float):
                annotation.double_value = value
            else:
                annotation.string_value = value
        if packet.interned_data.ByteSize() == 0:
            packet.ClearField("interned_data")
        return event

    def _packet(self) -> Any:
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        if not self._cleared:
            packet.sequence_flags |= TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
            self._cleared = True
        return packet


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
