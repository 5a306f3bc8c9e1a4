"""How often py-spy samples.

py-spy works for CPU_S at each tick, on the CPUs that the server runs on. Where these are few, ``auto`` takes
fewer ticks, so that they cost the server at most MOST_SHARE of its time. The rate does not follow from the
requests: the interval of a share is given by the number of ticks in the phase, whether they lie in many short
requests or in few long ones, and two versions of a server must be sampled alike.
"""

import os
from collections.abc import Callable

from scoreprof_nb.capture.cpu_quota import read_quota
from scoreprof_nb.parameters.profile import NATIVE_HZ, Parameters
from scoreprof_nb.parameters.sampling import rate_of
from scoreprof_nb.run_folder.records import CpuQuota

CPU_S = 0.0016  # of a core, on the slowest machine so far; docs/performance.md has another
MOST_SHARE = 0.05
MOST_HZ, FEWEST_HZ, STEP_HZ = 100, 25, 5


def sampling_rate(parameters: Parameters, cpus: float) -> int:
    """Samples per second: as given, or by the number of CPUs that the server may use."""
    given = rate_of(parameters.rate_hz)
    if given is not None:
        return given
    if parameters.py_spy_mode == "native":
        return NATIVE_HZ
    affordable = MOST_SHARE * cpus / CPU_S
    return int(min(max(affordable, FEWEST_HZ), MOST_HZ)) // STEP_HZ * STEP_HZ


def sampling_rate_here(parameters: Parameters) -> int:
    """Samples per second on this machine."""
    return sampling_rate(parameters, available_cpus(os.getpid()))


def available_cpus(pid: int, quota: Callable[[int], CpuQuota | None] = read_quota) -> float:
    """The CPUs that a process may use: those it may run on, or what its control group's quota pays for."""
    cpus = float(len(os.sched_getaffinity(pid)))
    limit = quota(pid)
    if limit is None or limit.quota_s is None or not limit.period_s:
        return cpus
    return min(cpus, limit.quota_s / limit.period_s)
