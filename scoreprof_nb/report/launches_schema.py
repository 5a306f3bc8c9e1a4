"""The part of comparison.json about the launches one by one, and the types of its rows."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
P = Annotated[float, Field(ge=0, le=1)]
SideName = Literal["control", "test"]


class Row(BaseModel):
    """A row of a table, or an object, of comparison.json."""

    model_config = ConfigDict(frozen=True)


class Launch(Row):
    """A headline of a launch."""

    phase: str
    metric: str
    side: SideName
    pair: Annotated[int, Field(ge=1)]
    launch: Annotated[int, Field(ge=1)] = Field(description="place in the order of time")
    run_id: str
    value: Finite | None = Field(description="ms")


class LoudLaunch(Row):
    """A launch that stands out from the others of its side: the machine was not quiet."""

    phase: str
    metric: str
    side: SideName
    pair: Annotated[int, Field(ge=1)]
    launch: Annotated[int, Field(ge=1)] = Field(description="place in the order of time")
    value: Finite = Field(description="ms")
    usual: Finite = Field(description="median of the launches of its side, ms")
    ratio: Finite = Field(description="test / control over all pairs")
    ratio_without: Finite | None = Field(description="test / control without the pairs of such launches")


class GroupChange(Row):
    """A group of components of the request path of a phase, or a sum of groups."""

    phase: str
    group: str
    kind: str = Field(description="host, compile, device, client; empty for a sum")
    control_ms: Finite = Field(description="ms per request")
    test_ms: Finite = Field(description="ms per request")
    change_ms: Finite = Field(description="test - control, ms per request")
    low: Finite | None = Field(description="95 % interval of the change, ms per request")
    high: Finite | None = Field(description="95 % interval of the change, ms per request")
    pairs: Count = Field(description="pairs with a request path on both sides")


class Stability(Row):
    """How a headline varied over the launches."""

    phase: str
    metric: str
    launches: Count
    drift: Finite | None = Field(description="relative change from launch to launch")
    drift_p: P | None = Field(description="that the drift is 0, uncorrected")
    order_effect: Finite | None = Field(description="relative, of the second launch of a pair to the first")
    order_p: P | None = Field(description="that the effect is 0, uncorrected")
    two_levels: list[SideName] = Field(description="sides whose launches form two groups")
    odd_pair: Count | None = Field(description="the pair that is an outlier")
    ratio: Finite | None = Field(description="test / control")
    ratio_without: Finite | None = Field(description="test / control without the odd pair")


class Observer(Row):
    """py-spy's effect on test against its effect on control."""

    phase: str
    ratio: Finite = Field(description="effect on test / effect on control, of p50")
    p: P = Field(description="paired t-test that the ratio is 1, uncorrected")


class Plan(Row):
    """What it takes to show a wanted change, from the noise between launches."""

    phase: str
    metric: str
    launch_noise: Finite = Field(description="standard deviation between launches, relative")
    low: Finite | None = Field(description="95 % interval of the noise")
    high: Finite | None = Field(description="95 % interval of the noise")
    wanted: Finite = Field(description="relative change; 0: no meaningful change")
    pairs: Finite | None = Field(description="null: more than 400")
    minutes: Finite | None = Field(description="of the pairs, launches included")
