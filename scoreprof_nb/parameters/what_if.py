"""The parameters of a what-if experiment: delays that are put into the server to see what they change."""

from typing import Annotated

from pydantic import Field

from scoreprof_nb.parameters.schema import Number, ParameterSet, Text, one_of

SPIN, SLEEP = "spin", "sleep"
Kind = Annotated[Text, one_of(SPIN, SLEEP)]


class WhatIfParameters(ParameterSet):
    """Off by default: the server is then launched as ever, and nothing is wrapped."""

    what_if_ms: Number = Field(
        0.0,
        ge=0,
        le=10_000,
        description="ms per request to put into one component after another, to see what they cost. 0: off",
    )
    what_if_kind: Kind = Field(
        SPIN, description="spin: the delay works, and keeps a core and the GIL; sleep: it waits"
    )
    what_if_s: Number = Field(
        120.0,
        ge=1,
        le=86_400,
        description="seconds of what-if blocks per phase; at least 8 rounds of short blocks are measured",
    )
    what_if_components: Text = Field(
        "", description="components to delay, comma-separated. Empty: all that have a function to delay"
    )
