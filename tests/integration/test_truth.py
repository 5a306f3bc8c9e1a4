"""A known cost in the real server is found in the right component, with the right size.

`make truth` tries more places; here are one each in the HTTP process, the scheduler and the
detokenizer.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "truth"))

from truth import INJECTIONS, Found, compare, measure

pytestmark = pytest.mark.server
PHASE_S = 20.0
PLACES = ("tokenising", "forming the batch", "detokenising")
WIDE = 2.0  # a 95 % interval misses one time in twenty: two of them wide it misses hardly ever


@pytest.fixture(scope="module")
def found(server_python: str, may_trace: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("truth")
    base = measure(folder / "base", "single", PHASE_S)
    return {
        injection.name: compare(
            injection, base, measure(folder / injection.component, "single", PHASE_S, injection.spec)
        )
        for injection in INJECTIONS
        if injection.name in PLACES
    }


@pytest.mark.parametrize("place", PLACES)
def test_known_cost_is_found(found: dict[str, Found], place: str) -> None:
    """Broken: an engineer rewrites the wrong function."""
    one = found[place]
    off = abs(one.growth_ms - one.injection.truth_ms)
    assert off <= max(0.15 * one.injection.truth_ms, WIDE * one.half_width_ms), one
    largest = max(one.others.items(), key=lambda item: item[1][0] if item[0] != "device_wait" else 0.0)
    assert one.growth_ms > largest[1][0], f"{largest} grew more than {one.injection.component}"
