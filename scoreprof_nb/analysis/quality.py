"""How good the capture of a phase is, and the laws its numbers must obey."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.samples import PhaseTicks
from scoreprof_nb.components.classify import UNCLASSIFIED, Role

FAILED_SHARE = 0.01
UNCLASSIFIED_SHARE = 0.02
BEHIND_S = 1.0
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Quality:
    """Of the profiled blocks of a phase.

    ``lost_share``: the largest share of ticks that py-spy could not read, or not whole, of one thread
    (they are put back as running); ``errors``: processes that could not be read, a tick each, by
    py-spy's count, and ``errors_timed``: those whose time its log gave; ``unclassified_share``: the
    largest of one thread; ``aligned``: the threads are on common ticks; ``samples``: thread stacks that
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
    samples: int
    samples_written: int | None


@dataclass(frozen=True)
class Check:
    """A law or a limit. ``passed`` is None when it could not be checked; ``text`` says what was found."""

    phase: str
    name: str
    passed: bool | None
    text: str


def quality(ticks: PhaseTicks) -> Quality | None:
    """None when nothing was recorded."""
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
        samples=sum(thread.ticks for block in ticks.blocks for thread in block.table.threads),
        samples_written=None if None in written else sum(filter(None, written)),
    )


def laws(
    phase: str, threads: pd.DataFrame, cpu: pd.DataFrame, kernel_ms: float, path: RequestPath
) -> list[Check]:
    """The three sums of the design. ``kernel_ms``: the kernel's CPU time per request."""
    return [_threads_law(phase, threads), _cpu_law(phase, cpu, kernel_ms), _path_law(phase, path)]


def _threads_law(phase: str, threads: pd.DataFrame) -> Check:
    name = "components of each thread sum to its ticks"
    if threads.empty:
        return Check(phase, name, None, "no thread was recorded")
    off = float((threads.groupby(["process", "thread"])["share"].sum() - 1).abs().max())
    return Check(phase, name, off < _TOLERANCE, f"largest difference {off:.1e} of a thread")


def _cpu_law(phase: str, cpu: pd.DataFrame, kernel_ms: float) -> Check:
    name = "CPU per request sums to the kernel's figure"
    if cpu.empty:
        return Check(phase, name, None, "no CPU time was recorded")
    total = float(cpu["cpu_ms"].sum())
    passed = bool(np.isclose(total, kernel_ms, rtol=_TOLERANCE))
    return Check(phase, name, passed, f"{total:.3f} ms of {kernel_ms:.3f} ms per request")


def _path_law(phase: str, path: RequestPath) -> Check:
    name = "request path sums to the mean latency"
    if path.table.empty:
        return Check(phase, name, None, path.reason or "no request path")
    total, latency = float(path.table["mean_ms"].sum()), float(path.table["latency_ms"].iloc[0])
    passed = bool(np.isclose(total, latency, rtol=_TOLERANCE))
    return Check(phase, name, passed, f"{total:.3f} ms of {latency:.3f} ms")


def limits(phase: str, found: Quality | None, failed_share: float, failures: tuple[str, ...]) -> list[Check]:
    """The limits beyond which a phase's numbers are marked."""
    checks = [
        Check(
            phase,
            "at most 1 % of the requests fail",
            failed_share <= FAILED_SHARE,
            f"{failed_share:.1%} failed",
        ),
        Check(phase, "every recording is complete", not failures, "; ".join(failures) or "all are"),
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
            "the request path is joint" if found.aligned else "the request path chains marginal shares",
        ),
    ]
