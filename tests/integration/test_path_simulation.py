"""The intervals of the request path with several in flight hold the truth as often as they say: 200 seeds."""

import pytest

from tests.support.two_stages import coverage

pytestmark = pytest.mark.slow


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Broken: the intervals are of requests that wait for each other, as if each were one more observation.

    They are a little wider than necessary, by the lugsail correction of ``dependence``.
    """
    held = coverage(range(200))
    assert all(0.93 <= share <= 0.98 for share in held.values()), held
