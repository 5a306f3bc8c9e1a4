"""The conditions of a comparison: what is confounded with a side is refused, what varied on both sides noted."""

import pytest

from scoreprof_nb.comparison.comparability import refuse_incomparable
from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.comparison_verdict import conditions_markdown
from tests.support.compared_runs import compared, report_of, side


def kinds(comparison):
    return {row["what"]: row["kind"] for row in comparison.comparability.to_dict("records")}


def on(runs, *values, name="host"):
    """The runs, one after the other with each value in its provenance."""
    for number, one in enumerate(runs):
        one.run.provenance[name] = values[number % len(values)]
    return runs


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("host", ("node-1", "node-2"), "host"),
        ("kernel", ("6.1", "6.6"), "kernel"),
        ("limits", ({"cgroup_cpu_max": "max 100000"}, {"cgroup_cpu_max": "200000 100000"}), "CPU quota"),
        ("limits", ({"cgroup_memory_max": "max"}, {"cgroup_memory_max": "1000"}), "memory limit"),
    ],
)
def test_side_with_an_environment_of_its_own_is_refused(name, values, what):
    """Broken: control ran on one machine and test on another, and the difference is called the branch's."""
    one, other = values
    comparison = compare(on(side(), one, name=name), on(side(at=1), other, name=name))
    assert kinds(comparison) == {what: "unlike"}
    with pytest.raises(ParameterError, match=what):
        refuse_incomparable(CompareParameters(), comparison.incomparable)
    both = compare(on(side(), one, other, name=name), on(side(at=1), one, other, name=name))
    assert kinds(both) == {what: "noted"}, "each side met both"
    assert f"noted: {what}" in "\n".join(conditions_markdown(report_of(both))).replace("\\_", "_")


def test_node_of_a_pod_is_its_host():
    """Broken: two Pods on one node, whose host names are their own, are two machines."""
    control, test = on(side(), "pod-a"), on(side(at=1), "pod-b")
    for one in (*control, *test):
        one.run.provenance["node"] = "node-1"
    assert kinds(compare(control, test)) == {}


def test_busier_machine_before_one_side_is_noted():
    """Broken: something else ran before every launch of test."""
    name = "load_average_before"
    busy = compare(on(side(), 0.2, name=name), on(side(at=1), 3.1, name=name))
    row = busy.comparability.iloc[0]
    assert (row["what"], row["kind"]) == ("load before the run", "noted")
    assert (row["control"], row["test"]) == ("0.2 on average", "3.1 on average")
    assert kinds(compare(on(side(), 0.2, 0.9, name=name), on(side(at=1), 0.4, name=name))) == {}


def test_cold_compile_cache_and_another_image_are_noted():
    """Broken: one side found its programs compiled, or ran in another image, and nobody is told."""
    cold, warm = {"folder": "/cache", "entries": 0}, {"folder": "/cache", "entries": 40}
    comparison = compare(on(side(), cold, name="compile_cache"), on(side(at=1), warm, name="compile_cache"))
    assert kinds(comparison) == {"compile cache": "noted"}
    images = compare(
        on(side(), {"kit_commit": "a"}, name="image"), on(side(at=1), {"kit_commit": "b"}, name="image")
    )
    assert kinds(images) == {"image": "noted"}


def test_package_of_one_side_only_is_unlike():
    """Broken: a package that only one side has is no difference."""
    test = side(at=1, provenance={"server_packages": {"flax": "1"}})
    assert kinds(compared(test=test)) == {"package flax": "unlike"}


def test_runs_that_did_not_record_their_conditions_can_be_compared():
    """Broken: runs of an earlier version are refused for what they did not record."""
    assert kinds(compared()) == {}
