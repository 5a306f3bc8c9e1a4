"""Launches that stand out: the report says that the machine was not quiet, and what it does to the size."""

import pandas as pd
import pytest

from scoreprof_nb.comparison.loud_launches import loud_launches
from scoreprof_nb.report.quiet import quiet_text
from tests.support.compared_runs import NOISE, compared, phase, run, side

QUIET = [74.0, 74.5, 73.5, 74.2, 73.8, 74.1]


def of_launches(control, test=QUIET):
    rows = [
        {
            "phase": "small",
            "metric": "mean",
            "side": name,
            "pair": pair,
            "launch": 2 * pair + at,
            "value": value,
        }
        for at, (name, values) in enumerate((("control", control), ("test", test)))
        for pair, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows)


def test_launches_that_agree_do_not_stand_out():
    """Broken: a quiet machine is called noisy."""
    assert loud_launches(of_launches(QUIET)).empty


def test_a_launch_that_stands_out_is_named_with_the_change_without_its_pair():
    """Broken: control's mean jumps from 74 to 132 ms in one launch, and the page does not say which."""
    control = [*QUIET[:3], 132.0, *QUIET[4:]]
    (row,) = loud_launches(of_launches(control)).to_dict("records")
    assert (row["side"], row["pair"], row["launch"], row["value"]) == ("control", 4, 8, 132.0)
    assert row["usual"] == pytest.approx(74.05)
    assert row["ratio"] == pytest.approx((74.2 / 132.0) ** (1 / 6))
    assert row["ratio_without"] == pytest.approx(1.0)


def test_few_launches_say_nothing():
    """Broken: one of two launches is called the odd one."""
    assert loud_launches(of_launches([74.0, 132.0], [74.0, 74.0])).empty


def test_the_report_says_which_launch_was_not_quiet_and_what_it_does_to_the_size():
    """Broken: the size is wrong because of one launch, and the reader cannot know."""
    control = side()
    control[2] = run(phase(factor=2.0), started_s=1e9 + 200)
    text = quiet_text(compared(control, side(at=1)))
    assert text.startswith("The machine was not quiet: in mean of small, launch 5 (control of pair 3: 80.")
    assert "usually 40." in text
    assert "the change is -1" in text
    assert "without theirs" in text


def test_a_quiet_machine_is_called_quiet():
    text = quiet_text(compared())
    assert text.startswith("The machine was quiet: launches of the same server differ by")


def test_two_levels_of_launches_are_not_quiet():
    """Broken: half of the launches are 20 % slower, which no robust spread calls an outlier."""
    control = [
        run(phase(factor=NOISE[number] * (1.4 if number % 2 else 1)), started_s=1e9 + 100 * number)
        for number in range(6)
    ]
    text = quiet_text(compared(control, side(at=1)))
    assert "the launches of control have two levels in mean of small" in text
    assert "pair by pair the change is" in text
