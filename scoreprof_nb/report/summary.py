"""summary.json: a run's results for tools."""

import math
from collections.abc import Sequence
from typing import Any, cast

import pandas as pd

from scoreprof_nb.analysis.conditions import warm_up_sufficient
from scoreprof_nb.analysis.items import run_cost_per_item
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.report import summary_schema as schema
from scoreprof_nb.report.device_summary import device_summary
from scoreprof_nb.report.findings import Finding, limiting_thread
from scoreprof_nb.report.format import timestamp
from scoreprof_nb.report.thread_states import thread_times
from scoreprof_nb.report.what_if_summary import what_if_summary


def summary(analysis: RunAnalysis, findings: Sequence[Finding]) -> schema.Summary:
    """The contract with everything outside, schema version 1."""
    manifest = analysis.run.manifest
    return schema.Summary(
        run_id=manifest.run_id,
        label=manifest.label,
        status=cast(schema.Status, analysis.status()),
        failure=manifest.failure,
        started_at=timestamp(manifest.started_s),
        finished_at=None if manifest.finished_s is None else timestamp(manifest.finished_s),
        provenance=dict(analysis.run.provenance),
        phases={phase.name: _phase(phase) for phase in analysis.phases},
        findings=[
            schema.Finding(
                phase=finding.phase,
                component=finding.component,
                ms_per_request=finding.ms_per_request,
                ci95=_interval(finding.low, finding.high),
                max_speedup=finding.max_speedup,
                text=finding.text,
            )
            for finding in findings
        ],
        cost_per_item={
            str(row["component"]): schema.CostPerItem(
                fixed_ms=float(row["fixed_ms"]),
                fixed_ci95=_interval(row["fixed_low"], row["fixed_high"]),
                per_item_ms=float(row["per_item_ms"]),
                per_item_ci95=_interval(row["per_item_low"], row["per_item_high"]),
            )
            for _, row in run_cost_per_item(analysis).iterrows()
        },
    )


def _phase(phase: PhaseAnalysis) -> schema.Phase:
    rows = phase.latency.table.set_index("which")
    plain, profiled = (rows.loc[which].to_dict() for which in ("all", "with py-spy"))
    throughput, observer = phase.latency.throughput, phase.latency.observer_effect
    return schema.Phase(
        load=_load(phase),
        prompt_tokens_per_request=phase.prefix_cache.prompt_tokens_per_request,
        cached_token_share=phase.prefix_cache.cached_share,
        requests=_requests(phase),
        latency_ms=schema.Latency(
            **{name: _number(plain[f"{name}_ms"]) for name in schema.Latency.model_fields}
        ),
        latency_ci95_ms=schema.LatencyIntervals(
            **{
                name: _interval(plain[f"{name}_low"], plain[f"{name}_high"])
                for name in schema.LatencyIntervals.model_fields
            }
        ),
        profiled_latency_ms=schema.ProfiledLatency(
            **{name: _number(profiled[f"{name}_ms"]) for name in schema.ProfiledLatency.model_fields}
        ),
        throughput=schema.Throughput(
            requests_per_s=throughput.requests_per_s if throughput else None,
            requests_per_s_ci95=_pair(throughput.requests_interval if throughput else None),
            items_per_s=throughput.items_per_s if throughput else None,
            items_per_s_ci95=_pair(throughput.items_interval if throughput else None),
        ),
        request_path_ms=_components(phase.path.table, "mean_ms"),
        request_path_unseen_high_ms=phase.path.unseen_high_ms,
        queued_ms=_components(phase.path.queued, "mean_ms"),
        limiting_thread=limiting_thread(phase),
        request_path_method=cast(schema.Method | None, phase.path.method),
        cpu_ms_per_request=_components(phase.threads.cpu, "cpu_ms"),
        threads=_threads(phase.threads.shares, phase.threads.states),
        memory=_memory(phase.memory),
        quality=_quality(phase),
        observer_effect=schema.ObserverEffect(
            p50_ratio=observer.p50_ratio,
            ci95=_interval(observer.low, observer.high),
            mean_ratio=observer.mean_ratio,
            mean_ci95=_interval(observer.mean_low, observer.mean_high),
        ),
        warmup=schema.Warmup(
            sufficient=warm_up_sufficient(phase.phase.record.warmup), text=phase.phase.record.warmup.ended
        ),
        scores=schema.Scores(consistent=phase.quality.scores.consistent, digest=phase.quality.scores.digest),
        checks=[
            schema.Check(name=check.name, passed=check.passed, text=check.text)
            for check in phase.quality.checks
        ],
        device=device_summary(phase.device.work) if phase.device.work is not None else None,
        what_if=what_if_summary(phase.what_if),
    )


