"""The tracks of the device: the operations of a device trace, on the same clock."""

from collections.abc import Iterator

import pandas as pd

from scoreprof_nb.timeline.tracks import Group, Slice, Track

COLUMNS = ("plane", "line", "name", "start_ns", "duration_ns")


def device_tracks(operations: pd.DataFrame | None) -> Iterator[Track]:
    """A track per line of each plane. ``operations``: columns COLUMNS, epoch nanoseconds.

    Operations of a line lie within one another or one after the other. One that overlaps the end of an
    earlier one, which a trace should not have, is cut at that end.
    """
    if operations is None:
        return
    for (plane, line), rows in operations.groupby(["plane", "line"], sort=True):
        yield Track(Group(f"device: {plane}"), str(line), slices=_nested(rows))


def _nested(rows: pd.DataFrame) -> tuple[Slice, ...]:
    ends = rows["start_ns"] + rows["duration_ns"]
    ordered = rows.assign(end_ns=ends).sort_values(
        ["start_ns", "end_ns"], ascending=[True, False], kind="stable"
    )
    open_slices: list[tuple[int, int, str, list[Slice]]] = [(0, 2**63 - 1, "", [])]

    def close() -> None:
        start_ns, end_ns, name, children = open_slices.pop()
        open_slices[-1][3].append(Slice(start_ns, end_ns, name, children=tuple(children)))

    for start_ns, end_ns, name in ordered[["start_ns", "end_ns", "name"]].itertuples(index=False, name=None):
        while open_slices[-1][1] <= start_ns and len(open_slices) > 1:
            close()
        open_slices.append((int(start_ns), min(int(end_ns), open_slices[-1][1]), str(name), []))
    while len(open_slices) > 1:
        close()
    return tuple(open_slices[0][3])
