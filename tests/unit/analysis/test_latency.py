"""Latency, observer effect and throughput, and how requests get their block and their hits."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.analysis.batching import batching_row
from scoreprof_nb.analysis.latency import (
    latency,
    latency_rows,
    minimum_detectable_effect,
    throughput,
)
from scoreprof_nb.analysis.observer import observer_effect
from scoreprof_nb.analysis.requests import events, measured_requests
from scoreprof_nb.run_folder.records import Block, Load, Recording
from tests.support.synthetic import START_S, block, measured, phase, sent


def rows_of(latencies, **same):
    return [{"at_ms": 1000 * i, "latency_ms": value} | same for i, value in enumerate(latencies)]


def plain(latencies, **same):
    return rows_of(latencies, profiled=False, **same)


def by_which(requests):
    return {row["which"]: row for row in latency_rows("small", requests)}


# ---- the latency table


def test_a_row_says_mean_and_percentiles_with_intervals():
    """Broken: the latency table lacks the mean, a percentile or an interval."""
    mixed_up = np.random.default_rng(1).permutation(range(1, 101))
    row = latency("small", "all", measured(*plain(mixed_up)).table)
    assert row["requests"] == 100
    assert row["mean_ms"] == pytest.approx(50.5)
    assert row["p50_ms"] == pytest.approx(50.5)
    assert row["p90_ms"] == pytest.approx(90.1)
    assert row["p95_ms"] == pytest.approx(95.05)
    assert row["p50_low"] < 50.5 < row["p50_high"]
    assert row["mean_low"] == pytest.approx(50.5 - 1.96 * 2.9, abs=1.5)  # standard error of the mean: 2.9
    assert row["mean_high"] == pytest.approx(50.5 + 1.96 * 2.9, abs=1.5)


def test_too_few_requests_give_no_number_rather_than_a_wrong_one():
    """Broken: a percentile is shown although there are too few requests for it."""
    row = latency("small", "all", measured(*plain([10] * 28)).table)
    assert row["p50_ms"] == pytest.approx(10)
    for name in ("p90", "p95", "p99"):
        assert math.isnan(row[f"{name}_ms"])
        assert math.isnan(row[f"{name}_low"])
        assert math.isnan(row[f"{name}_high"])
    empty = latency("small", "all", measured().table)
    assert empty["requests"] == 0
    assert math.isnan(empty["mean_ms"])
    assert math.isnan(latency("small", "all", measured(*plain([10])).table)["mean_high"])
    assert math.isnan(empty["p50_ms"])


def test_rows_tell_apart_what_hit_a_request():
    """Broken: requests hit by a compile or a split are mixed with the others."""
    requests = measured(
        *plain([10, 11]),
        *plain([1000], compile_hit=True),
        *plain([1500], compile_hit=True, split=True),
        *plain([60], split=True),
        *rows_of([12, 13, 14]),
        *plain([0.001], error="timeout"),
        *plain([7], block=-1),
    )
    counts = {which: (row["requests"], row["mean_ms"]) for which, row in by_which(requests).items()}
    assert counts == {
        "all": (5, pytest.approx((10 + 11 + 1000 + 1500 + 60) / 5)),
        "neither compiled nor split": (2, pytest.approx(10.5)),
        "hit by a compile": (2, pytest.approx(1250)),
        "split, no compile": (1, pytest.approx(60)),
        "with py-spy": (3, pytest.approx(13)),
    }


def test_without_a_log_no_row_claims_to_know_what_hit():
    """Broken: a run without a log claims that nothing was compiled or split."""
    unknown = measured(*plain([10, 11], compile_hit=pd.NA, split=pd.NA, prefills=pd.NA))
    assert list(by_which(unknown)) == ["all", "with py-spy"]


def test_requests_whose_split_is_not_known_are_not_dropped():
    """Broken: requests are dropped above concurrency 1, where the log shows compiles but not splits."""
    requests = measured(*plain([10, 11], split=pd.NA, prefills=pd.NA))
    assert by_which(requests)["not compiled (splits not known)"]["requests"] == 2
    assert "neither compiled nor split" not in by_which(requests)


# ---- throughput


def test_throughput_counts_what_was_answered_in_the_blocks_without_py_spy():
    """Broken: throughput includes requests that py-spy slowed down, or misses some."""
    blocks = [
        block(0, START_S, 2.0, profiled=False),
        block(1, START_S + 2, 2.0),
        block(2, START_S + 4, 2.0, profiled=False),
    ]
    requests = measured(
        *({"at_ms": 100 * i, "latency_ms": 50, "items": 3} for i in range(10)),
        {"at_ms": 1990, "latency_ms": 50},  # answered in the profiled block
        {"at_ms": 3990, "latency_ms": 50, "items": 6},  # answered in the last one
        {"at_ms": 4500, "latency_ms": 50, "error": "timeout"},
    )
    assert throughput(phase(blocks), requests)[:2] == (pytest.approx(11 / 4), pytest.approx(36 / 4))


def test_throughput_is_not_known_without_a_block_without_py_spy():
    """Broken: a throughput is shown although every block was profiled."""
    assert throughput(phase([block(0)]), measured(*rows_of([10]))) is None


# ---- observer effect


def test_observer_effect_is_the_ratio_of_the_medians():
    """Broken: the observer effect is not the ratio of the medians with and without py-spy."""
    effect = observer_effect(measured(*plain([98, 100, 102] * 5), *rows_of([108, 110, 112] * 5)))
    assert effect.p50_ratio == pytest.approx(1.1)
    assert 1.05 < effect.low <= 1.1 <= effect.high < 1.15


def test_observer_effect_compares_like_with_like():
    """Broken: py-spy is blamed for more large requests in the blocks that it recorded."""
    requests = measured(
        *plain([10] * 30, kind="single", items=1),
        *plain([100] * 3, kind="large", items=32),
        *rows_of([10] * 3, kind="single", items=1),
        *rows_of([100] * 30, kind="large", items=32),
    )
    assert observer_effect(requests).p50_ratio == pytest.approx(1)


def test_observer_effect_compares_split_requests_with_split_ones():
    """Broken: py-spy is blamed for requests that happened to be split, at 50 ms each."""
    requests = measured(
        *plain([50] * 9),
        *plain([100] * 2, split=True),
        *rows_of([50] * 2),
        *rows_of([100] * 9, split=True),
    )
    assert observer_effect(requests).p50_ratio == pytest.approx(1)


def test_observer_effect_averages_the_kinds_geometrically():
    """Broken: the kind of request sent most often decides the observer effect."""
    requests = measured(
        *plain([10] * 3, items=1),
        *rows_of([40] * 3, items=1),
        *plain([10] * 3, items=2),
        *rows_of([10] * 3, items=2),
    )
    assert observer_effect(requests).p50_ratio == pytest.approx(2)


def test_observer_effect_leaves_out_requests_hit_by_a_compile():
    """Broken: a compile in a profiled block is charged to py-spy."""
    requests = measured(
        *plain([100] * 3),
        *plain([2000] * 9, compile_hit=True),
        *rows_of([110] * 3),
        *rows_of([5000], compile_hit=True),
    )
    assert observer_effect(requests).p50_ratio == pytest.approx(1.1)


def test_observer_effect_of_few_requests_leaves_compiles_out_as_long_as_it_can():
    """Broken: one compile in a profiled block is a py-spy that makes requests ten times as slow."""
    requests = measured(
        *plain([100, 100], split=False, items=1, kind="single"),
        *rows_of([110], split=False, items=1, kind="single"),
        *rows_of([110], split=True, items=1, kind="single"),
        *rows_of([5000, 5000], compile_hit=True, items=1, kind="single"),
    )
    assert observer_effect(requests).p50_ratio == pytest.approx(1.1)


def test_observer_effect_is_not_known_with_one_request_a_side():
    """Broken: an observer effect is shown for a single request on each side."""
    nothing = observer_effect(measured(*plain([100] * 9), *rows_of([110])))
    assert (nothing.p50_ratio, nothing.low, nothing.high) == (None, None, None)
    assert observer_effect(measured()).p50_ratio is None


def test_observer_effect_works_without_a_log_and_repeats_by_seed():
    """Broken: without a log there is no observer effect, or it changes with each analysis."""
    requests = measured(
        *plain([90, 100, 120, 101], compile_hit=pd.NA), *rows_of([100, 110, 130, 112], compile_hit=pd.NA)
    )
    assert observer_effect(requests) == observer_effect(requests)
    assert observer_effect(requests).p50_ratio is not None


# ---- from the phase's table and the server's log


PREFILL = "Prefill batch. #new-seq: {}, #new-token: 40, #cached-token: 0, token usage: 0.01"
MISS = "Prefill batch. #bid: 7, #cache_miss: {}"


def log(*lines):
    """(milliseconds since START_S, text)"""
    rows = [(round(START_S * 1e9) + round(at_ms * 1e6), text) for at_ms, text in lines]
    return pd.DataFrame(rows, columns=["time_ns", "text"])


NO_LOG = log()
ONE, TWO = (Load("closed", concurrency=n) for n in (1, 2))
TWO_BLOCKS = [block(0, START_S, 1.0, profiled=False), block(1, START_S + 1, 1.0)]


def test_requests_get_their_block_and_the_warm_up_is_left_out():
    """Broken: requests are assigned to the wrong block, or the warm-up is measured."""
    table = sent(
        {"at_ms": 500, "latency_ms": 100},
        {"at_ms": 10, "latency_ms": 100, "warmup": True},
        {"at_ms": 950, "latency_ms": 100},  # over the edge: in no block
        {"at_ms": 1200, "latency_ms": 100},
        {"at_ms": 100, "latency_ms": 100},
        {"at_ms": 1400, "latency_ms": 3, "error": "connection"},
    )
    requests = measured_requests(phase(TWO_BLOCKS, requests=table), NO_LOG, ONE)
    assert requests.table["sent_ns"].is_monotonic_increasing
    assert requests.table["block"].tolist() == [0, 0, -1, 1, 1]
    assert requests.table["profiled"].tolist() == [False, False, False, True, True]
    assert requests.table["latency_ms"].tolist() == [pytest.approx(100)] * 4 + [pytest.approx(3)]
    assert len(requests.plain()) == 2
    assert len(requests.profiled()) == 1


def test_a_block_in_which_py_spy_failed_is_neither_with_it_nor_without():
    """Broken: an observer effect of nothing, and latencies of blocks that py-spy may have slowed down."""
    failed = Block(1, START_S + 1, START_S + 2, Recording(None, START_S, START_S, 100, failure="died"))
    table = sent(*({"at_ms": at_ms, "latency_ms": 100} for at_ms in (100, 1100, 1300)))
    requests = measured_requests(phase([TWO_BLOCKS[0], failed], requests=table), NO_LOG, ONE)
    assert (len(requests.plain()), len(requests.profiled()), len(requests.succeeded())) == (1, 0, 3)
    assert observer_effect(requests).p50_ratio is None


def test_requests_sent_while_a_block_waits_for_its_last_answer_are_not_in_it():
    """Broken: of those only the quickest are answered in time, so the mean is too small."""
    one = replace(TWO_BLOCKS[0], until_s=START_S + 0.5)
    table = sent(
        {"at_ms": 100, "latency_ms": 800},  # what the block waits for
        {"at_ms": 480, "latency_ms": 100},
        {"at_ms": 600, "latency_ms": 50},
    )
    assert measured_requests(phase([one], requests=table), NO_LOG, TWO).table["block"].tolist() == [0, 0, -1]


def test_the_log_says_which_requests_were_split_or_hit_by_a_compile():
    """Broken: a split or a compile is charged to another request than the one it hit."""
    table = sent(*({"at_ms": at_ms, "latency_ms": 100} for at_ms in (0, 200, 400, 600)))
    lines = log(
        (20, PREFILL.format(4)),
        (150, PREFILL.format(9)),  # between two requests
        (220, PREFILL.format(1)),
        (260, PREFILL.format(3)),
        (270, MISS.format(2)),
        (420, PREFILL.format(4)),
        (440, "Decode batch. #running-req: 4, #cache_miss: 1"),
        (620, PREFILL.format(4)),
        (630, MISS.format(0)),
    )
    requests = measured_requests(phase(TWO_BLOCKS, requests=table), lines, ONE).table
    assert requests["prefills"].tolist() == [1, 2, 1, 1]
    assert requests["split"].tolist() == [False, True, False, False]
    assert requests["compile_hit"].tolist() == [False, True, True, False]


def test_without_a_log_hits_are_unknown_not_false():
    """Broken: unknown hits are shown as none."""
    table = sent({"at_ms": 0, "latency_ms": 100})
    requests = measured_requests(phase(TWO_BLOCKS, requests=table), NO_LOG, ONE).table
    for column in ("prefills", "split", "compile_hit"):
        assert requests[column].isna().all()


def test_a_log_that_tells_nothing_is_not_one_that_says_none():
    """Broken: with a log level above info nothing was compiled and nothing split, by the report."""
    table = sent({"at_ms": 100, "latency_ms": 100})
    quiet = log((-500, "launching"), (-400, PREFILL.format(4)), (150, "WARNING: deprecated"))
    one = phase(TWO_BLOCKS, requests=table)
    requests = measured_requests(one, quiet, ONE)
    for column in ("prefills", "split", "compile_hit"):
        assert requests.table[column].isna().all()
    row = batching_row(one, quiet, requests)
    assert row["compiles"] is None
    assert row["prefill_batches"] is None


def test_above_concurrency_one_splits_are_unknown():
    """Broken: with two requests in flight, a prefill is assigned to one of them by chance."""
    table = sent({"at_ms": 0, "latency_ms": 100})
    requests = measured_requests(phase(TWO_BLOCKS, requests=table), log((20, PREFILL.format(4))), TWO).table
    assert requests["split"].isna().all()
    assert requests["compile_hit"].tolist() == [False]


def test_events_of_the_log():
    """Broken: prefills or compiles in the log are misread."""
    lines = log(
        (1, PREFILL.format(4)), (2, MISS.format(3)), (3, "Decode batch. #running-req: 1"), (4, "INFO: 200 OK")
    )
    assert events(lines, "prefill")["count"].tolist() == [4]
    assert events(lines, "compile")["count"].tolist() == [3]
    assert events(lines, "decode")["count"].tolist() == [0]
    assert events(NO_LOG, "prefill").empty


@pytest.mark.parametrize(
    ("interval", "at_least", "at_most"),
    [
        ("decode_log_interval=40, ", 81, 159),  # three regular lines, 40 steps between each two of them
        ("decode_log_interval=1, ", 4, 4),
        ("", 4, None),
    ],
)
def test_decode_steps_are_bounded_by_how_often_the_server_logs_one(interval, at_least, at_most):
    """Broken: every 40th step is taken for all of them."""
    decode = "Decode batch. #running-req: 4, #queue-req: 0, #cache_miss: {}"
    lines = log(
        (-500, f"server_args=ServerArgs(model_path='m', {interval}log_level='info')"),
        (-300, decode.format(0)),  # of the warm-up
        (50, PREFILL.format(4)),
        *((at_ms, decode.format(0)) for at_ms in (100, 300, 500)),
        (400, decode.format(2)),  # a compile is logged whatever the interval
    )
    table = sent({"at_ms": 0, "latency_ms": 100})
    one = phase(TWO_BLOCKS, requests=table)
    row = batching_row(one, lines, measured_requests(one, lines, ONE))
    assert (row["decode_batches_at_least"], row["decode_batches_at_most"]) == (at_least, at_most)


def test_detectable_change_shrinks_with_more_requests_and_is_unknown_with_few():
    """Broken: the report cannot say what it could have detected, so noise passes for a result."""
    rng = np.random.default_rng(3)

    def detectable(n):
        return minimum_detectable_effect(
            measured(
                *({"at_ms": 0.0, "latency_ms": float(ms), "profiled": False} for ms in rng.normal(100, 10, n))
            )
        )

    assert detectable(4) is None
    assert 0 < detectable(400) < detectable(30) < 0.5
