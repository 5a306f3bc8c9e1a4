"""The structure of summary.json: each key with its meaning and unit.

``docs/summary.schema.json`` is generated from these models. Within schema version 1 keys may be added; none
is removed or changes its meaning. A number that is not known is null.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scoreprof_nb.report.what_if_schema import WhatIf

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Status = Literal["complete", "partial", "failed"]
Method = Literal["joint", "marginal"]
Bound = Literal["device", "host", "mixed"]
Wait = Literal["computing", "buffers", "transfer", "wake_up"]
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


class ThreadTime(_Part):
    """What a thread at work did, by the kernel's counters, ms per request: the three sum to its ticks at
    work."""

    on_cpu_ms: Finite = Field(description="it ran, ms per request")
    runnable_ms: Finite = Field(description="it waited for a core, ms per request")
    off_cpu_ms: Finite = Field(
        description="neither: it waited for the GIL, a lock, a page or the device, ms per request"
    )


class Thread(_Part):
    """A thread of the server, by role, over the profiled blocks."""

    process: str = Field(description="role of the process")
    thread: str = Field(description="role of the thread")
    ticks: Count = Field(description="instants at which py-spy looked at the thread")
    cpu_s: Finite = Field(description="CPU time charged by the kernel, seconds")
    share: dict[str, Share] = Field(description="share of the ticks by component; the shares sum to 1")
    time: ThreadTime | None = Field(
        description="what the thread did while at work; null where the kernel's counters were not read"
    )


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


class DeviceOperation(_Part):
    """An operation of the device, per request of the device trace."""

    name: str = Field(description="the operation's name in its program")
    category: str = Field(description="XLA's category; on a CPU, the name without its number")
    program: str = Field(description="the program it belongs to; empty if not known")
    ms_per_request: Finite = Field(description="device time per request without nested operations, ms")


class Device(_Part):
    """The device during the requests of JAX's trace, which are not part of any latency."""

    requests: Count = Field(description="answered requests in the trace")
    busy_ms: Component = Field(description="ms per request in which the device worked")
    idle_ms: Component = Field(description="ms per request in which it did not")
    bound: Bound | None = Field(
        description="what limits a request: the busy share's interval is above 0.6, below 0.4, or neither"
    )
    decode_ms: Finite | None = Field(
        description="device ms per request for the decode step, which a score request does not need"
    )
    wait_ms: dict[Wait, Component] = Field(
        description="what the host waits for in JAX's runtime, ms per request"
    )
    operations: list[DeviceOperation] = Field(description="the largest operations, at most 20")
    observer_effect: ObserverEffect = Field(description="p50 in the trace / p50 without it and py-spy")


class Check(_Part):
    """A law that the numbers obey, or a limit of the capture's quality."""

    name: str = Field(description="what is checked")
    passed: bool | None = Field(description="null: the check could not run")
    text: str = Field(description="the result in words")


class Load(_Part):
    """How the requests of a phase were sent."""

    loop: Literal["closed", "open", "replay"] = Field(
        description="closed: clients wait for answers; open: Poisson arrivals; replay: the file's times"
    )
    concurrency: Count | None = Field(description="requests in flight in a closed loop")
    offered_per_s: Finite | None = Field(description="planned requests per second, not in a closed loop")
    achieved_per_s: Finite | None = Field(description="answered requests per second")


class Phase(_Part):
    """A phase: one kind of request, repeated."""

    load: Load
    prompt_tokens_per_request: Finite | None = Field(description="mean, of all items of a request together")
    cached_token_share: Share | None = Field(
        description="share of the prompt tokens from the prefix cache, by the server's log"
    )
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
    queued_ms: dict[str, Component] = Field(
        description="what it waits behind, by component; with request_path_ms it sums to the mean latency"
    )
    limiting_thread: str | None = Field(
        description="process / thread that works longest per request, which bounds the throughput"
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
    device: Device | None = Field(None, description="null without a device trace that can be used")
    what_if: WhatIf | None = Field(None, description="null without what-if blocks (parameter what_if_ms)")


class CostPerItem(_Part):
    """The cost of a component as fixed_ms + items x per_item_ms, fitted over phases of different sizes."""

    fixed_ms: Finite = Field(description="ms per request, whatever it holds")
    fixed_ci95: Interval | None = Field(description="95 % interval of fixed_ms")
    per_item_ms: Finite = Field(description="ms per item")
    per_item_ci95: Interval | None = Field(description="95 % interval of per_item_ms")


class Finding(_Part):
    """A component that takes at least 1 % of a request, and more than its interval leaves to chance."""

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

    checksum: str | None = Field(
        default=None, description="SHA-256 of the file without this line, by which a damaged file is noticed"
    )
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
    cost_per_item: dict[str, CostPerItem] = Field(
        description="by component; empty unless phases with the same load differ in items per request"
    )
