"""The tracks of the device: programs and operations of the device trace, on the same clock."""

from collections.abc import Iterator

import pandas as pd

from scoreprof_nb.timeline.tracks import Group, Slice, Track

NAMES = {
    "program": "programs",
    "operation": "operations",
    "async": "transfers and collectives",
    "executor": "XLA's CPU runtime",
}


def device_tracks(events: pd.DataFrame) -> Iterator[Track]:
    """A track per lane of each chip and kind. ``events``: the columns of ``device.events.EVENT_COLUMNS``."""
    for (chip, kind), of_kind in events.groupby(["chip", "kind"], sort=True):
        lanes = list(of_kind.groupby("lane", sort=True))
        for number, (_, rows) in enumerate(lanes, start=1):
            name = NAMES[str(kind)] + (f", lane {number}" if len(lanes) > 1 else "")
            yield Track(Group(f"device {chip}"), name, slices=_nested(rows))


def _nested(rows: pd.DataFrame) -> tuple[Slice, ...]:
    """The events of a lane, each within the one that holds it; what sticks out is cut at its end."""
    ordered = rows.sort_values(["start_ns", "end_ns"], ascending=[True, False], kind="stable")
    whole: list[Slice] = []
    around: list[tuple[int, int, str, list[Slice]]] = []  # begun and not ended, outermost first

    def close() -> None:
        start_ns, end_ns, name, children = around.pop()
        into = around[-1][3] if around else whole
        into.append(Slice(start_ns, end_ns, name, children=tuple(children)))

    columns = (ordered[name].tolist() for name in ("start_ns", "end_ns", "name"))
    for start_ns, end_ns, name in zip(*columns, strict=True):
        while around and around[-1][1] <= start_ns:
            close()
        around.append((start_ns, min(end_ns, around[-1][1]) if around else end_ns, name, []))
    while around:
        close()
    return tuple(whole)
