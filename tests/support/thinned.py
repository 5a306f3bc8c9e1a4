"""A run as it would be with fewer ticks: each tick is kept with a probability.

What remains of a Poisson process is one of a lower rate, so this is how py-spy would have sampled the same requests
at a lower rate; only what py-spy itself costs them stays that of the higher one.
"""

from dataclasses import dataclass, replace

import numpy as np

from scoreprof_nb.analysis.breakdown import requests_served
from scoreprof_nb.analysis.capacity import capacity
from scoreprof_nb.analysis.clock import clock_times, tick_times
from scoreprof_nb.analysis.load import load_of
from scoreprof_nb.analysis.request_path import RequestPath, request_path
from scoreprof_nb.analysis.requests import MeasuredRequests, measured_requests
from scoreprof_nb.analysis.ticks import (
    BlockTicks,
    PhaseTicks,
    block_ticks,
    joint,
    lost_places,
    sampled_places,
)
from scoreprof_nb.components.classify import ThreadActivity, classify
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.run_folder.records import Block, Recording
from scoreprof_nb.run_folder.store import Phase, Run
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.table import StackTable


@dataclass(frozen=True)
class Recorded:
    """A block with its classified recording."""

    block: Block
    recording: Recording
    table: StackTable
    activities: tuple[ThreadActivity, ...]

    def thinned(self, share: float, rng: np.random.Generator) -> BlockTicks:
        """The block with this share of its ticks, drawn at random."""
        lost: dict[int, list[tuple[float, int]]] = {a.samples.pid: [] for a in self.activities}
        for at_s, pid, tid in sorted(self.recording.lost):
            lost.setdefault(pid, []).append((at_s, tid))
        sampled = {pid: max(self._ticks_of(pid), default=0) for pid in lost}
        n = max(count + len(lost[pid]) for pid, count in sampled.items())
        tick_s, _ = tick_times(clock_times(self.activities, self.table, self.recording), n, self.recording)
        keep = rng.random(n) < share
        places = {pid: lost_places(tick_s, [at for at, _ in rows], n) for pid, rows in lost.items()}
        still_lost = [
            (at_s, pid, tid)
            for pid, rows in lost.items()
            for place, (at_s, tid) in zip(places[pid], rows, strict=False)
            if keep[place]
        ]
        recording = replace(
            self.recording,
            rate_hz=max(round(self.recording.rate_hz * share), 1),
            lost=tuple(still_lost),
            errors=len(still_lost),
        )
        activities = [_kept(one, keep, places[one.samples.pid]) for one in self.activities]
        return block_ticks(
            replace(self.block, recording=recording), recording, self.table, activities, load_rules().catalog
        )

    def _ticks_of(self, pid: int) -> list[int]:
        return [one.samples.ticks for one in self.activities if one.samples.pid == pid]


def _kept(activity: ThreadActivity, keep: np.ndarray, lost: np.ndarray) -> ThreadActivity:
    samples = activity.samples
    kept, _ = sampled_places(len(keep), lost, samples.ticks)
    here = keep[kept]
    count = len(kept)
    return replace(
        activity,
        samples=replace(samples, stack_ids=samples.stack_ids[:count][here]),
        components=activity.components[:count][here],
        decode=activity.decode[:count][here],
    )


def recorded(phase: Phase) -> list[Recorded]:
    """The blocks of a phase that have a recording."""
    blocks = []
    for block, path in phase.recording_paths():
        assert block.recording is not None
        table = read_recording(path)
        blocks.append(Recorded(block, block.recording, table, classify(table, load_rules())))
    return blocks


def thinned_path(
    run: Run, phase: Phase, blocks: list[Recorded], share: float, rng: np.random.Generator
) -> RequestPath:
    """The request path of a phase from a share of its ticks."""
    ticks = PhaseTicks(phase, tuple(block.thinned(share, rng) for block in blocks), (), load_rules().catalog)
    on_path = joint(ticks)
    load = load_of(phase.record, run.manifest.parameters)
    requests = measured_requests(phase, run.log, load)
    used = requests.table["block"].isin([block.block.number for block in on_path.blocks])
    requests = MeasuredRequests(requests.table.assign(profiled=requests.table["profiled"] & used))
    return request_path(on_path, requests, load, run.log, capacity(ticks, requests_served(ticks, requests)))
