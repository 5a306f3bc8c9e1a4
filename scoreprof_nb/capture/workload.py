"""What a phase sends: generated from a seed, or read from the user's file."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.texts import Texts
from scoreprof_nb.parameters.load import Lengths, PhasePlan, lengths_of
from scoreprof_nb.parameters.profile import WARM, Parameters
from scoreprof_nb.parameters.requests_file import FILE_PHASE, RequestBody, read_requests_file

DISTINCT_PAYLOADS = 8  # per kind, with prefix_cache warm
FINGERPRINTED = 8  # requests of a phase
# Without a parameter: about what the API is used with; the tiny model computes on a CPU.
DEVICE_LENGTHS = (Lengths(120, 30), Lengths(180, 45))  # of queries and of items, in tokens
CPU_LENGTHS = (Lengths(16, 2), Lengths(8, 2))


class Workload(Protocol):
    """The requests of a phase, by number. Equal numbers give equal bytes in every run."""

    @property
    def shapes(self) -> tuple[tuple[str, int], ...]:
        """Kind and number of items of the requests, without duplicates."""

    @property
    def send_at_s(self) -> tuple[float, ...]:
        """When to send each request, seconds since the start; empty unless the user's file says it."""

    @property
    def repeated(self) -> int:
        """How many of the first requests are sent once more at the end, to compare their scores."""

    def request(self, number: int) -> RequestBody:
        """A request to measure."""

    def warmup_request(self, number: int) -> RequestBody:
        """A request of the warm-up."""

    def sized(self, items: int, number: int) -> RequestBody:
        """A request of the warm-up with this number of items."""

    def fingerprint(self) -> str:
        """Equal texts mean equal requests."""


@dataclass(frozen=True)
class Workloads:
    """Makes the workloads of a run.

    ``tokens_of``: the number of tokens of each word; empty where the model is not known.
    """

    parameters: Parameters
    labels: tuple[int, ...]
    tokens_of: Mapping[str, int]

    def of(self, phase: str, purpose: str = "") -> Workload:
        """The workload of a phase; with a ``purpose``, the same with other texts.

        Raises ParameterError for a requests file that cannot be used.
        """
        kind = PhasePlan.parse(phase).kind
        if kind == FILE_PHASE:
            bodies = read_requests_file(Path(self.parameters.requests_file), list(self.labels))
            return FileWorkload(tuple(bodies))
        return GeneratedWorkload(phase + purpose, self._kinds(kind), self)

    def _kinds(self, kind: str) -> tuple[tuple[str, int], ...]:
        parameters = self.parameters
        kinds = {
            "single": parameters.single_items,
            "small": parameters.small_items,
            "large": parameters.large_items,
        }
        return tuple(kinds.items()) if kind == "mixed" else ((kind, kinds[kind]),)

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """Of queries and of items."""
        query, item = CPU_LENGTHS if self.parameters.device == "cpu" else DEVICE_LENGTHS
        return lengths_of(self.parameters.query_tokens, query), lengths_of(self.parameters.item_tokens, item)


class GeneratedWorkload:
    """Requests whose texts depend on the seed, the phase, the kind, the sizes and the number only.

    Each has a query of its own, which its items share. With ``prefix_cache`` warm a few requests are sent
    in turn.
    """

    send_at_s = ()

    def __init__(self, phase: str, shapes: tuple[tuple[str, int], ...], run: Workloads) -> None:
        self.shapes = shapes
        self._run = run
        self._warm = run.parameters.prefix_cache == WARM
        self.repeated = 0 if self._warm else len(shapes) * max(1, 4 // len(shapes))
        # Phases of a run share the server's cache: each has texts of its own.
        self._seed = f"{run.parameters.seed}/{phase}"
        self._texts = Texts(self._seed, run.tokens_of)

    def request(self, number: int) -> RequestBody:
        index, position = divmod(number, len(self.shapes))
        if self._warm:
            index %= DISTINCT_PAYLOADS
        return self._body(*self.shapes[position], index, "")

    def warmup_request(self, number: int) -> RequestBody:
        if self._warm:
            return self.request(number)
        index, position = divmod(number, len(self.shapes))
        return replace(self._body(*self.shapes[position], index, "warm-up"), number=-1)

    def sized(self, items: int, number: int) -> RequestBody:
        return replace(self._body(self.shapes[0][0], items, number, "sizes"), number=-1)

    def fingerprint(self) -> str:
        first = [self.request(number).payload for number in range(FINGERPRINTED * len(self.shapes))]
        query, item = self._run.lengths
        sizes = ", ".join(f"{kind} x {items}" for kind, items in self.shapes)
        return (
            f"{sizes}, {self._run.parameters.prefix_cache}, tokens {query.mean}+-{query.spread} and "
            f"{item.mean}+-{item.spread}; SHA-256 {_digest(first)}"
        )

    def _body(self, kind: str, items: int, index: int, part: str) -> RequestBody:
        rng = random.Random(f"{self._seed}/{part}/{kind}/{items}/{index}")
        of_query, of_item = self._run.lengths
        # Odd and even: the warm-up's queries begin with other words than those that are measured.
        query, query_tokens = self._texts.unique(_interleaved(index, part), rng, of_query)
        texts = [self._texts.text(rng, of_item) for _ in range(items)]
        payload = ENGINE.request_body(query, [text for text, _ in texts], self._run.labels)
        known = bool(self._run.tokens_of)
        return RequestBody(
            kind,
            items,
            payload,
            len(self._run.labels),
            number=index,
            prompt_tokens=items * query_tokens + sum(n for _, n in texts) if known else None,
            shared_tokens=(items - 1) * query_tokens if known else None,
        )


def _interleaved(index: int, part: str) -> int:
    """A number of its own for each part of a phase."""
    return 3 * index + ("", "warm-up", "sizes").index(part)


class FileWorkload:
    """The user's bodies in the order of the file, over and over, those that must not repeat only once."""

    repeated = 0

    def __init__(self, bodies: Sequence[RequestBody]) -> None:
        self._bodies = tuple(replace(body, number=number) for number, body in enumerate(bodies))
        self._repeating = tuple(body for body in self._bodies if body.repeats)
        self.shapes = tuple(dict.fromkeys((body.kind, body.items) for body in bodies))

    @property
    def send_at_s(self) -> tuple[float, ...]:
        return tuple(body.send_at_s for body in self._bodies if body.send_at_s is not None)

    def request(self, number: int) -> RequestBody:
        if number < len(self._bodies):
            return self._bodies[number]
        return self._repeating[(number - len(self._bodies)) % len(self._repeating)]

    def warmup_request(self, number: int) -> RequestBody:
        bodies = self._repeating or self._bodies
        body = bodies[number % len(bodies)]
        if body.repeats:
            return body
        return replace(body, number=-1, payload=ENGINE.with_other_query(body.payload, number))

    def sized(self, items: int, number: int) -> RequestBody:
        large_enough = [body for body in self._bodies if body.items >= items]
        body = large_enough[number % len(large_enough)]
        payload = ENGINE.with_other_query(ENGINE.with_first_items(body.payload, items), number)
        return replace(body, items=items, number=-1, payload=payload)

    def fingerprint(self) -> str:
        sizes = ", ".join(f"{kind} x {items}" for kind, items in self.shapes)
        times = [json.dumps([body.send_at_s, body.repeats]).encode() for body in self._bodies]
        payloads = [body.payload for body in self._bodies]
        return f"{len(self._bodies)} bodies, {sizes}; SHA-256 {_digest([*payloads, *times])}"


def _digest(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]
