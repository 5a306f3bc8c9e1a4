"""The structure of summary.json: each key with its meaning and unit.

``docs/summary.schema.json`` is generated from these models. Within schema version 1 keys may be added; none
is removed or changes its meaning. A number that is not known is null.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Status = Literal["complete", "partial", "failed"]
Method = Literal["joint", "marginal"]
Interval = Annotated[list[Finite], Field(min_length=2, max_length=2, description="95 % interval: low, high")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Requests(_Part):
    """The measured requests of a phase; the warm-up is not counted."""

    sent: Count = Field(description="requests sent")
    ok: Count = Field(description="requests answered with scores")
    failed: Count = Field(description="requests without scores")
    failed_by_kind: dict[str, Count] = Field(
        description="failed requests by kind, such as timeout or http_500"
    )
    compile_hit: Count | None = Field(description="requests during which the server compiled, by its log")
    split: Count | None = Field(
        description="requests whose items went into several batches, by the server's log"
    )
    items_per_request: Finite | None = Field(description="mean number of items")


class Latency(_Part):
    """Latency of requests in blocks without py-spy, milliseconds; null with too few requests.

    Requests that resemble their neighbours count as fewer.
    """

    mean: Finite | None = Field(description="mean, ms")
    p50: Finite | None = Field(description="median, ms; needs 6 independent requests")
    p90: Finite | None = Field(description="90th percentile, ms; needs 29 independent requests")
    p95: Finite | None = Field(description="95th percentile, ms; needs 59 independent requests")
    p99: Finite | None = Field(description="99th percentile, ms; needs 299 independent requests")


class LatencyIntervals(_Part):
    """95 % intervals of ``latency_ms``; null where unknown. They include the differences between blocks."""

    mean: Interval | None = Field(description="of the mean, ms")
    p50: Interval | None = Field(description="of the median, ms")
    p90: Interval | None = Field(description="of the 90th percentile, ms")
    p95: Interval | None = Field(description="of the 95th percentile, ms")
    p99: Interval | None = Field(description="of the 99th percentile, ms")


class ProfiledLatency(_Part):
    """Latency of requests in blocks with py-spy, milliseconds."""

    mean: Finite | None = Field(description="mean, ms; the request path sums to it")
    p50: Finite | None = Field(description="median, ms")


class Throughput(_Part):
    """Throughput in blocks without py-spy."""

    requests_per_s: Finite | None = Field(description="requests answered per second")
    requests_per_s_ci95: Interval | None = Field(description="95 % interval of the requests per second")
    items_per_s: Finite | None = Field(description="items scored per second")
    items_per_s_ci95: Interval | None = Field(description="95 % interval of the items per second")


class Component(_Part):
    """The mean of a component with its interval, milliseconds per request."""

    mean: Finite = Field(description="ms per request")
    ci95: Interval | None = Field(description="95 % interval of the mean, ms per request")


class Thread(_Part):
    """A thread of the server, by role, over the profiled blocks."""

    process: str = Field(description="role of the process")
    thread: str = Field(description="role of the thread")
    ticks: Count = Field(description="instants at which py-spy looked at the thread")
    cpu_s: Finite = Field(description="CPU time charged by the kernel, seconds")
    share: dict[str, Share] = Field(description="share of the ticks by component; the shares sum to 1")


class Memory(_Part):
    """The memory of a process of the server on its host, over the measured blocks."""

    process: str = Field(description="role of the process")
    first_mb: Finite = Field(description="resident memory at the first sample, MB")
    last_mb: Finite = Field(description="at the last sample, MB")
    most_mb: Finite = Field(description="the largest sample, MB")
    growth_mb_per_1000_requests: Finite | None = Field(description="null: not known")
    growth_ci95: Interval | None = Field(description="95 % interval of the growth")


class Quality(_Part):
    """How good the recordings of a phase are; null without a recording."""

    rate_hz: Count | None = Field(description="requested sampling rate, Hz")
    effective_rate_hz: Finite | None = Field(description="sampling rate reached, Hz")
    ticks: Count = Field(description="ticks of all profiled blocks")
    lost_share: Share | None = Field(
        description="largest share of ticks that py-spy could not read, of a process"
    )
    behind_s: Finite | None = Field(description="the most that py-spy was behind, seconds")
    unclassified_share: Share | None = Field(
        description="largest share of ticks that no rule matches, of a thread"
    )
    tick_mismatch: Count | None = Field(
        description="largest difference in ticks between two processes of a block"
    )
    threads_ended: Count | None = Field(
        description="threads that ended within a block; their CPU time is not known"
    )


class ObserverEffect(_Part):
    """What py-spy costs: latency with py-spy / latency without, of like requests."""

    p50_ratio: Finite | None = Field(description="ratio of the medians")
    ci95: Interval | None = Field(description="95 % interval of p50_ratio")
    mean_ratio: Finite | None = Field(description="ratio of the means")
    mean_ci95: Interval | None = Field(description="95 % interval of mean_ratio")


class Warmup(_Part):
    """How the warm-up of a phase ended."""

    sufficient: bool | None = Field(
        description="whether it ended because compiles had ceased; null if the server's log shows no compiles"
    )
    text: str = Field(description="why it ended, in words")


class Scores(_Part):
    """The scores that were returned."""

    consistent: bool | None = Field(description="whether equal payloads got equal scores; null if not known")
    digest: str | None = Field(description="SHA-256 of the scores")


class Check(_Part):
    """A law that the numbers obey, or a limit of the capture's quality."""

    name: str = Field(description="what is checked")
    passed: bool | None = Field(description="null: the check could not run")
    text: str = Field(description="the result in words")


