"""Sets of time against a sweep over every nanosecond."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.device.intervals import Intervals

LAST = 40
PAIRS = st.lists(st.tuples(st.integers(0, LAST), st.integers(0, LAST)), max_size=8)


def swept(pairs):
    """The nanoseconds that lie in any of the intervals."""
    return {at for start, end in pairs for at in range(start, end)}


def intervals(pairs):
    return Intervals.union([start for start, _ in pairs], [end for _, end in pairs])


def members(result):
    """The nanoseconds of a set, which must be in its normal form."""
    assert (result.starts < result.ends).all()
    assert (result.starts[1:] > result.ends[:-1]).all()
    return swept(zip(result.starts, result.ends, strict=True))


def members_of_parts(result):
    assert (result.starts < result.ends).all()
    assert (result.starts[1:] >= result.ends[:-1]).all()
    return swept(zip(result.starts, result.ends, strict=True))


@given(PAIRS)
def test_union_is_the_sweep(pairs):
    """Broken: the device's busy time counts overlapping work twice, or loses some."""
    result = intervals(pairs)
    assert members(result) == swept(pairs)
    assert result.total_ns == len(swept(pairs))


@given(PAIRS, PAIRS)
def test_set_operations_are_the_sweeps(left, right):
    """Broken: time is attributed to two waits at once, or to none."""
    a, b = intervals(left), intervals(right)
    assert members_of_parts(a & b) == swept(left) & swept(right)
    assert members_of_parts(a - b) == swept(left) - swept(right)
    assert members(a | b) == swept(left) | swept(right)


@given(PAIRS, PAIRS)
def test_within_windows_is_the_sweep(pairs, windows):
    """Broken: a request gets the device time of another one."""
    starts, ends = (np.array([w[side] for w in windows], dtype=np.int64) for side in range(2))
    found = intervals(pairs).within(starts, ends)
    expected = [len(swept(pairs) & set(range(start, end))) for start, end in windows]
    assert found.tolist() == expected


def test_epoch_nanoseconds_are_exact():
    """Broken: an epoch time as a float is off by up to 256 ns, more than many operations take."""
    start = 1_700_000_000_000_000_001
    busy = Intervals.union([start], [start + 3])
    assert busy.within(np.array([start + 1]), np.array([start + 100])).tolist() == [2]
