"""The looks at a comparison: the error they spend in all, and that none can be taken back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.comparison.claims import (
    ERROR,
    IMPROVEMENT,
    NO_CHANGE,
    REGRESSION,
    judge,
    log_margin,
    moments,
)
from scoreprof_nb.comparison.looks import LOOKS, ONE_LOOK, Look, LookBook, looks_at, plan
from scoreprof_nb.parameters.compare import MARGIN


def taken(looks):
    return tuple(Look(look.pairs, look.level, taken=True) for look in looks)


def test_looks_are_at_complete_abba_blocks():
    """Broken: a look at an odd number of pairs, where one side was first more often."""
    assert all(look % 2 == 0 for look in LOOKS)
    assert looks_at(6, 16) == (6, 8, 12, 16)
    assert looks_at(6, 10) == (6, 8, 10)
    assert looks_at(10, 40) == (10, 12, 16, 20, 24, 30, 40)


def test_one_look_where_there_is_nothing_to_wait_for():
    """Broken: a single pair goes on to sixteen, or six pairs that shall be all go on."""
    assert looks_at(1, 16) == (1,)
    assert looks_at(6, 6) == looks_at(6, 4) == (6,)
    assert plan(6, 6)[0].level == pytest.approx(ONE_LOOK)


@given(st.lists(st.integers(3, 20).map(lambda half: 2 * half), min_size=1, max_size=5))
def test_no_plan_and_no_extension_spends_more_than_the_error(at_most):
    """Broken: extending a comparison by hand until it says what is wanted."""
    looks = ()
    for most in at_most:
        looks = taken(plan(6, most, looks))
        assert sum(look.level for look in looks) < ERROR
        assert [look.pairs for look in looks] == sorted({look.pairs for look in looks})
        assert all(look.level > 0 for look in looks)


def test_looking_and_extending_calls_chance_a_change_no_more_often():
    """Broken: the error of all looks and one extension together exceeds its promise, at a true change that is as
    large as the margin."""
    rng = np.random.default_rng(2)
    logs = np.log(1 + MARGIN) + rng.normal(0, 0.03 * 2**0.5, (4000, 1, 24))
    first = plan(6, 12)
    wrong = np.zeros(4000, bool)
    for look in (*first, *plan(6, 24, taken(first))[len(first) :]):
        words = judge(moments(logs[..., : look.pairs]), log_margin(MARGIN), look.level).verdict[:, 0]
        wrong |= np.isin(words, [REGRESSION, IMPROVEMENT, NO_CHANGE])
    assert wrong.mean() <= 0.05


def test_looks_that_were_taken_are_remembered(tmp_path):
    """Broken: a stopped comparison starts its error again when it is resumed."""
    book = LookBook(tmp_path)
    first = book.looks(6, 16)
    assert [look.pairs for look in first] == [6, 8, 12, 16]
    book.take(6)
    book.take(8)
    resumed = LookBook(tmp_path).looks(6, 16)
    assert [(look.pairs, look.taken) for look in resumed] == [(8, True), (12, False), (16, False)]
    assert [look.level for look in resumed] == [look.level for look in first[1:]]


def test_extending_by_hand_is_counted(tmp_path):
    """Broken: pairs_at_most=24 after 16 is judged as if nobody had looked before."""
    book = LookBook(tmp_path)
    for look in book.looks(6, 16):
        book.take(look.pairs)
    again = book.looks(6, 24)
    assert [look.pairs for look in again] == [16, 20, 24]
    assert sum(look.level for look in again[1:]) == pytest.approx(0.9 * 0.1 * ERROR)
    content = json.loads((tmp_path / "looks.json").read_text())
    assert sum(look["level"] for look in content["looks"]) < ERROR


def test_a_quick_look_at_one_pair_spends_nothing(tmp_path):
    """Broken: one pair, to see whether the branch starts at all, costs the comparison nine tenths of its error."""
    book = LookBook(tmp_path)
    book.looks(1, 1)
    book.take(1)
    assert [look.level for look in book.looks(6, 16)] == [look.level for look in plan(6, 16)]


def test_looks_of_an_attempt_on_another_machine_count(tmp_path):
    """Broken: the Job's retry on another node forgets the looks of the first attempt."""
    first, results, second = (tmp_path / name for name in ("first", "results", "second"))
    book = LookBook(first)
    book.looks(6, 16)
    book.take(6)
    results.mkdir()
    (results / "looks.json").write_text((first / "looks.json").read_text())
    assert LookBook(second, str(results)).looks(6, 16)[0].taken
