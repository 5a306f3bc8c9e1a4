"""The structure of comparison.json: each key with its meaning and unit.

``docs/comparison.schema.json`` is generated from these models. Within schema version 2 keys may be added;
none is removed or changes its meaning. A number that is not known is null.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from scoreprof_nb.report.launches_schema import (
    Count,
    Finite,
    GroupChange,
    Launch,
    LoudLaunch,
    Observer,
    P,
    Plan,
    Row,
    SideName,
    Stability,
)

SCHEMA_VERSION = 2
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
_P = "of the verdict's claim, or of the nearest one, corrected; a claim is shown below 0.025"
WholeVerdict = RowVerdict | Literal["mixed"]


class Stopped(Row):
    """By side, each run that did not finish, and why."""

    control: list[str]
    test: list[str]


class Side(Row):
    """The runs of a side, in the order of the pairs."""

    label: str
    runs: list[str] = Field(description="run ids")
    folders: list[str] = Field(description="run folders")


class Difference(Row):
    """A condition that differs between the runs."""

    what: str
    kind: Literal["compared", "unlike", "noted"] = Field(
        description="unlike: it should be the same for all runs; noted: it only explains"
    )
    control: str
    test: str


class Metric(Row):
    """A metric of a phase."""

    phase: str
    metric: str = Field(
        description="mean, mean of <kind>, p50, p90, throughput, CPU per request or device busy per request"
    )
    role: Literal["headline", "beside"]
    unit: str
    lower_is_better: bool
    control: Finite | None = Field(description="mean over the runs, in ``unit``")
    test: Finite | None = Field(description="mean over the runs, in ``unit``")
    ratio: Finite | None = Field(description="test / control")
    low: Finite | None = Field(description="95 % interval of the ratio")
    high: Finite | None = Field(description="95 % interval of the ratio")
    hodges_lehmann: Finite | None = Field(description="ratio that an odd pair hardly moves")
    pairs: Count
    agreeing: Count = Field(description="pairs that changed in the direction of ``ratio``")
    p: P | None = Field(description=_P)
    detectable: Finite | None = Field(description="change called a regression with 80 % power, relative")
    pairs_needed: Finite | None = Field(description="pairs to show no meaningful change with 80 % power")
    launch_noise: Finite | None = Field(description="standard deviation between launches, relative")
    delta: Finite = Field(description="the margin, relative")
    not_worse: bool = Field(description="shown not to be worse by more than the margin")
    verdict: RowVerdict


class Component(Row):
    """A component of the request path of a phase."""

    phase: str
    component: str = Field(description="``request path``, with nulls, if no pair of runs has a path")
    control_ms: Finite | None = Field(description="ms per request")
    test_ms: Finite | None = Field(description="ms per request")
    change_ms: Finite | None = Field(description="test - control, ms per request")
    queued_change_ms: Finite | None = Field(description="of change_ms: waiting behind the component")
    low: Finite | None = Field(description="95 % interval of the change, ms per request")
    high: Finite | None = Field(description="95 % interval of the change, ms per request")
    p: P | None = Field(description=_P)
    pairs: Count = Field(description="pairs with a request path on both sides")
    method: str | None = Field(description="of the request path, such as joint or marginal")
    margin_ms: Finite | None = Field(description="a smaller change is not meaningful, ms per request")
    verdict: RowVerdict


class Scores(Row):
    """The scores of a phase. Scores are probabilities."""

    phase: str
    payloads: Count = Field(description="payloads answered on both sides")
    only_one_side: Count = Field(description="payloads answered on one side only")
    shape_differs: Count = Field(description="payloads with another number of scores")
    largest_difference: Finite | None = Field(description="between the medians of a payload")
    largest_logit_change: Finite | None = Field(description="between the medians of a payload")
    reordered: Count = Field(description="payloads with control's scores in another order of the items")
    control_deviating: Count = Field(description="answers further than the tolerance from control's median")
    control_answers: Count
    test_deviating: Count = Field(description="answers further than the tolerance from control's median")
    test_answers: Count
    logit_tolerance: Finite = Field(description="of the model's number format")
    same: bool | None = Field(description="null: not checked, no payload in common")


class Counts(Row):
    """How many requests of a phase failed, were hit by a compile, or were split over batches."""

    phase: str
    what: Literal["failed", "compile_hit", "split"]
    control: Count | None = Field(description="requests")
    test: Count | None = Field(description="requests")
    control_of: Count | None = Field(description="all requests")
    test_of: Count | None = Field(description="all requests")
    p: P | None = Field(description="Fisher's exact test")
    changed: bool | None


class Batching(Row):
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


class Function(Row):
    """A function whose time changed most."""

    phase: str
    thread: str = Field(description="process role / thread role")
    function: str = Field(description="function (file)")
    time: Literal["self", "cumulative"]
    control_ms: Finite = Field(description="ms per request")
    test_ms: Finite = Field(description="ms per request")
    change_ms: Finite = Field(description="test - control, ms per request")


class Stack(Row):
    """A stack that only one side has."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    phase: str
    which: Literal["vanished", "new"] = Field(description="vanished: only in control; new: only in test")
    ms_per_request: Finite = Field(alias="ms per request", description="ms per request")
    samples: Count = Field(description="of all runs")
    thread: str
    stack: str = Field(alias="stack, innermost first", description="the six innermost frames")


