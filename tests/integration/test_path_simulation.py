"""The intervals of the request path with several in flight hold the truth as often as they say: 200 seeds."""

import pytest

from tests.support.two_stages import coverage

pytestmark = pytest.mark.slow


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Broken: the intervals are of requests that wait for each other, as if each were one more observation."""
    held = coverage(range(200))
    assert all(0.93 <= share <= 0.97 for share in held.values()), held
