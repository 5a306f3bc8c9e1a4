"""What the device costs a request, bounded from what everything else costs it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.components.catalog import CLIENT, IPC_AND_WAKEUP

DEVICE = "device_wait"


@dataclass(frozen=True)
class DeviceBound:
    """``low_ms`` to ``high_ms``: what of the mean latency the device is the cause of.

    ``busy_ms``: for how long threads wait for the device, per request; ``open_ms``: what is done on the host,
    or between processes, without a function to delay, which may be felt wholly or not at all.
    """

    low_ms: float
    high_ms: float
    busy_ms: float
    open_ms: float

    @classmethod
    def of(
        cls,
        latency_ms: float,
        felt: Mapping[str, Estimate],
        busy_ms: Mapping[str, float],
        path_ms: Mapping[str, float],
    ) -> "DeviceBound":
        """``felt``: ms per request of the components that were delayed; ``busy_ms``: of all; ``path_ms``: of
        which the time that no thread of the server works in is taken."""
        known = sum(one.value for one in felt.values())
        error = math.hypot(*(one.half_width for one in felt.values()))
        between = sum(path_ms.get(name, 0.0) for name in (IPC_AND_WAKEUP, CLIENT))
        others = sum(ms for name, ms in busy_ms.items() if name not in felt and name != DEVICE)
        rest = latency_ms - known
        return cls(
            low_ms=max(rest - between - others - error, 0.0),
            high_ms=min(max(rest + error, 0.0), latency_ms),
            busy_ms=busy_ms.get(DEVICE, 0.0),
            open_ms=between + others,
        )
