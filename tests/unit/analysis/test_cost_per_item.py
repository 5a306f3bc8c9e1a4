"""Fixed milliseconds and milliseconds per item, fitted over phases of different sizes."""

import numpy as np
import pytest

from scoreprof_nb.analysis.cost_per_item import PathAtItems, cost_per_item, fitted_line

ITEMS = (1, 4, 32)


def phases(fixed, per_item, half=0.1, noise=(0.0, 0.0, 0.0)):
    """A path of one component, ``tokenize``, of each size."""
    at = []
    for items, off in zip(ITEMS, noise, strict=True):
        mean = fixed + per_item * items + off
        at.append(PathAtItems(f"of {items}", items, {"tokenize": (mean, mean - half, mean + half)}, 0.001))
    return at


def test_a_line_is_found_exactly():
    """Broken: the fixed cost and the cost per item are mixed up."""
    row = cost_per_item(phases(3.0, 0.5)).iloc[0]
    assert row["component"] == "tokenize"
    assert row["fixed_ms"] == pytest.approx(3.0)
    assert row["per_item_ms"] == pytest.approx(0.5)
    assert row["phases"] == "of 1, of 4, of 32"


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Broken: the fit is surer of a cost per item than its data."""
    rng = np.random.default_rng(1)
    held = np.zeros(2)
    repeats = 600
    for _ in range(repeats):
        row = cost_per_item(phases(3.0, 0.5, half=0.2, noise=rng.normal(0, 0.2 / 1.96, 3))).iloc[0]
        held += [
            row["fixed_low"] <= 3.0 <= row["fixed_high"],
            row["per_item_low"] <= 0.5 <= row["per_item_high"],
        ]
    assert (held / repeats >= 0.93).all(), held / repeats


def test_a_cost_that_is_not_linear_has_wide_intervals():
    """Broken: a line through what is no line looks certain."""
    straight, bent = (
        cost_per_item(phases(3.0, 0.5, noise=noise)).iloc[0] for noise in ((0, 0, 0), (0, 3, 0))
    )
    width, bent_width = (row["fixed_high"] - row["fixed_low"] for row in (straight, bent))
    assert bent_width > 10 * width


def test_a_precise_phase_counts_more():
    """Broken: a phase of few requests pulls the line away from a precise one."""
    line, _ = fitted_line(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 9.0]), np.array([0.01, 0.01, 100.0]))
    assert line == pytest.approx([0.0, 1.0], abs=1e-3)


def test_a_component_that_a_phase_never_showed_is_small_and_not_absent():
    """Broken: a component seen in one phase only has no cost per item, or an exact one."""
    seen = PathAtItems("large", 32, {"logprobs": (3.2, 3.0, 3.4)}, 0.1)
    row = cost_per_item([PathAtItems("single", 1, {}, 0.1), seen]).iloc[0]
    assert row["per_item_ms"] == pytest.approx(3.2 / 31, rel=0.01)
    assert row["fixed_low"] < 0 < row["fixed_high"]


def test_one_number_of_items_has_no_slope():
    """Broken: a slope is made of two phases of the same size."""
    assert cost_per_item(phases(3.0, 0.5)[:1]).empty
    assert cost_per_item([]).empty
