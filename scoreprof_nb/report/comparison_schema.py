"""The structure of comparison.json: each key with its meaning and unit.

``docs/comparison.schema.json`` is generated from these models. Within schema version 1 keys may be added;
none is removed or changes its meaning. A number that is not known is null.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
P = Annotated[float, Field(ge=0, le=1)]
SideName = Literal["control", "test"]
RowVerdict = Literal[
    "improvement",
    "regression",
    "suggestive improvement",
    "suggestive regression",
    "blocked",
    "no meaningful change",
    "changed, size uncertain",
    "inconclusive",
    "insufficient",
    "not known",
]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class Stopped(_Row):
    """By side, each run that did not finish, and why."""

    control: list[str]
    test: list[str]


class Side(_Row):
    """The runs of a side, in the order of the pairs."""

    label: str
    runs: list[str] = Field(description="run ids")
    folders: list[str] = Field(description="run folders")


class Difference(_Row):
    """A condition that differs between the runs."""

    what: str
    kind: Literal["compared", "unlike"] = Field(description="unlike: it should be the same for all runs")
    control: str
    test: str


class Metric(_Row):
    """A metric of a phase."""

    phase: str
    metric: str = Field(description="p50, p90, throughput, CPU per request or device busy per request")
    unit: str
    control: Finite | None = Field(description="mean over the runs, in ``unit``")
    test: Finite | None = Field(description="mean over the runs, in ``unit``")
    ratio: Finite | None = Field(description="test / control")
    low: Finite | None = Field(description="95 % interval of the ratio")
    high: Finite | None = Field(description="95 % interval of the ratio")
    pairs: Count
    p_sign_flip: P | None = Field(description="sign-flip test, uncorrected")
    p_corrected: P | None = Field(description="paired t-test, corrected over all rows (Holm)")
    detectable: Finite | None = Field(description="minimum detectable effect, relative, at 80 % power")
    delta: Finite = Field(description="the margin, relative: the parameter delta, or the noise if larger")
    verdict: RowVerdict


class Component(_Row):
    """A component of the request path of a phase."""

    phase: str
    component: str = Field(description="``request path``, with nulls, if no pair of runs has a path")
    control_ms: Finite | None = Field(description="ms per request")
    test_ms: Finite | None = Field(description="ms per request")
    change_ms: Finite | None = Field(description="test - control, ms per request")
    low: Finite | None = Field(description="95 % interval of the change, ms per request")
    high: Finite | None = Field(description="95 % interval of the change, ms per request")
    p: P | None = Field(description="paired t-test, uncorrected")
    pairs: Count = Field(description="pairs with a request path on both sides")
    method: Literal["joint", "marginal"] | None
    p_corrected: P | None = Field(description="paired t-test, corrected over all rows (Holm)")
    margin_ms: Finite | None = Field(description="a smaller change is not meaningful, ms per request")
    verdict: RowVerdict


class Scores(_Row):
    """The scores of a phase. Scores are probabilities."""

    phase: str
    payloads: Count = Field(description="payloads answered on both sides")
    only_one_side: Count = Field(description="payloads answered on one side only")
    shape_differs: Count = Field(description="payloads with another number of scores")
    largest_difference: Finite | None = Field(description="between the medians of a payload")
    control_deviating: Count = Field(description="answers further than the tolerance from control's median")
    control_answers: Count
    test_deviating: Count = Field(description="answers further than the tolerance from control's median")
    test_answers: Count
    tolerance: Finite
    same: bool | None = Field(description="null: no payload in common")


class Counts(_Row):
    """How many requests of a phase failed, were hit by a compile, or were split over batches."""

    phase: str
    what: Literal["failed", "compile_hit", "split"]
    control: Count | None = Field(description="requests")
    test: Count | None = Field(description="requests")
    control_of: Count | None = Field(description="all requests")
    test_of: Count | None = Field(description="all requests")
    p: P | None = Field(description="Fisher's exact test")
    changed: bool | None


class Batching(_Row):
    """A count per run of a phase, by the server's log."""

    phase: str
    what: str
    control: Finite | None = Field(description="mean over the runs")
    test: Finite | None = Field(description="mean over the runs")
    change: Finite | None = Field(description="test - control")
    low: Finite | None = Field(description="95 % interval of the change")
    high: Finite | None = Field(description="95 % interval of the change")
    p: P | None = Field(description="paired t-test, uncorrected")
    pairs: Count


class Function(_Row):
    """A function whose time changed most."""

    phase: str
    thread: str = Field(description="process role / thread role")
    function: str = Field(description="function (file)")
    time: Literal["self", "cumulative"]
    control_ms: Finite = Field(description="ms per request")
    test_ms: Finite = Field(description="ms per request")
    change_ms: Finite = Field(description="test - control, ms per request")


class Stack(_Row):
    """A stack that only one side has."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    phase: str
    which: Literal["vanished", "new"] = Field(description="vanished: only in control; new: only in test")
    ms_per_request: Finite = Field(alias="ms per request", description="ms per request")
    samples: Count = Field(description="of all runs")
    thread: str
    stack: str = Field(alias="stack, innermost first", description="the six innermost frames")


class Run(_Row):
    """A phase of a run."""

    phase: str
    side: SideName
    pair: Annotated[int, Field(ge=1)]
    run_id: str
    started_s: Finite = Field(description="seconds since 1970, UTC")
    p50_ms: Finite | None = Field(description="median latency without py-spy, ms")
    mean_ms: Finite | None = Field(description="mean latency without py-spy, ms")
    requests: Count = Field(description="requests without py-spy")


class ComparisonSummary(_Row):
    """comparison.json, schema version 1: a comparison for tools. Keys may be added within a version."""

    schema_version: Literal[1]
    verdict: RowVerdict | Literal["mixed"] = Field(description="the verdict on the whole comparison")
    sentence: str = Field(description="the verdict in one sentence")
    blocked: bool = Field(
        description="test returns other scores, fails more, or more of its runs did not finish"
    )
    missing: str | None = Field(description="why pairs of runs were not captured")
    stopped: Stopped
    unlike: bool = Field(description="captures were compared that are not alike")
    pairs: Annotated[int, Field(ge=1)]
    delta: Finite = Field(description="parameter: the smallest relative change that is meaningful")
    noise: dict[str, dict[str, Finite]] = Field(
        description="phase, then metric or component: noise floor, relative; of a component to mean latency"
    )
    control: Side
    test: Side
    left_out: list[str] = Field(description="what could not be compared, and why")
    mind: list[str] = Field(description="caveats")
    differences: list[Difference]
    metrics: list[Metric]
    components: list[Component]
    scores: list[Scores]
    counts: list[Counts]
    batching: list[Batching]
    functions: list[Function]
    stacks: list[Stack]
    runs: list[Run]
