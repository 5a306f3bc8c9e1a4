"""The quality of a phase's capture, and the laws that its numbers must obey."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.clock import late_ticks
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, joint
from scoreprof_nb.components.catalog import UNCLASSIFIED
from scoreprof_nb.components.classify import Role

FAILED_SHARE = 0.01
UNCLASSIFIED_SHARE = 0.02
BEHIND_S = 1.0
TEXT_CHARACTERS, SHOWN_CAUSES = 300, 3
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class CaptureQuality:
    """Of the profiled blocks of a phase.

    ``lost_share``: the largest share of one thread's ticks that py-spy could not read, or not whole (they
    are restored as running); ``errors``: failed reads of a process at a tick, by py-spy's count, and
    ``errors_timed``: those whose time it logged; ``unclassified_share``: the largest of one thread;
    ``aligned``: the threads are on common ticks in all blocks, or in enough to leave out the others;
    ``left_out``: the blocks in which they are not, where enough are aligned; ``mismatch``: the largest
    difference between the tick counts of two processes in a block, with lost ticks restored; ``ended``:
    threads that ended within a block, so that their CPU time in it is not known; ``samples``: thread stacks
    that were read, and ``samples_written``: that py-spy reports to have written, None if it does not report
    it.
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
    left_out: int
    mismatch: int
    ended: int
    samples: int
    samples_written: int | None


@dataclass(frozen=True)
class Check:
    """A law or a limit. ``passed``: None if it could not be checked; ``text``: the measured values."""

    phase: str
    name: str
    passed: bool | None
    text: str


def capture_quality(ticks: PhaseTicks, thread_cpu: pd.DataFrame) -> CaptureQuality | None:
    """``thread_cpu``: rows of threads.parquet. None if nothing was recorded."""
    if not ticks.blocks:
        return None
    unclassified_index = ticks.catalog.index[UNCLASSIFIED]
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
                (thread.components == unclassified_index).sum()
            )
            by_role[thread.role] = by_role.get(thread.role, 0) + len(thread.components)
    pids = {pid for pid, _ in lost}
    written = [block.recording.samples for block in ticks.blocks]
    return CaptureQuality(
        rate_hz=ticks.blocks[0].recording.rate_hz,
        effective_rate_hz=n / wall_s if wall_s > 0 else 0.0,
        ticks=n,
        lost_share=max(sum(count for (p, _), count in lost.items() if p == pid) for pid in pids) / max(n, 1),
        errors=sum(block.recording.errors or 0 for block in ticks.blocks),
        errors_timed=sum(len(block.recording.lost) for block in ticks.blocks),
        behind_s=max(block.recording.behind_s for block in ticks.blocks),
        unclassified_share=max(unclassified[role] / max(by_role[role], 1) for role in by_role),
        aligned=all(block.aligned for block in joint(ticks).blocks),
        left_out=len(ticks.blocks) - len(joint(ticks).blocks),
        mismatch=max(block.mismatch for block in ticks.blocks),
        ended=_ended(thread_cpu),
        samples=sum(thread.ticks for block in ticks.blocks for thread in block.table.threads),
        samples_written=None if None in written else sum(filter(None, written)),
    )


