"""The plan of faults and the page of their results: what `make faults` and `make reliability` rest on."""

import json
from dataclasses import asdict, replace
from itertools import islice

from tests.faults.faults import TELLING, Outcome, planned
from tests.faults.kinds import KINDS
from tests.faults.page import page, read_record

HIT = Outcome(
    *(0, "OOM kill of the scheduler", "memory", 1.0, True, 1, "report: x (it was killed)", ("single",)),
    broken_s=4.4,
    recovery_s=20.0,
    commit="abc",
    at="2026-11-29T00:00:00+00:00",
)


def test_plan_tries_every_kind_before_it_repeats_one_and_can_be_gone_on_with():
    """Broken: a long run tries a few kinds only, or FROM goes on with other faults."""
    faults = list(islice(planned(3), 2 * len(KINDS)))
    assert {fault.kind.name for fault in faults[: len(KINDS)]} == set(KINDS)
    assert [fault.number for fault in faults] == list(range(2 * len(KINDS)))
    assert list(islice(planned(3), 5, 9)) == faults[5:9]
    assert list(islice(planned(4), 9)) != faults[:9]


def test_telling_kinds_exist():
    assert len(set(TELLING) & set(KINDS)) == 10


def test_page_counts_what_was_hit_and_lists_what_broke(tmp_path):
    """Broken: a fault that missed counts as survived, or a broken promise is not shown."""
    missed = replace(HIT, hit=False, at="2026-11-30T00:00:00+00:00")
    broken = replace(HIT, problems=("left behind: [1]",), broken_s=8.4)
    impossible = replace(HIT, hit=None)
    record = tmp_path / "record.jsonl"
    outcomes = [replace(HIT, seed=7), missed, broken, impossible]
    record.write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes))
    text = page(read_record(record))
    assert "**3 faults, 2026-11-29 to 2026-11-30, commits `abc`: 2 hit, 1 survived.** 1 of" in text
    assert "1 came in the order of SEED=7; the kinds of 2 were chosen by hand." in text
    assert "| OOM kill of the scheduler | 3 | 2 | 1 | 6 | 20 |" in text
    assert "- OOM kill of the scheduler (abc): left behind: [1]" in text
    assert "| results gone | 0 | 0 | | | |" in text


def test_page_says_when_a_kind_was_survived_later():
    """Broken: a defect that was mended looks open, or one that is open looks mended."""
    broken = replace(HIT, problems=("left behind: [1]",))
    before, after = (replace(HIT, commit="def", at=f"2026-11-{day}T00:00:00+00:00") for day in (28, 30))
    mended = page([broken, replace(after, hit=False), after])
    assert "left behind: [1]; survived when tried again (def)" in mended
    assert "when tried again" not in page([before, broken, replace(after, problems=("hangs",))])


def test_every_kind_can_tell_whether_this_machine_can_do_it():
    """Broken: the driver ends with a traceback on a machine without the right to mount."""
    assert {kind.may() for kind in KINDS.values()} <= {True, False}
