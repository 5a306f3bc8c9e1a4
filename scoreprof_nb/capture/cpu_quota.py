"""The CPU quota of the server's control group (cgroup v2 and v1), and how often it stopped the server.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst (``cpu.stat``, ``cpu.max``) and
Documentation/scheduler/sched-bwc.rst (v1: ``throttled_time`` in nanoseconds, ``cpu.cfs_*_us``).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from scoreprof_nb.run_folder.records import CpuQuota

MOUNTS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def read_quota(pid: int, mounts: Path = MOUNTS, proc: Path = PROC) -> CpuQuota | None:
    """The counters of a process's group since it began; None where they cannot be seen."""
    for folder in _folders(pid, mounts, proc):
        counters = _numbers(folder / "cpu.stat")
        if "nr_throttled" in counters:
            throttled_s = counters.get("throttled_usec", 0) / 1e6 + counters.get("throttled_time", 0) / 1e9
            quota_s, period_s = _limit(folder)
            return CpuQuota(
                counters.get("nr_periods", 0), counters["nr_throttled"], throttled_s, quota_s, period_s
            )
    return None


def quota_between(before: CpuQuota | None, after: CpuQuota | None) -> CpuQuota | None:
    """What happened between two readings; None where either is not known."""
    if before is None or after is None:
        return None
    return CpuQuota(
        after.periods - before.periods,
        after.throttled_periods - before.throttled_periods,
        max(after.throttled_s - before.throttled_s, 0.0),
        after.quota_s,
        after.period_s,
    )


def _folders(pid: int, mounts: Path, proc: Path) -> Iterator[Path]:
    """Where the group's files may be: v2, then v1, each below its path and, as a container sees only its
    own group, at the mount itself."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return
    groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    for number, controllers, path in sorted(groups, key=lambda group: group[0] != "0"):
        names = controllers.split(",")
        if number == "0":
            roots = [mounts, mounts / "unified"]
        elif "cpu" in names:
            roots = [mounts / controllers, mounts / "cpu", mounts / "cpu,cpuacct"]
        else:
            continue
        for root in roots:
            yield root / path.lstrip("/")
            yield root


def _numbers(path: Path) -> Mapping[str, int]:
    try:
        pairs = [line.split() for line in path.read_text().splitlines()]
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except (OSError, ValueError):
        return {}


def _limit(folder: Path) -> tuple[float | None, float | None]:
    """Seconds of CPU time, and the seconds of the period that they are for; None where not limited."""
    try:
        texts = (folder / "cpu.max").read_text().split()
    except OSError:
        try:
            texts = [(folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
        except OSError:
            return None, None
    try:
        quota_us, period_us = (int(text) for text in texts)
    except ValueError:  # "max"
        return None, None
    return (quota_us / 1e6, period_us / 1e6) if quota_us > 0 else (None, None)