def _requests(phase: PhaseAnalysis) -> schema.Requests:
    table = phase.requests.table
    return schema.Requests(
        sent=len(table),
        ok=int(table["ok"].sum()),
        failed=phase.requests.failed,
        failed_by_kind={str(kind): int(n) for kind, n in table["error"].value_counts().items()},
        compile_hit=cast(int | None, phase.batching.summary["compile_hit"]),
        split=cast(int | None, phase.batching.summary["split"]),
        items_per_request=_number(table["items"].mean()),
    )


def _load(phase: PhaseAnalysis) -> schema.Load:
    load, step, throughput = phase.load, phase.open_loop, phase.latency.throughput
    closed_per_s = throughput.requests_per_s if throughput is not None else None
    return schema.Load(
        loop=load.loop,
        concurrency=load.concurrency,
        offered_per_s=load.offered_per_s,
        achieved_per_s=closed_per_s if step is None else step.achieved_per_s,
    )


def _quality(phase: PhaseAnalysis) -> schema.Quality:
    quality = phase.quality.capture
    return schema.Quality(
        rate_hz=quality.rate_hz if quality else None,
        effective_rate_hz=quality.effective_rate_hz if quality else None,
        ticks=quality.ticks if quality else 0,
        lost_share=quality.lost_share if quality else None,
        behind_s=quality.behind_s if quality else None,
        unclassified_share=quality.unclassified_share if quality else None,
        tick_mismatch=quality.mismatch if quality else None,
        threads_ended=quality.ended if quality else None,
    )


def _components(table: pd.DataFrame, column: str) -> dict[str, schema.Component]:
    return {
        str(row["component"]): schema.Component(
            mean=float(row[column]), ci95=_interval(row["low"], row["high"])
        )
        for _, row in table.iterrows()
    }


def _threads(table: pd.DataFrame, states: pd.DataFrame) -> list[schema.Thread]:
    times = {
        (row["process"], row["thread"]): schema.ThreadTime(
            **{name: float(row[name]) for name in schema.ThreadTime.model_fields}
        )
        for row in thread_times(states).to_dict("records")
    }
    return [
        schema.Thread(
            process=str(process),
            thread=str(thread),
            ticks=int(rows["ticks"].iloc[0]),
            cpu_s=float(rows["cpu_s"].iloc[0]),
            share=dict(zip(rows["component"], map(float, rows["share"]), strict=True)),
            time=times.get((process, thread)),
        )
        for (process, thread), rows in table.groupby(["process", "thread"], sort=False)
    ]


def _memory(table: pd.DataFrame) -> list[schema.Memory]:
    return [
        schema.Memory(
            process=row["process"],
            **{name: float(row[name]) for name in ("first_mb", "last_mb", "most_mb")},
            growth_mb_per_1000_requests=_number(row["growth_mb"]),
            growth_ci95=_interval(row["growth_low"], row["growth_high"]),
        )
        for row in table.to_dict("records")
    ]


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else _interval(*interval)


def _interval(low: float | None, high: float | None) -> list[float] | None:
    """None when it is not known."""
    known = [value for value in map(_number, (low, high)) if value is not None]
    return known if len(known) == 2 else None
