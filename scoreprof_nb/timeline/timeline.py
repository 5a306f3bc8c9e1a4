"""The timeline of a phase, within a limit of size."""

from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.run_folder.records import PhaseRecord
from scoreprof_nb.timeline.device import device_tracks
from scoreprof_nb.timeline.perfetto_trace import perfetto_trace
from scoreprof_nb.timeline.requests import SERVER, block_track, log_tracks, request_tracks
from scoreprof_nb.timeline.threads import core_tracks, thread_tracks
from scoreprof_nb.timeline.tracks import Group, Instant, Track, Window, clipped, events_in

MAX_BYTES = 20_000_000
LEAST_EVENT_BYTES = 16  # of one event in the file: a trace that must be too large is not built first
_MARGIN = 0.95
_WHOLE = Group("timeline")


@dataclass(frozen=True)
class Timeline:
    """A Perfetto trace. ``share``: of each block, its beginning, that fits into the limit of size."""

    trace: bytes
    share: float


def phase_tracks(analysis: PhaseAnalysis, log: pd.DataFrame) -> tuple[Track, ...]:
    """All tracks of a phase. ``log``: the server's."""
    trace, requests = analysis.device.trace, analysis.phase.requests
    return (
        block_track(analysis.phase),
        *request_tracks("warm-up requests", requests[requests["warmup"]]),
        *request_tracks("requests", requests[~requests["warmup"] & ~requests["repeat"]]),
        *request_tracks("repeated requests", requests[requests["repeat"]]),
        *request_tracks("requests of the device trace", analysis.phase.device_requests()),
        *log_tracks(analysis.phase, log),
        *core_tracks(analysis.ticks, SERVER),
        *thread_tracks(analysis.ticks),
        *(device_tracks(trace.events) if trace is not None else ()),
    )


def phase_timeline(analysis: PhaseAnalysis, log: pd.DataFrame, max_bytes: int = MAX_BYTES) -> Timeline:
    """The timeline of a phase: as much of each block, from its beginning, as fits into ``max_bytes``.

    A timeline that is cut says so on a track of its own.
    """
    tracks = phase_tracks(analysis, log)
    share = min(1.0, max_bytes / (LEAST_EVENT_BYTES * max(sum(map(events_in, tracks)), 1)))
    trace = _trace(tracks, analysis.phase.record, share)
    while len(trace) > max_bytes:
        share *= _MARGIN * max_bytes / len(trace)
        trace = _trace(tracks, analysis.phase.record, share)
    return Timeline(trace, share)


def _trace(tracks: tuple[Track, ...], record: PhaseRecord, share: float) -> bytes:
    if share == 1.0:
        return perfetto_trace(tracks)
    windows = _windows(record, share)
    note = Track(
        _WHOLE, "cut", instants=(Instant(windows[0][0], f"cut: the first {share:.1%} of each block"),)
    )
    return perfetto_trace((note, *(clipped(track, windows) for track in tracks)))


def _windows(record: PhaseRecord, share: float) -> list[Window]:
    """The first part of the warm-up, of each block, and of the device trace."""
    stretches = [(block.start_s, block.stop_s) for block in record.blocks]
    stretches.append(
        (record.started_s, min((start_s for start_s, _ in stretches), default=record.finished_s))
    )
    if record.device_trace is not None:
        stretches.append((record.device_trace.started_s, record.device_trace.stopped_s))
    return [(round(start * 1e9), round((start + share * (stop - start)) * 1e9)) for start, stop in stretches]
