"""The share of prompt tokens that the server took from its prefix cache."""

import math
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.quality import Check
from scoreprof_nb.analysis.requests import MeasuredRequests, within
from scoreprof_nb.engines.sglang_jax_analysis import PREFILL_TOKENS
from scoreprof_nb.run_folder.store import Phase

# A new query may begin with the first token or two of another one by chance.
CHANCE_TOKENS = 2
COLD, CACHE_OFF = "cold", "off"


@dataclass(frozen=True)
class PrefixCache:
    """``prompt_tokens_per_request``: of all items together, as planned, else by the server's log;
    ``cached_share``: of the prompt tokens in the log; ``explained_share``: the most that a request's own
    items can take from the query that they share, and by chance. None where it is not known."""

    prompt_tokens_per_request: float | None
    cached_share: float | None
    explained_share: float | None


def prefix_cache(phase: Phase, log: pd.DataFrame, requests: MeasuredRequests) -> PrefixCache:
    """Over the first block to the last one. ``log``: the server's, columns time_ns and text."""
    table = requests.table
    tokens = within(phase, log)["text"].astype(str).str.extract(PREFILL_TOKENS).dropna().astype(int)
    new, cached = (int(tokens[column].sum()) for column in tokens)
    known = table[["prompt_tokens", "shared_tokens", "items"]].dropna()
    planned = None if len(known) < len(table) or known.empty else known.mean()
    answered = len(requests.answered_within(phase.record.blocks))
    per_request = (new + cached) / answered if answered and new + cached else None
    explained = None
    if planned is not None:
        per_request = float(planned["prompt_tokens"])
        explained = float((planned["shared_tokens"] + CHANCE_TOKENS * planned["items"]) / per_request)
    return PrefixCache(per_request, cached / (new + cached) if new + cached else None, explained)


def cache_check(phase: str, mode: str, cache: PrefixCache) -> Check | None:
    """Whether requests hit nothing but their own queries.

    ``mode``: the parameter ``prefix_cache``. None where it allows any hits.
    """
    if mode not in (COLD, CACHE_OFF):
        return None
    name = "the prefix cache knows no request"
    if cache.cached_share is None:
        return Check(phase, name, None, "the server's log does not show cached tokens")
    allowed = 0.0 if mode == CACHE_OFF else cache.explained_share
    if allowed is None:
        return Check(phase, name, None, f"{cache.cached_share:.1%} cached; what repeats is not known")
    passed = cache.cached_share <= allowed or math.isclose(cache.cached_share, allowed)
    text = f"{cache.cached_share:.1%} of the prompt tokens cached; own queries explain up to {allowed:.1%}"
    return Check(phase, name, passed, text)