class Phase(_Part):
    """A phase: one kind of request, repeated."""

    requests: Requests
    latency_ms: Latency
    latency_ci95_ms: LatencyIntervals
    profiled_latency_ms: ProfiledLatency
    throughput: Throughput
    request_path_ms: dict[str, Component] = Field(
        description="what the average profiled request waits for, by component; empty if not defined"
    )
    request_path_unseen_high_ms: Finite | None = Field(
        description="upper end of the 95 % interval, from 0, of each component that request_path_ms lacks"
        " because no sample shows it, ms; pieces longer than a tick may take more"
    )
    request_path_method: Method | None = Field(description="method by which the path was computed")
    cpu_ms_per_request: dict[str, Component] = Field(description="CPU milliseconds per request, by component")
    threads: list[Thread]
    memory: list[Memory] = Field(description="by process; empty if it was not recorded")
    quality: Quality
    observer_effect: ObserverEffect
    warmup: Warmup
    scores: Scores
    checks: list[Check]


class Finding(_Part):
    """A component that takes at least 1 % of a request."""

    phase: str
    component: str
    ms_per_request: Finite = Field(
        description="ms per request; of CPU time in a phase without a request path"
    )
    ci95: Interval | None = Field(description="95 % interval, ms per request")
    max_speedup: Finite | None = Field(
        description="latency / (latency - component): the most that removing it could give"
    )
    text: str = Field(description="the finding in one sentence")


class Summary(_Part):
    """summary.json, schema version 1: the results of a run for tools. Keys may be added within a version."""

    schema_version: Literal[1] = 1
    run_id: str
    label: str = Field(description="name of the run in reports")
    status: Status = Field(
        description="partial: phases are missing, or more than 1 % of the requests of a phase failed"
    )
    failure: str | None = Field(description="why the capture ended early")
    started_at: str | None = Field(description="ISO 8601, UTC")
    finished_at: str | None = Field(description="ISO 8601, UTC")
    provenance: dict[str, Any] = Field(description="versions, commit, chip, host, limits")
    phases: dict[str, Phase] = Field(description="the finished phases by name, in order")
    findings: list[Finding] = Field(description="the largest first")
