"""The counts of a report add up, and a check says so."""

from dataclasses import replace

import pytest

from scoreprof_nb.analysis.counts import RequestCounts, counts_check, sequences_check
from tests.support.written_run import GOOD, check_result, failed, reported, write_run

COUNTS = RequestCounts("large", 20, 10, 6, 1, 2, 1, 16, 64, 64)


def test_counts_that_add_up_are_said_as_a_sum():
    check = counts_check(COUNTS)
    assert check.passed is True
    assert check.text == (
        "20 sent = 10 without py-spy + 6 with py-spy + 1 where py-spy failed + 2 outside the blocks + 1 failed"
    )


def test_a_request_that_is_counted_twice_is_found():
    """Broken: the parts of a table sum to more than its total, and nobody notices."""
    assert counts_check(replace(COUNTS, plain=11)).passed is False


@pytest.mark.parametrize(
    ("changes", "concurrency", "passed"),
    [
        ({"failed": 0}, 1, True),
        ({"failed": 0, "sequences": 63}, 1, False),
        ({"failed": 0, "sequences": 70}, 1, None),  # prompts in chunks
        ({"failed": 0}, 4, None),  # requests that began before the first block
        ({"failed": 1}, 1, None),
        ({"failed": 0, "sequences": None}, 1, None),
    ],
)
def test_sequences_are_compared_where_they_can_be(changes, concurrency, passed):
    """Broken: a run is marked as wrong for what cannot be known, or items that were lost are not found."""
    assert sequences_check(replace(COUNTS, **changes), concurrency).passed is passed


def test_tokens_and_sequences_are_read_from_the_log(tmp_path):
    """Broken: two tables of a report disagree on the length of a prompt."""
    log = "".join(
        f"{request['sent_ns'] / 1e9 + 0.05:.6f} Prefill batch. #new-seq: 4, #new-token: 8, #cached-token: 40\n"
        for request in GOOD
    )
    write_run(tmp_path, recording="whole", log=log)
    report = reported(tmp_path)[0]
    phase = report.analysis.phases[0]
    assert phase.counts.within == len(GOOD)
    assert phase.prefix_cache.prompt_tokens_per_request == 48.0
    assert phase.prefix_cache.cached_share == 40 / 48
    assert check_result(report, "sequences") == (
        True,
        "160 items in requests, 160 sequences in prefill batches",
    )
    assert check_result(report, "add up")[0] is True


def test_every_request_is_in_one_column(tmp_path):
    write_run(tmp_path, recording="damaged", requests=[*GOOD[:39], failed(39)])
    counts = reported(tmp_path)[0].analysis.phases[0].counts
    parts = counts.plain + counts.profiled + counts.not_recorded + counts.between + counts.failed
    assert (parts, counts.failed) == (40, 1)
    assert counts.not_recorded == 10  # of the block whose recording is damaged
