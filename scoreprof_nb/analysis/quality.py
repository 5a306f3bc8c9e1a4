"""How good the capture of a phase is, and the laws its numbers must obey."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, late_ticks
from scoreprof_nb.components.classify import UNCLASSIFIED, Role

FAILED_SHARE = 0.01
UNCLASSIFIED_SHARE = 0.02
BEHIND_S = 1.0
TEXT_CHARACTERS, SHOWN_CAUSES = 300, 3
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Quality:
    """Of the profiled blocks of a phase.

    ``lost_share``: the largest share of ticks that py-spy could not read, or not whole, of one thread
    (they are put back as running); ``errors``: processes that could not be read, a tick each, by
    py-spy's count, and ``errors_timed``: those whose time its log gave; ``unclassified_share``: the
    largest of one thread; ``aligned``: the threads are on common ticks; ``mismatch``: the largest
    difference between two processes' numbers of ticks in a block, lost ones put back; ``ended``: threads
    that ended within a block, so that what they used in it is not known; ``samples``: thread stacks that
    were read, and ``samples_written``: that py-spy says it wrote, None when it does not.
    """

    rate_hz: int
    effective_rate_hz: float
    ticks: int
    lost_share: float
    errors: int
    errors_timed: int
    behind_s: float
    unclassified_share: float
    aligned: bool
    mismatch: int
    ended: int
    samples: int
    samples_written: int | None


@dataclass(frozen=True)
class Check:
    """A law or a limit. ``passed`` is None when it could not be checked; ``text`` says what was found."""

    phase: str
    name: str
    passed: bool | None
    text: str


def quality(ticks: PhaseTicks, accounted: pd.DataFrame) -> Quality | None:
    """``accounted``: rows of threads.parquet. None when nothing was recorded."""
    if not ticks.blocks:
        return None
    n = sum(block.ticks for block in ticks.blocks)
    wall_s = sum(block.block.wall_s for block in ticks.blocks)
    lost: dict[tuple[int, int], int] = {}
    unclassified: dict[Role, int] = {}
    by_role: dict[Role, int] = {}
    for block in ticks.blocks:
        for thread in block.threads:
            of_process = thread.pid, block.block.number
            lost[of_process] = max(lost.get(of_process, 0), int(thread.lost.sum()))
            unclassified[thread.role] = unclassified.get(thread.role, 0) + int(
                (thread.components == UNCLASSIFIED).sum()
            )
            by_role[thread.role] = by_role.get(thread.role, 0) + len(thread.components)
    pids = {pid for pid, _ in lost}
    written = [block.recording.samples for block in ticks.blocks]
    return Quality(
        rate_hz=ticks.blocks[0].recording.rate_hz,
        effective_rate_hz=n / wall_s if wall_s > 0 else 0.0,
        ticks=n,
        lost_share=max(sum(count for (p, _), count in lost.items() if p == pid) for pid in pids) / max(n, 1),
        errors=sum(block.recording.errors or 0 for block in ticks.blocks),
        errors_timed=sum(len(block.recording.lost) for block in ticks.blocks),
        behind_s=max(block.recording.behind_s for block in ticks.blocks),
        unclassified_share=max(unclassified[role] / max(by_role[role], 1) for role in by_role),
        aligned=all(block.aligned for block in ticks.blocks),
        mismatch=max(block.mismatch for block in ticks.blocks),
        ended=_ended(accounted),
        samples=sum(thread.ticks for block in ticks.blocks for thread in block.table.threads),
        samples_written=None if None in written else sum(filter(None, written)),
    )


def laws(
    ticks: PhaseTicks,
    threads: pd.DataFrame,
    cpu: pd.DataFrame,
    accounted: pd.DataFrame,
    served: float,
    path: RequestPath,
    profiled_ms: float,
) -> list[Check]:
    """The three sums of the design, each against a source that its table was not made from.

    ``threads`` and ``cpu``: as breakdown.py makes them; ``accounted``: rows of threads.parquet;
    ``served``: requests in the blocks; ``profiled_ms``: mean latency with py-spy by the latency table.
    """
    name = ticks.phase.name
    return [
        _threads_law(name, ticks, threads),
        _cpu_law(name, cpu, accounted, served),
        _path_law(name, path, profiled_ms),
    ]


def _threads_law(phase: str, ticks: PhaseTicks, threads: pd.DataFrame) -> Check:
    name = "components of each thread sum to its ticks"
    if threads.empty:
        return Check(phase, name, None, "no thread was recorded")
    bounds: dict[str, tuple[int, int]] = {}
    for block in ticks.blocks:
        for thread, (least, most) in zip(block.threads, _recorded(block), strict=True):
            before = bounds.get(str(thread.role), (0, 0))
            bounds[str(thread.role)] = before[0] + least, before[1] + most
    off = {}
    for (process, thread_name), rows in threads.groupby(["process", "thread"]):
        total, role = float((rows["share"] * rows["ticks"]).sum()), f"{process} / {thread_name}"
        least, most = bounds.get(role, (0, 0))
        off[role] = max(least - total, total - most, 0.0)
    worst = max(off, key=lambda role: off[role])
    if off[worst] < 0.5:
        return Check(phase, name, True, f"all recorded ticks of {len(off)} threads")
    recorded = bounds.get(worst, (0, 0))[1]
    return Check(phase, name, False, f"{worst}: {off[worst]:.0f} ticks off, of {recorded} recorded ones")


def _recorded(block: BlockTicks) -> list[tuple[int, int]]:
    """The fewest and the most ticks that each thread of a block can have, by its recording alone: its
    samples and its process's lost ticks, less the recording's ticks outside of the block.

    They are the same but for a thread that began within the recording: which of the lost ticks are from
    before is not known then.
    """
    samples = {(thread.pid, thread.tid): thread.ticks for thread in block.table.threads}
    lost = Counter(pid for _, pid, _ in block.recording.lost)
    n = max((count + lost[pid] for (pid, _), count in samples.items()), default=0)
    bounds = []
    for thread in block.threads:
        recorded = samples.get((thread.pid, thread.tid), 0) + lost[thread.pid]
        if n - recorded <= late_ticks(block.recording):  # what it lacks at the beginning is put back too
            bounds.append((block.ticks, block.ticks))
        else:
            outside = n - block.ticks
            bounds.append((recorded - outside - lost[thread.pid], min(recorded, block.ticks)))
    return bounds


def _cpu_law(phase: str, cpu: pd.DataFrame, accounted: pd.DataFrame, served: float) -> Check:
    name = "CPU per request sums to the kernel's figure"
    if cpu.empty:
        return Check(phase, name, None, "no CPU time was recorded")
    lived = accounted[accounted["cpu_after_s"].notna()]
    kernel_ms = float(lived["cpu_after_s"].sum() - lived["cpu_before_s"].sum()) * 1e3 / served
    total = float(cpu["cpu_ms"].sum())
    passed = bool(np.isclose(total, kernel_ms, rtol=_TOLERANCE))
    text = f"{total:.3f} ms of {kernel_ms:.3f} ms per request"
    if not passed:
        text += f", {total - kernel_ms:+.3f} ms"
    ended = _ended(accounted)
    if ended:
        text += f"; {ended} threads ended within a block: what they used in it is not known and not in here"
    return Check(phase, name, passed, text)


def _ended(accounted: pd.DataFrame) -> int:
    return int((accounted["cpu_after_s"].isna() & accounted["cpu_before_s"].notna()).sum())


def _path_law(phase: str, path: RequestPath, profiled_ms: float) -> Check:
    name = "request path sums to the mean latency"
    if path.table.empty:
        return Check(phase, name, None, path.reason or "no request path")
    total = float(path.table["mean_ms"].sum())
    passed = bool(np.isclose(total, profiled_ms, rtol=_TOLERANCE))
    text = f"{total:.3f} ms of {profiled_ms:.3f} ms"
    return Check(phase, name, passed, text if passed else f"{text}, {total - profiled_ms:+.3f} ms")


def _first_of(causes: Sequence[str]) -> str:
    """The first causes, of any number of any length, in at most TEXT_CHARACTERS."""
    shown = causes[:SHOWN_CAUSES]
    more = f"; and {len(causes) - len(shown)} more" if len(causes) > len(shown) else ""
    each = (TEXT_CHARACTERS - len(more)) // max(len(shown), 1) - 2
    return "; ".join(cause if len(cause) <= each else f"{cause[: each - 1]}…" for cause in shown) + more


def limits(phase: str, found: Quality | None, failed_share: float, failures: tuple[str, ...]) -> list[Check]:
    """The limits beyond which a phase's numbers are marked."""
    checks = [
        Check(
            phase,
            "at most 1 % of the requests fail",
            failed_share <= FAILED_SHARE,
            f"{failed_share:.1%} failed",
        ),
        Check(phase, "every recording is complete", not failures, _first_of(failures) or "all are"),
    ]
    if found is None:
        return [*checks, Check(phase, "samples", None, "nothing was recorded")]
    return [
        *checks,
        Check(
            phase,
            "unclassified is under 2 % of every thread",
            found.unclassified_share < UNCLASSIFIED_SHARE,
            f"largest share {found.unclassified_share:.2%}",
        ),
        Check(
            phase,
            "every sample that py-spy wrote was read",
            None if found.samples_written is None else found.samples == found.samples_written,
            f"{found.samples} of {found.samples_written or 'an unknown number'}",
        ),
        Check(
            phase,
            "every lost tick has its time",
            found.errors == found.errors_timed,
            f"{found.errors_timed} of {found.errors}",
        ),
        Check(phase, "py-spy kept up", found.behind_s <= BEHIND_S, f"at most {found.behind_s:.1f} s behind"),
        Check(
            phase,
            "processes are on common ticks",
            found.aligned,
            f"numbers of ticks differ by at most {found.mismatch}, "
            f"{found.mismatch / found.rate_hz * 1e3:.0f} ms"
            f"{'' if found.aligned else '; too many, or times of ticks are not known'}",
        ),
    ]
