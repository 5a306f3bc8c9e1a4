"""The part ``device`` of a phase in summary.json."""

import math
from typing import cast

from scoreprof_nb.analysis.device import BUSY, IDLE, WAITS, Estimate
from scoreprof_nb.analysis.device_phase import DeviceWork
from scoreprof_nb.report import summary_schema as schema

MOST_OPERATIONS = 20


def device_summary(work: DeviceWork) -> schema.Device:
    """The device's times, verdict and largest operations."""
    observer = work.time.observer_effect
    return schema.Device(
        requests=len(work.time.windows),
        busy_ms=_component(work.time.times[BUSY]),
        idle_ms=_component(work.time.times[IDLE]),
        bound=cast(schema.Bound | None, work.time.bound),
        decode_ms=work.decode_ms,
        wait_ms={cast(schema.Wait, name): _component(work.time.times[name]) for name in WAITS},
        operations=[
            schema.DeviceOperation(
                name=str(row["name"]),
                category=str(row["category"]),
                program=str(row["program"]),
                ms_per_request=float(row["ms"]),
            )
            for row in work.operations.head(MOST_OPERATIONS).to_dict("records")
        ],
        observer_effect=schema.ObserverEffect(
            p50_ratio=observer.p50_ratio,
            ci95=_interval(observer.low, observer.high),
            mean_ratio=observer.mean_ratio,
            mean_ci95=_interval(observer.mean_low, observer.mean_high),
        ),
    )


def _component(estimate: Estimate) -> schema.Component:
    return schema.Component(mean=float(estimate.mean), ci95=_interval(estimate.low, estimate.high))


def _interval(low: float | None, high: float | None) -> list[float] | None:
    """None when it is not known."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return [float(low), float(high)]
