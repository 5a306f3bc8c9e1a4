"""What the texts of ``concurrency``, ``rates``, ``query_tokens`` and ``item_tokens`` mean, and the names of
phases: ``kind``, ``kind@N`` with N requests in flight, ``kind@R/s`` in an open loop."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator

from scoreprof_nb.parameters.schema import Text

AUTO = "auto"
MOST_IN_FLIGHT = 1_000
MOST_TOKENS = 1_000_000
# Of the measured capacity. The last one overloads the server, to show what that looks like.
LADDER = (0.2, 0.4, 0.6, 0.8, 0.9, 1.1)
_NAME = re.compile(r"([^@]+)(?:@(?:(\d+)|(\d+(?:\.\d+)?(?:e[-+]?\d+)?)/s))?")
_LENGTH = re.compile(r"(\d+)(?:\s*\+-\s*(\d+))?")


@dataclass(frozen=True)
class PhasePlan:
    """A kind of request and its load: a closed loop, or with ``rate_per_s`` an open one."""

    kind: str
    concurrency: int = 1
    rate_per_s: float | None = None

    @property
    def name(self) -> str:
        """The phase's name; ``parse`` reads it."""
        if self.rate_per_s is not None:
            return f"{self.kind}@{self.rate_per_s:g}/s"
        return self.kind if self.concurrency == 1 else f"{self.kind}@{self.concurrency}"

    @classmethod
    def parse(cls, name: str) -> "PhasePlan":
        """Raises ValueError for a text that names no phase."""
        match = _NAME.fullmatch(name)
        if match is None or match[2] == "0" or (match[3] and float(match[3]) == 0):
            raise ValueError(f"{name!r} is not the name of a phase, such as small, small@4 or small@2.5/s")
        return cls(match[1], int(match[2] or 1), float(match[3]) if match[3] else None)


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts in tokens: normally distributed, cut at 1 token and at three standard deviations."""

    mean: int
    spread: int

    @property
    def most(self) -> int:
        """The longest text."""
        return self.mean + 3 * self.spread


def plans_of(names: Iterable[str], concurrencies: Iterable[int], rates: Iterable[float]) -> list[PhasePlan]:
    """The phases of the names: a kind alone has every load, ``kind@N`` and ``kind@R/s`` have the one named.

    Raises ValueError for a text that names no phase.
    """
    plans = []
    for name in names:
        plan = PhasePlan.parse(name)
        if "@" in name:
            plans.append(plan)
            continue
        plans += [replace(plan, concurrency=number) for number in concurrencies]
        plans += [replace(plan, rate_per_s=rate) for rate in rates]
    return plans


def ladder(kind: str, capacity_per_s: float) -> list[PhasePlan]:
    """The open loops that ``rates`` auto means, rounded to three digits."""
    return [PhasePlan(kind, rate_per_s=float(f"{share * capacity_per_s:.3g}")) for share in LADDER]


def numbers_in_flight(text: str) -> tuple[int, ...]:
    """ "1,4,16" to whole numbers. Raises ValueError."""
    numbers = []
    for part in text.split(","):
        if not re.fullmatch(r"\s*-?\d+\s*", part):
            raise ValueError("must be a whole number, or a list such as 1,4,16")
        numbers.append(int(part))
    if not all(1 <= number <= MOST_IN_FLIGHT for number in numbers):
        raise ValueError(f"must be from 1 to {MOST_IN_FLIGHT}")
    if len(set(numbers)) < len(numbers):
        raise ValueError("lists a number twice")
    return tuple(numbers)


def rates_of(text: str) -> tuple[float, ...]:
    """ "2,5,10" to numbers; empty for "" and "auto". Raises ValueError."""
    if text in ("", AUTO):
        return ()
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError("must be auto, or rates in requests/s such as 2,5,10") from error
    if not all(1e-3 <= rate <= 1e5 for rate in rates):
        raise ValueError("each rate must be from 0.001 to 100000 requests/s")
    if len({f"{rate:g}" for rate in rates}) < len(rates):
        raise ValueError("lists a rate twice")
    return rates


def lengths_of(text: str, default: Lengths) -> Lengths:
    """ "300" and "300+-60" to lengths; ``default`` for "". Raises ValueError."""
    if not text:
        return default
    match = _LENGTH.fullmatch(text.strip())
    if match is None or not 1 <= int(match[1]) <= MOST_TOKENS or int(match[2] or 0) > int(match[1]):
        raise ValueError("must be tokens, such as 300, or mean and standard deviation, such as 300+-60")
    return Lengths(int(match[1]), int(match[2] or 0))


def _checked_in_flight(text: str) -> str:
    return ",".join(map(str, numbers_in_flight(text)))


def _checked_rates(text: str) -> str:
    rates_of(text)
    return text


def _checked_lengths(text: str) -> str:
    lengths_of(text, Lengths(1, 0))
    return text


InFlight = Annotated[Text, AfterValidator(_checked_in_flight)]
Rates = Annotated[Text, AfterValidator(_checked_rates)]
TokenLengths = Annotated[Text, AfterValidator(_checked_lengths)]
