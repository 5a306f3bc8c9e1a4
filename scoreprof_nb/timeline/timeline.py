"""The timeline of a phase, within a limit of size."""

from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.timeline.device import device_tracks
from scoreprof_nb.timeline.perfetto_trace import perfetto_trace
from scoreprof_nb.timeline.requests import SERVER, client_tracks, log_tracks
from scoreprof_nb.timeline.threads import core_tracks, thread_tracks
from scoreprof_nb.timeline.tracks import Group, Instant, Track, Window, clipped

MAX_BYTES = 20_000_000
_MARGIN = 0.95
_WHOLE = Group("timeline")


@dataclass(frozen=True)
class Timeline:
    """A Perfetto trace. ``share``: of each block, its beginning, that fits into the limit of size."""

    trace: bytes
    share: float


def phase_tracks(
    analysis: PhaseAnalysis, log: pd.DataFrame, device: pd.DataFrame | None = None
) -> tuple[Track, ...]:
    """All tracks of a phase. ``log``: the server's; ``device``: as in ``device_tracks``."""
    return (
        *client_tracks(analysis.phase, analysis.requests.table),
        *log_tracks(analysis.phase, log),
        *core_tracks(analysis.ticks, SERVER),
        *thread_tracks(analysis.ticks),
        *device_tracks(device),
    )


def phase_timeline(
    analysis: PhaseAnalysis,
    log: pd.DataFrame,
    device: pd.DataFrame | None = None,
    max_bytes: int = MAX_BYTES,
) -> Timeline:
    """The timeline of a phase: as much of each block, from its beginning, as fits into ``max_bytes``.

    A timeline that is cut says so on a track of its own.
    """
    tracks = phase_tracks(analysis, log, device)
    trace, share = perfetto_trace(tracks), 1.0
    while len(trace) > max_bytes:
        share *= _MARGIN * max_bytes / len(trace)
        windows = _windows(analysis, device, share)
        note = Track(
            _WHOLE, "cut", instants=(Instant(windows[0][0], f"cut: the first {share:.1%} of each block"),)
        )
        trace = perfetto_trace((note, *(clipped(track, windows) for track in tracks)))
    return Timeline(trace, share)


def _windows(analysis: PhaseAnalysis, device: pd.DataFrame | None, share: float) -> list[Window]:
    """The first part of each block, and of the device trace, which lies in a block of its own."""
    stretches = [(block.start_s * 1e9, block.stop_s * 1e9) for block in analysis.phase.record.blocks]
    if device is not None and not device.empty:
        stretches.append((device["start_ns"].min(), (device["start_ns"] + device["duration_ns"]).max()))
    return [(round(start), round(start + share * (stop - start))) for start, stop in stretches]
