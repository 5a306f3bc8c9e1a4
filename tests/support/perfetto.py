"""Reads a Perfetto trace back: tracks with slices, instants and counters, names resolved."""

from dataclasses import dataclass, field

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackEvent


@dataclass
class ReadSlice:
    """A slice with the number of slices around it. ``parent``: index in the track's slices, or None."""

    name: str
    start_ns: int
    end_ns: int
    details: dict
    parent: int | None


@dataclass
class ReadTrack:
    name: str
    group: str
    pid: int | None = None
    tid: int | None = None
    slices: list[ReadSlice] = field(default_factory=list)
    instants: list[tuple[int, str, dict]] = field(default_factory=list)
    points: list[tuple[int, float]] = field(default_factory=list)


def read_trace(content: bytes) -> dict[tuple[str, str], ReadTrack]:
    """Tracks by (group, name), with the thread id in a name that is not the first of its kind. Fails if a slice is not closed, not nested, or events go back in time."""
    trace = Trace()
    trace.ParseFromString(content)
    names, detail_names, groups, tracks = {}, {}, {}, {}
    open_slices: dict[int, list[int]] = {}
    latest: dict[int, int] = {}
    assert trace.packet[0].sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    for packet in trace.packet:
        names |= {one.iid: one.name for one in packet.interned_data.event_names}
        detail_names |= {one.iid: one.name for one in packet.interned_data.debug_annotation_names}
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            if not descriptor.parent_uuid:
                groups[descriptor.uuid] = descriptor.process.process_name or descriptor.name
            else:
                track = ReadTrack(
                    descriptor.thread.thread_name or descriptor.name, groups[descriptor.parent_uuid]
                )
                if descriptor.HasField("thread"):
                    track.pid, track.tid = descriptor.thread.pid, descriptor.thread.tid
                tracks[descriptor.uuid] = track
                open_slices[descriptor.uuid] = []
        if packet.HasField("track_event"):
            event, uuid = packet.track_event, packet.track_event.track_uuid
            track, stack = tracks[uuid], open_slices[uuid]
            assert packet.timestamp >= latest.get(uuid, 0), f"{track.name} goes back in time"
            latest[uuid] = packet.timestamp
            details = {
                detail_names[one.name_iid]: getattr(one, one.WhichOneof("value"))
                for one in event.debug_annotations
            }
            if event.type == TrackEvent.TYPE_SLICE_BEGIN:
                parent = stack[-1] if stack else None
                stack.append(len(track.slices))
                track.slices.append(ReadSlice(names[event.name_iid], packet.timestamp, -1, details, parent))
            elif event.type == TrackEvent.TYPE_SLICE_END:
                track.slices[stack.pop()].end_ns = packet.timestamp
            elif event.type == TrackEvent.TYPE_INSTANT:
                track.instants.append((packet.timestamp, names[event.name_iid], details))
            else:
                track.points.append((packet.timestamp, event.double_counter_value))
    assert not any(open_slices.values()), "a slice is not closed"
    result: dict[tuple[str, str], ReadTrack] = {}
    for track in tracks.values():
        known = (track.group, track.name) in result
        result[track.group, f"{track.name} {track.tid}" if known else track.name] = track
    assert len(result) == len(tracks), "two tracks of a group have the same name"
    return result
