"""Request bodies: generated from a seed, or read from the user's file."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.requests_file import FILE_PHASE, RequestBody, read_requests_file

DISTINCT_PAYLOADS = 8  # per kind; each is repeated, so that its scores can be compared
QUERY_WORDS, ITEM_WORDS = 5, 4

_WORDS = re.findall(
    r"\w+",
    "the document answers question rate how well item fits query quick brown fox jumps over lazy dog "
    "request is scheduled dispatched to device and scored this passage relevant search answer",
)


def request_bodies(parameters: Parameters, phase: str, label_token_ids: Sequence[int]) -> list[RequestBody]:
    """The bodies of a phase, in the order of sending; the load repeats them.

    The texts depend on the seed, the kind and the number of items only, so two runs with equal
    parameters send the same bytes. Raises ParameterError for a requests file that cannot be used.
    """
    labels = list(label_token_ids)
    if phase == FILE_PHASE:
        return read_requests_file(Path(parameters.requests_file), labels)
    kinds = {
        "single": parameters.single_items,
        "small": parameters.small_items,
        "large": parameters.large_items,
    }
    sent = kinds if phase == "mixed" else {phase: kinds[phase]}
    return [
        _body(kind, items, labels, parameters.seed, number)
        for number in range(DISTINCT_PAYLOADS)
        for kind, items in sent.items()
    ]


def workload_fingerprint(bodies: Sequence[RequestBody]) -> str:
    """A fingerprint of a phase's requests: equal texts mean equal bytes."""
    digest = hashlib.sha256(b"\n".join(body.payload for body in bodies)).hexdigest()
    counts = Counter((body.kind, body.items) for body in bodies)
    sizes = ", ".join(f"{n} {kind} x {items}" for (kind, items), n in sorted(counts.items()))
    return f"{sizes}; SHA-256 {digest[:16]}"


def _body(kind: str, items: int, labels: list[int], seed: int, number: int) -> RequestBody:
    rng = random.Random(f"{seed}/{kind}/{items}/{number}")

    def text(words: int) -> str:
        return " ".join(rng.choice(_WORDS) for _ in range(words))

    query = f"Is this item relevant? {text(QUERY_WORDS)}. "
    payload = ENGINE.request_body(query, [text(ITEM_WORDS) for _ in range(items)], labels)
    return RequestBody(kind, items, payload, len(labels))