def laws(
    ticks: PhaseTicks,
    threads: pd.DataFrame,
    cpu: pd.DataFrame,
    thread_cpu: pd.DataFrame,
    served: float,
    path: RequestPath,
    profiled_ms: float,
) -> list[Check]:
    """The three sums of the design, each checked against a source that its table was not computed from.

    ``threads`` and ``cpu``: from breakdown.py; ``thread_cpu``: rows of threads.parquet; ``served``: the
    number of requests in the blocks; ``profiled_ms``: the mean latency with py-spy, from the latency
    table.
    """
    name = ticks.phase.name
    return [
        _threads_law(name, ticks, threads),
        _cpu_law(name, cpu, thread_cpu, served),
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
        return Check(phase, name, True, f"all recorded ticks of {len(off)} threads are counted")
    recorded = bounds.get(worst, (0, 0))[1]
    return Check(
        phase, name, False, f"{worst}: {off[worst]:.0f} of {recorded} recorded ticks are not accounted for"
    )


def _recorded(block: BlockTicks) -> list[tuple[int, int]]:
    """The fewest and the most ticks that each thread of a block can have, from its recording alone: its
    samples and its process's lost ticks, without the recording's ticks outside the block.

    The two differ only for a thread that started during the recording: it is not known which of the lost
    ticks came before.
    """
    samples = {(thread.pid, thread.tid): thread.ticks for thread in block.table.threads}
    lost = Counter(pid for _, pid, _ in block.recording.lost)
    n = max((count + lost[pid] for (pid, _), count in samples.items()), default=0)
    bounds = []
    for thread in block.threads:
        recorded = samples.get((thread.pid, thread.tid), 0) + lost[thread.pid]
        if n - recorded <= late_ticks(block.recording):  # what it lacks at the beginning is restored too
            bounds.append((block.ticks, block.ticks))
        else:
            outside = n - block.ticks
            bounds.append((recorded - outside - lost[thread.pid], min(recorded, block.ticks)))
    return bounds


def _cpu_law(phase: str, cpu: pd.DataFrame, thread_cpu: pd.DataFrame, served: float) -> Check:
    name = "CPU per request sums to the kernel's figure"
    if cpu.empty:
        return Check(phase, name, None, "no CPU time was recorded")
    alive = thread_cpu[thread_cpu["cpu_after_s"].notna()]
    kernel_ms = float(alive["cpu_after_s"].sum() - alive["cpu_before_s"].sum()) * 1e3 / served
    total = float(cpu["cpu_ms"].sum())
    passed = bool(np.isclose(total, kernel_ms, rtol=_TOLERANCE))
    text = f"{total:.3f} ms of {kernel_ms:.3f} ms per request"
    if not passed:
        text += f", {total - kernel_ms:+.3f} ms"
    ended = _ended(thread_cpu)
    if ended:
        text += f"; {ended} threads ended within a block: their CPU time in it is unknown and not included"
    return Check(phase, name, passed, text)


def _ended(thread_cpu: pd.DataFrame) -> int:
    return int((thread_cpu["cpu_after_s"].isna() & thread_cpu["cpu_before_s"].notna()).sum())


def _path_law(phase: str, path: RequestPath, profiled_ms: float) -> Check:
    name = "request path sums to the mean latency"
    if path.table.empty:
        return Check(phase, name, None, path.reason or "no request path")
    total = float(path.table["mean_ms"].sum() + path.queued["mean_ms"].sum())
    passed = bool(np.isclose(total, profiled_ms, rtol=_TOLERANCE))
    text = f"{total:.3f} ms of {profiled_ms:.3f} ms"
    return Check(phase, name, passed, text if passed else f"{text}, {total - profiled_ms:+.3f} ms")


def _first_of(causes: Sequence[str]) -> str:
    """The first causes, of any number and length, in at most TEXT_CHARACTERS."""
    shown = causes[:SHOWN_CAUSES]
    more = f"; and {len(causes) - len(shown)} more" if len(causes) > len(shown) else ""
    each = (TEXT_CHARACTERS - len(more)) // max(len(shown), 1) - 2
    return "; ".join(cause if len(cause) <= each else f"{cause[: each - 1]}…" for cause in shown) + more


def limits(
    phase: str, capture: CaptureQuality | None, failed_share: float, failures: tuple[str, ...]
) -> list[Check]:
    """The limits beyond which a phase's numbers are marked.

    ``failed_share``: of the requests; ``failures``: of the recordings, as in PhaseTicks.
    """
    checks = [
        Check(
            phase,
            "at most 1 % of the requests fail",
            failed_share <= FAILED_SHARE,
            f"{failed_share:.1%} failed",
        ),
        Check(phase, "every recording is complete", not failures, _first_of(failures) or "all are"),
    ]
    if capture is None:
        return [*checks, Check(phase, "samples", None, "nothing was recorded")]
    return [
        *checks,
        Check(
            phase,
            "unclassified is under 2 % of every thread",
            capture.unclassified_share < UNCLASSIFIED_SHARE,
            f"largest share {capture.unclassified_share:.2%}",
        ),
        Check(
            phase,
            "every sample that py-spy wrote was read",
            None if capture.samples_written is None else capture.samples == capture.samples_written,
            f"{capture.samples} of {capture.samples_written or 'an unknown number'}",
        ),
        Check(
            phase,
            "every lost tick has its time",
            capture.errors == capture.errors_timed,
            f"{capture.errors_timed} of {capture.errors}",
        ),
        Check(
            phase, "py-spy kept up", capture.behind_s <= BEHIND_S, f"at most {capture.behind_s:.1f} s behind"
        ),
        Check(
            phase,
            "processes are on common ticks",
            capture.aligned,
            f"tick counts differ by at most {capture.mismatch}, "
            f"{capture.mismatch / capture.rate_hz * 1e3:.0f} ms"
            f"{'' if capture.aligned else '; too many, or the times of the ticks are not known'}"
            f"{f'; {capture.left_out} blocks are left out of the request path' if capture.left_out else ''}",
        ),
    ]
