"""The prefix cache's share of the prompt tokens, and the check that a cold phase is cold."""

import pandas as pd
import pytest

from scoreprof_nb.analysis.prefix_cache import CHANCE_TOKENS, cache_check, prefix_cache
from scoreprof_nb.analysis.requests import MeasuredRequests, measured_requests
from scoreprof_nb.run_folder.records import Load
from tests.support.synthetic import START_S, block, phase, sent

BLOCKS = [block(0, START_S, 10.0, profiled=False)]
LINE = "[2026-11-24 08:00:00] Prefill batch. #new-seq: 4, #new-token: {}, #cached-token: {}, token usage: 0.1"


def log(*batches):
    rows = [(round((START_S + 1 + n) * 1e9), LINE.format(*tokens)) for n, tokens in enumerate(batches)]
    return pd.DataFrame(rows, columns=["time_ns", "text"]).astype({"time_ns": "int64", "text": "object"})


def requests_of(*tokens) -> MeasuredRequests:
    """Requests of 4 items each, by (prompt tokens, shared tokens)."""
    rows = [
        {"at_ms": 1000 * n + 500, "latency_ms": 400, "prompt_tokens": prompt, "shared_tokens": shared}
        for n, (prompt, shared) in enumerate(tokens)
    ]
    table = sent(*rows).astype({"prompt_tokens": "Int64", "shared_tokens": "Int64"})
    return measured_requests(phase(BLOCKS, requests=table), log(), Load("closed", concurrency=1))


def found(batches, requests):
    return prefix_cache(phase(BLOCKS), log(*batches), requests)


def test_share_is_cached_tokens_over_prompt_tokens_of_the_phase():
    """Broken: the report states another share than the server's log, or counts batches of other phases."""
    requests = requests_of((100, 60), (120, 66))
    lines = log((40, 60), (90, 30))
    before = lines.assign(time_ns=lines["time_ns"] - 10**11)
    cache = prefix_cache(phase(BLOCKS), pd.concat([before, lines], ignore_index=True), requests)
    assert cache.cached_share == pytest.approx(90 / 220)
    assert cache.prompt_tokens_per_request == 110
    assert cache.explained_share == pytest.approx((63 + 4 * CHANCE_TOKENS) / 110)


def test_own_requests_get_their_length_from_the_log():
    """Broken: the length of the user's own requests is unknown although the log has it."""
    cache = found([(300, 100)], requests_of((None, None), (None, None)))
    assert cache.prompt_tokens_per_request == 200
    assert cache.explained_share is None


def test_nothing_is_known_without_the_log():
    """Broken: an unknown share is shown as zero."""
    cache = found([], requests_of((None, None)))
    assert (cache.cached_share, cache.prompt_tokens_per_request) == (None, None)
    assert cache_check("small", "cold", cache).passed is None


@pytest.mark.parametrize(
    ("mode", "batch", "passed"),
    [
        ("cold", (45, 55), True),  # the query of three items
        ("cold", (4, 96), False),  # payloads that repeat: one new token per item
        ("off", (100, 0), True),
        ("off", (99, 1), False),
        ("warm", (4, 96), None),
    ],
)
def test_cold_phase_has_no_more_hits_than_its_own_queries(mode, batch, passed):
    """Broken: a run that measures cache hits passes for one with new prompts."""
    check = cache_check("small", mode, found([batch], requests_of((100, 60))))
    assert (check and check.passed) is passed


def test_repeating_requests_of_ones_own_are_not_judged():
    """Broken: a check passes or fails without knowing what repeats."""
    check = cache_check("file", "cold", found([(4, 96)], requests_of((None, None))))
    assert check.passed is None
    assert "96.0% cached" in check.text
