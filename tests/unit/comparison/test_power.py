"""What the report says could have been seen is what its own verdict sees."""

import numpy as np
import pytest

from scoreprof_nb.comparison.claims import ERROR, NO_CHANGE, REGRESSION, judge, log_margin, moments
from scoreprof_nb.comparison.power import pairs_for, smallest_detectable_change
from scoreprof_nb.parameters.compare import MARGIN


def words(ratio, spread, pairs, level, comparisons=4000):
    rng = np.random.default_rng(13)
    logs = np.log(ratio) + rng.normal(0, spread, (comparisons, 1, pairs))
    return judge(moments(logs), log_margin(MARGIN), level).verdict[:, 0]


@pytest.mark.parametrize(
    ("pairs", "noise", "level"), [(6, 0.03, ERROR), (6, 0.05, ERROR / 8), (16, 0.03, 0.004)]
)
def test_smallest_detectable_change_is_called_a_regression_in_four_of_five(pairs, noise, level):
    """Broken: the report says that 6 % would have been seen where 80 % power is at 11.7 %."""
    spread = noise * 2**0.5
    change = smallest_detectable_change(spread, pairs, level, MARGIN)
    assert np.mean(words(1 + change, spread, pairs, level) == REGRESSION) == pytest.approx(0.8, abs=0.025)


def test_a_change_must_exceed_the_margin_to_be_detected():
    """Broken: the detectable change is that of "not 1"."""
    assert smallest_detectable_change(0.0, 6, ERROR, MARGIN) == pytest.approx(MARGIN)
    assert smallest_detectable_change(0.03 * 2**0.5, 6, ERROR, MARGIN) == pytest.approx(0.117, abs=0.01)


@pytest.mark.parametrize("noise", [0.02, 0.03])
def test_pairs_that_no_change_takes_show_it_in_four_of_five(noise):
    """Broken: the report says how many pairs the margin takes, and they do not suffice."""
    spread = noise * 2**0.5
    pairs = pairs_for(spread, ERROR, MARGIN)
    assert pairs % 2 == 0
    assert np.mean(words(1.0, spread, pairs, ERROR) == NO_CHANGE) >= 0.76
    assert np.mean(words(1.0, spread, pairs - 2, ERROR) == NO_CHANGE) <= 0.84


def test_pairs_for_a_wanted_change():
    """Broken: a larger change takes more pairs, or one as large as the margin can be shown at all."""
    needed = [pairs_for(0.05, ERROR, MARGIN, change) for change in (0.1, 0.15, 0.2)]
    assert needed == sorted(needed, reverse=True)
    assert needed[0] > needed[2]
    assert pairs_for(0.05, ERROR, MARGIN, MARGIN) is None
    assert pairs_for(2.0, ERROR, MARGIN) is None
    assert pairs_for(0.0, ERROR, MARGIN) == 6
