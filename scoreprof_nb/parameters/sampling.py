"""What the text of ``rate_hz`` means: samples per second, or ``auto``."""

import re
from typing import Annotated

from pydantic import AfterValidator

from scoreprof_nb.parameters.load import AUTO
from scoreprof_nb.parameters.schema import Text

MOST_HZ = 1_000


def rate_of(text: str) -> int | None:
    """Samples per second; None for "auto". Raises ValueError."""
    if text == AUTO:
        return None
    match = re.fullmatch(r"(-?[0-9]+)(?:\.0+)?", text)
    if match is None:
        raise ValueError("must be a whole number, or auto")
    if not 1 <= int(match[1]) <= MOST_HZ:
        raise ValueError(f"must be from 1 to {MOST_HZ}, or auto")
    return int(match[1])


def _checked(text: str) -> str:
    rate = rate_of(text)
    return AUTO if rate is None else str(rate)


SamplingRate = Annotated[Text, AfterValidator(_checked)]
