"""The part ``what_if`` of a phase in summary.json."""

from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.what_if import WhatIfAnalysis
from scoreprof_nb.analysis.what_if_effects import FunctionEffect
from scoreprof_nb.report import what_if_schema as schema


def what_if_summary(analysis: WhatIfAnalysis | None) -> schema.WhatIf | None:
    """The experiment; None if there was none."""
    if analysis is None:
        return None
    record = analysis.record
    return schema.WhatIf(
        put_in_ms=record.delay_ms,
        kind=record.kind,
        rounds=record.rounds,
        off_ns_per_call=record.off_ns,
        functions=[_function(effect) for effect in analysis.effects],
        left_out=[
            schema.LeftOut(component=one.component, function=one.function, reason=one.left_out or "")
            for one in analysis.left_out
        ],
        felt_ms={
            one.component: schema.Estimate(mean=one.felt_ms.value, ci95=[one.felt_ms.low, one.felt_ms.high])
            for one in analysis.ranking
        },
        device_felt_ms=[analysis.device.low_ms, analysis.device.high_ms] if analysis.device else None,
    )


def _function(effect: FunctionEffect) -> schema.Function:
    return schema.Function(
        component=effect.delayed.component,
        function=effect.delayed.function,
        calls_per_request=effect.delayed.calls or 0.0,
        put_in_ms=effect.put_in_ms,
        sensitivity=_estimate(effect.sensitivity),
        path=_estimate(effect.path),
        found=_estimate(effect.found),
        throughput_per_ms=_estimate(effect.throughput),
        p99_ms_per_ms=_estimate(effect.p99),
        calibrated=effect.calibrated,
        path_is_wrong=effect.path_is_wrong,
    )


def _estimate(one: Estimate) -> schema.Estimate | None:
    return schema.Estimate(mean=one.value, ci95=[one.low, one.high]) if one.known else None
