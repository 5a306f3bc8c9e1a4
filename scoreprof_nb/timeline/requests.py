"""The tracks of the client and of the server's log: requests, in flight, blocks, batches, compiles."""

import heapq
from collections.abc import Iterator

import pandas as pd

from scoreprof_nb.analysis.requests import events
from scoreprof_nb.run_folder.store import Phase
from scoreprof_nb.timeline.tracks import Counter, Group, Instant, Slice, Track

CLIENT = Group("client")
SERVER = Group("server")
LOGGED = {  # kind of log event: name of its track, of one event, and of its count
    "prefill": ("prefill batches, by the log", "prefill batch", "sequences"),
    "decode": ("decode batches, by the log", "decode batch", "programs compiled"),
    "compile": ("compiles, by the log", "compile", "programs"),
}


def block_track(phase: Phase) -> Track:
    """The measured blocks of a phase."""
    return Track(CLIENT, "blocks", slices=tuple(_blocks(phase)))


def request_tracks(name: str, requests: pd.DataFrame) -> Iterator[Track]:
    """The requests, each in the first lane that is free, and the number in flight; nothing without a request.

    ``requests``: the columns of requests.parquet.
    """
    if requests.empty:
        return
    ordered = requests.sort_values(["sent_ns", "request"])
    lanes: list[list[Slice]] = []
    free: list[int] = []  # a heap of the free lanes
    busy: list[tuple[int, int]] = []  # a heap of (end, lane)
    for row in ordered.to_dict("records"):
        while busy and busy[0][0] <= row["sent_ns"]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            free.append(len(lanes))
            lanes.append([])
        lane = heapq.heappop(free)
        heapq.heappush(busy, (row["done_ns"], lane))
        failed = f" failed: {row['error']}" if isinstance(row["error"], str) else ""
        details = (
            ("request", int(row["request"])),
            ("items", int(row["items"])),
            ("status", int(row["status"])),
        )
        lanes[lane].append(Slice(int(row["sent_ns"]), int(row["done_ns"]), f"{row['kind']}{failed}", details))
    for number, slices in enumerate(lanes):
        lane_name = name if len(lanes) == 1 else f"{name}, lane {number + 1}"
        yield Track(CLIENT, lane_name, slices=tuple(slices))
    yield Track(CLIENT, f"{name} in flight", counter=Counter("requests", tuple(_in_flight(ordered))))


def log_tracks(phase: Phase, log: pd.DataFrame) -> Iterator[Track]:
    """Prefill and decode batches and compiles of the whole phase, its warm-up included.

    A line has one time: when the kit read it.
    """
    start_ns, stop_ns = phase.record.started_s * 1e9, phase.record.finished_s * 1e9
    inside = log[log["time_ns"].between(start_ns, stop_ns)]
    for kind, (track, name, count) in LOGGED.items():
        instants = tuple(
            Instant(int(time_ns), name, ((count, int(number)),))
            for time_ns, number in events(inside, kind).sort_values("time_ns", kind="stable").to_numpy()
        )
        if instants:
            yield Track(SERVER, track, instants=instants)


def _blocks(phase: Phase) -> Iterator[Slice]:
    for block in phase.record.blocks:
        state = "off" if block.plain else "on" if block.profiled else "failed"
        yield Slice(
            round(block.start_s * 1e9), round(block.stop_s * 1e9), f"block {block.number + 1}: py-spy {state}"
        )


def _in_flight(requests: pd.DataFrame) -> Iterator[tuple[int, float]]:
    """The number in flight after each moment at which it changes."""
    steps = pd.concat([pd.Series(1, index=requests["sent_ns"]), pd.Series(-1, index=requests["done_ns"])])
    number = 0
    changes = steps.groupby(level=0).sum()
    for time_ns, step in zip(changes.index.to_numpy(), changes.to_numpy(), strict=True):
        number += int(step)
        yield int(time_ns), float(number)
