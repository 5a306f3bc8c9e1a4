"""The structure of ``what_if`` in summary.json: a what-if experiment."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[list[Finite], Field(min_length=2, max_length=2, description="95 % interval: low, high")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Estimate(_Part):
    """A mean with its interval."""

    mean: Finite = Field(description="in the unit of the key")
    ci95: Interval


class Function(_Part):
    """What the delay of one function changed, per ms that was put in; null where it is not known."""

    component: str
    function: str = Field(description="MODULE:CLASS.METHOD")
    calls_per_request: Finite = Field(description="calls per request without a delay")
    put_in_ms: Finite = Field(
        description="ms per request, as counted by the server, in blocks without py-spy"
    )
    sensitivity: Estimate | None = Field(description="change of the mean latency, ms per ms put in")
    path: Estimate | None = Field(description="change of the component in the request path, ms per ms put in")
    found: Estimate | None = Field(
        description="change of the threads' time in it, ms per ms put in: 1 if the samples are right"
    )
    throughput_per_ms: Estimate | None = Field(
        description="relative change of the throughput per ms put in; null with one request in flight"
    )
    p99_ms_per_ms: Estimate | None = Field(
        description="change of p99, ms per ms put in; null with one request in flight, or too few"
    )
    calibrated: bool | None = Field(description="whether the samples found what was put in; null: not known")
    path_is_wrong: bool = Field(description="whether path and sensitivity differ beyond their intervals")


class LeftOut(_Part):
    """A function that was not delayed."""

    component: str
    function: str
    reason: str


class WhatIf(_Part):
    """Known delays, put into one function after another in short blocks between blocks without."""

    put_in_ms: Finite = Field(description="parameter what_if_ms: ms per request that were to be put in")
    kind: Literal["spin", "sleep"]
    rounds: Annotated[int, Field(ge=0)] = Field(description="in each, every function is delayed once")
    off_ns_per_call: Finite = Field(description="what a wrapper costs while no delay is on, ns per call")
    functions: list[Function]
    left_out: list[LeftOut]
    felt_ms: dict[str, Estimate] = Field(
        description="by component: the threads' ms per request x sensitivity: what it really costs a request"
    )
    device_felt_ms: Interval | None = Field(
        description="bounds of what the device really costs, ms per request: what the others leave"
    )
