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
    interval = None if observer.low is None or observer.high is None else [observer.low, observer.high]
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
        observer_effect=schema.ObserverEffect(p50_ratio=observer.p50_ratio, ci95=interval),
    )


def _component(estimate: Estimate) -> schema.Component:
    known = math.isfinite(estimate.low) and math.isfinite(estimate.high)
    ci95 = [float(estimate.low), float(estimate.high)] if known else None
    return schema.Component(mean=float(estimate.mean), ci95=ci95)
