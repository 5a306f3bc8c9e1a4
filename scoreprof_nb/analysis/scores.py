"""Whether a server gives equal payloads equal scores, within the precision of the model's number format."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from scoreprof_nb.engines.sglang_jax_analysis import DTYPE_FLAG

# Scores are probabilities. Equal payloads may be computed in batches of different shapes, so their scores
# may differ by a rounding step of the number format at 1: 2^-7 for bfloat16 (8 bits of mantissa), 2^-10
# for float16 (11 bits). In float32 sums may be reordered; 1e-4 allows for that.
TOLERANCES: Mapping[str, float] = MappingProxyType({"bfloat16": 2**-7, "float16": 2**-10, "float32": 1e-4})
DEFAULT_DTYPE = "bfloat16"


def dtype_of(provenance: Mapping[str, Any]) -> str:
    """The number format that the model is computed in: the server's dtype flag, else the model's own."""
    words = str(provenance.get("command") or "").split()
    for word, following in pairwise([*words, ""]):
        if word == DTYPE_FLAG and following != "auto":
            return following
        if word.startswith(f"{DTYPE_FLAG}=") and not word.endswith("=auto"):
            return word.partition("=")[2]
    return str(provenance.get("model_dtype") or "not known")


def tolerance_of(dtype: str) -> float:
    """The largest difference of equal payloads' scores; bfloat16's for a format that is not known."""
    return TOLERANCES.get(dtype, TOLERANCES[DEFAULT_DTYPE])


@dataclass(frozen=True)
class Scores:
    """Whether equal payloads got equal scores.

    ``consistent``: None if no payload was sent twice; ``max_difference``: between scores of one payload;
    ``digest``: SHA-256 of each payload's median scores, rounded to 3 digits; where every request is new, of
    the payloads that were sent once more, so that it does not depend on the number of requests.
    """

    consistent: bool | None
    max_difference: float | None
    digest: str | None


def scores(requests: pd.DataFrame, tolerance: float) -> Scores:
    """``requests``: all requests of a phase, warm-up included (columns of requests.parquet);
    ``tolerance``: the largest difference that is consistent."""
    answered = requests[requests["error"].isna() & (requests["payload"] >= 0)]
    repeats = answered[answered["repeat"]]
    if not repeats.empty:
        answered = answered.merge(repeats[["kind", "payload"]].drop_duplicates())
    differences: list[float] = []
    medians = {}
    for (kind, payload), group in answered.groupby(["kind", "payload"]):
        lists = [[list(map(float, labels)) for labels in response] for response in group["scores"]]
        if len({tuple(len(labels) for labels in response) for response in lists}) > 1:
            differences.append(math.inf)
            continue
        values = np.array(
            [[score for labels in response for score in labels] for response in lists], dtype=np.float64
        )
        medians[f"{kind}/{payload}"] = np.round(np.median(values, axis=0), 3).tolist()
        if len(values) > 1:
            differences.append(float((values.max(axis=0) - values.min(axis=0)).max()))
    if not medians and not differences:
        return Scores(None, None, None)
    digest = hashlib.sha256(json.dumps(medians, sort_keys=True).encode()).hexdigest()
    worst = max(differences) if differences else None
    return Scores(None if worst is None else worst <= tolerance, worst, digest)