class Run(Row):
    """A phase of a run."""

    phase: str
    side: SideName
    pair: Annotated[int, Field(ge=1)]
    run_id: str
    started_s: Finite = Field(description="seconds since 1970, UTC")
    p50_ms: Finite | None = Field(description="median latency without py-spy, ms")
    mean_ms: Finite | None = Field(description="mean latency without py-spy, ms")
    requests: Count = Field(description="requests without py-spy")


class PhaseVerdict(Row):
    """The verdict on a phase."""

    phase: str
    verdict: WholeVerdict
    not_worse: bool = Field(description="shown not to be worse by more than the margin")


class Guarded(Row):
    """What must hold before anything is called an improvement."""

    guard: Literal["stopped runs", "failures", "scores", "prefix cache"]
    phase: str | None = Field(description="null: of the whole comparison")
    blocks: bool
    reason: str = Field(description="what was seen")


class ComparisonSummary(Row):
    """comparison.json, schema version 2: a comparison for tools. Keys may be added within a version."""

    schema_version: Literal[2]
    verdict: WholeVerdict = Field(description="the verdict on the whole: the worst that was shown")
    sentence: str = Field(description="the verdict in one sentence")
    blocked: bool = Field(description="a guard blocks: no change is called an improvement")
    not_worse: bool = Field(description="every phase was shown not to be worse by more than the margin")
    settled: bool = Field(description="further pairs could not change the verdict")
    missing: str | None = Field(description="why pairs of runs were not captured")
    stopped: Stopped
    unlike: bool = Field(description="captures were compared that are not alike")
    pairs: Annotated[int, Field(ge=1)]
    delta: Finite = Field(description="parameter: the smallest relative change that is meaningful")
    level: Finite = Field(description="the part of the error of 2.5 % that this look could spend")
    machine: dict[str, str] = Field(description="what the noise between launches depends on")
    control: Side
    test: Side
    left_out: list[str] = Field(description="what could not be compared, and why")
    mind: list[str] = Field(description="caveats")
    differences: list[Difference]
    phases: list[PhaseVerdict]
    guards: list[Guarded]
    metrics: list[Metric]
    components: list[Component]
    groups: list[GroupChange]
    scores: list[Scores]
    counts: list[Counts]
    batching: list[Batching]
    functions: list[Function]
    stacks: list[Stack]
    runs: list[Run]
    launches: list[Launch]
    stability: list[Stability]
    loud: list[LoudLaunch]
    observer: list[Observer]
    plan: list[Plan]
