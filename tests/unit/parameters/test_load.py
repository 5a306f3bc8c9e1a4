"""Loads and lengths as texts: what they mean, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.load import Lengths, PhasePlan, ladder, lengths_of
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.files import phase_folder


def test_phases_of_kinds_and_loads():
    """Broken: a load is missing, or a phase has a name that other tools do not expect."""
    names = Parameters(phases="single,small@2,large@3/s", concurrency="1,4", rates="2.5,10").phase_names()
    assert names == ("single", "single@4", "single@2.5/s", "single@10/s", "small@2", "large@3/s")
    assert Parameters(phases="small", concurrency=4).phase_names() == ("small@4",)
    assert Parameters(phases="small", rates="auto").phase_names() == ("small",)
    assert Parameters(phases="small,large@4", rates="auto").ladder_kinds() == ("small",)


@given(
    st.builds(
        PhasePlan, st.sampled_from(["single", "mixed"]), st.integers(1, 999), st.none() | st.floats(1e-3, 1e5)
    )
)
def test_a_name_says_the_whole_load_and_is_a_folder(plan):
    """Broken: a resumed run takes one phase for another, or cannot write its folder."""
    parsed = PhasePlan.parse(plan.name)
    assert parsed.name == plan.name
    assert parsed.kind == plan.kind
    if plan.rate_per_s is None:
        assert parsed == plan
    else:
        assert parsed.rate_per_s == pytest.approx(plan.rate_per_s, rel=1e-5)
    assert "/" not in phase_folder(plan.name)


def test_ladder_goes_from_little_to_too_much():
    """Broken: no rate shows the knee."""
    rates = [plan.rate_per_s for plan in ladder("small", 50.0)]
    assert rates == [10, 20, 30, 40, 45, 55]


def test_lengths():
    """Broken: the mean or the spread of the lengths is another than was asked for."""
    assert lengths_of("300+-60", Lengths(1, 0)) == Lengths(300, 60)
    assert lengths_of("300", Lengths(1, 0)) == Lengths(300, 0)
    assert lengths_of("", Lengths(7, 2)) == Lengths(7, 2)
    assert Lengths(300, 60).most == 480


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        ({"concurrency": "1,x"}, "whole number"),
        ({"concurrency": "4,4"}, "twice"),
        ({"concurrency": ""}, "whole number"),
        ({"rates": "fast"}, "auto"),
        ({"rates": "0"}, "from 0.001"),
        ({"rates": "2,2.0"}, "twice"),
        ({"query_tokens": "0"}, "must be tokens"),
        ({"item_tokens": "10+-20"}, "must be tokens"),
        ({"prefix_cache": "hot"}, "cold, warm, off"),
        ({"phases": "small@0"}, "not the name of a phase"),
        ({"phases": "small@1/0"}, "not the name of a phase"),
        ({"phases": "tiny@2"}, "unknown phase"),
        ({"phases": "small,small@1"}, "twice"),
        ({"prefix_cache": "off", "server_url": "http://127.0.0.1:1"}, "flag of the server"),
    ],
)
def test_wrong_loads_are_named(values, fix):
    """Broken: a wrong load is found after the server was launched, or not at all."""
    with pytest.raises(ParameterError, match=fix):
        Parameters.from_mapping(values)


def test_a_comparison_needs_rates_that_both_sides_share():
    """Broken: each run is measured at rates of its own, and the difference is called an effect."""
    with pytest.raises(ParameterError, match="rates of its own"):
        CompareParameters(rates="auto")
    assert CompareParameters(rates="2,5").rates == "2,5"
