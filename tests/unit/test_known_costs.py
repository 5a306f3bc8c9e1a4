"""How the truth tests judge a known cost: by its interval, and all costs together by their common error."""

import pytest

from tests.truth.truth import INJECTIONS, Injection, Measured, common_bias

SINGLE, LARGE = INJECTIONS[0], next(one for one in INJECTIONS if one.phase == "large")


def cost(
    truth_ms: float, growth_ms: float, half_ms: float, injection: Injection = SINGLE, **others
) -> Measured:
    return Measured(injection, truth_ms, growth_ms, half_ms, others, 0.0, 100)


def test_a_cost_outside_its_interval_differs():
    """Broken: 15 % off passes whatever the interval says."""
    assert not cost(320.0, 273.0, 36.0, LARGE).agrees()
    assert not cost(10.0, 11.2, 0.5).agrees(widths=2)
    assert cost(10.0, 11.2, 0.7).agrees(widths=2)


def test_costs_that_share_an_error_are_biased_though_each_agrees():
    """Broken: every cost is 8 % too small, and every interval hides it."""
    costs = [cost(10.0, 9.2, 1.0) for _ in range(8)]
    assert all(one.agrees() for one in costs)
    bias = common_bias(costs)
    assert bias.mean == pytest.approx(-0.08)
    assert bias.half_width == pytest.approx(0.1 / 8**0.5)


def test_precise_costs_weigh_more_in_the_common_error():
    """Broken: an imprecise cost weighs as much as a precise one."""
    bias = common_bias([cost(10.0, 11.0, 0.5), cost(10.0, 9.0, 1.0)])
    assert bias.mean == pytest.approx((4 * 0.1 - 0.1) / 5)


def test_components_that_moved_are_named_unless_they_are_unsteady():
    """Broken: a component that varies anyway is said to have moved, or one that moved is not named."""
    others = {"batch": (3.0, 1.0), "output": (2.0, 1.0), "host_prep": (3.0, 4.0), "device_wait": (9.0, 1.0)}
    assert set(cost(10.0, 10.0, 1.0, **others).moved()) == {"batch"}
