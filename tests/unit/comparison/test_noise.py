"""An A/A comparison: the noise between launches, a bias, and what a change takes; where its file is refused."""

import json

import numpy as np
import pytest

from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.comparison.noise import check_noise, machine_of, read_noise
from scoreprof_nb.comparison.run_comparison import check_before_capture
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.comparison_caveats import caveats
from scoreprof_nb.report.comparison_files import write_files
from scoreprof_nb.report.comparison_leads import bias_markdown
from scoreprof_nb.report.launch_tables import plan_table
from tests.support.compared_runs import compared, phase, report_of, run, side

MACHINE = {"host": "node-1", "chip": "v6e", "cpu": "a cpu"}


def written(tmp_path, **how):
    """comparison.json of an A/A comparison on MACHINE."""
    comparison = compared(side(provenance=MACHINE), side(at=1, provenance=MACHINE), **how)
    write_files(report_of(comparison, compare_dir=tmp_path))
    return comparison, str(tmp_path / "comparison.json")


def launched(noise, pairs, seed=5):
    rng = np.random.default_rng(seed)
    factors = np.exp(rng.normal(0, noise, (2, pairs)))
    return [
        [run(phase(factor=factor), started_s=1e9 + 100 * n + at) for n, factor in enumerate(of_side)]
        for at, of_side in enumerate(factors)
    ]


def test_noise_between_launches_is_what_was_put_in():
    """Broken: the noise is that of a pair, which is 1.4 times that of a launch."""
    plan = compare(*launched(0.03, 40)).launches.plan.iloc[0]
    assert plan["low"] <= 0.03 <= plan["high"]
    assert plan["launch_noise"] == pytest.approx(0.03, rel=0.25)


def test_a_smaller_change_takes_more_pairs_and_minutes():
    """Broken: the plan of a change is not that of its size."""
    comparison = compare(*launched(0.03, 12))
    plan = comparison.launches.plan.set_index("wanted")
    assert plan.loc[0.1, "pairs"] > plan.loc[0.2, "pairs"] >= 6
    assert (plan["minutes"] == 2 * plan["pairs"]).all(), "a launch takes a minute"
    table = plan_table(comparison).iloc[0]
    assert table["20% change"] == f"{plan.loc[0.2, 'pairs']:.0f} pairs ({plan.loc[0.2, 'minutes']:.0f} min)"


def test_sides_that_are_the_same_are_an_aa_comparison(tmp_path):
    """Broken: a comparison of two branches passes for the noise of the machine."""
    comparison, _ = written(tmp_path)
    assert comparison.is_aa
    assert "No bias was seen" in bias_markdown(comparison)
    biased = compare(side(), side(1.1, at=1))
    assert "Bias: sides that are the same differ in mean of small +" in bias_markdown(biased)
    other = compared(test=side(at=1, parameters={"server_flags": "--x 1"}))
    assert not other.is_aa
    assert "make noise" in bias_markdown(other)


def test_noise_does_not_change_the_margin(tmp_path):
    """Broken: a machine with much noise calls nothing a regression, and more pairs change the margin."""
    _, path = written(tmp_path)
    comparison = compared(test=side(1.2, at=1), noise=read_noise(path))
    assert set(comparison.metrics["delta"]) == {0.05}
    assert comparison.verdict == "regression"


def test_launches_that_vary_more_than_in_the_aa_comparison_are_named(tmp_path):
    """Broken: another job ran on the machine, and the A/A comparison does not tell."""
    _, path = written(tmp_path)
    noise = read_noise(path)
    noisy = compare(*launched(0.1, 6), noise=noise)
    assert any("between launches, and by" in text for text in caveats(noisy))
    assert caveats(compared(noise=noise)) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"host": "node-2"}, "host node-1, here node-2"),
        ({"chip": "v5e"}, "chip v6e, here v5e"),
        ({"phase_s": "4.0"}, "phase_s"),
        ({"model": "other"}, "model"),
    ],
)
def test_noise_of_something_else_is_refused(tmp_path, change, named):
    """Broken: the noise of another machine, chip, model or phase length is taken unasked."""
    comparison, path = written(tmp_path)
    noise = read_noise(path)
    check_noise(path, noise, comparison.machine)
    with pytest.raises(ParameterError, match=named):
        check_noise(path, noise, {**comparison.machine, **change})


def test_noise_of_another_node_of_the_same_kind_is_taken():
    """Broken: the noise of one Job is refused in every other one, after hours of waiting for a TPU, since each
    gets a node with a name of its own."""
    nodes = [{**MACHINE, "host": f"pod-{n}", "node": f"gke-v6e-{n}"} for n in (1, 2)]
    first, second = (machine_of({}, node) for node in nodes)
    assert first == second
    assert machine_of({}, {**nodes[0], "chip": "v5e"}) != first
    assert machine_of({}, MACHINE) != first, "a machine of one's own is another one"


def test_noise_of_something_else_is_refused_before_the_capture(tmp_path):
    """Broken: the noise file is refused after hours of capture."""
    _, path = written(tmp_path)
    here = CompareParameters.from_mapping({"noise_from": path, "model_path": "/models/tiny"})
    machine = {**MACHINE, "cpus": 2}
    check_before_capture(here, {"control": machine, "test": machine})
    other = {**machine, "chip": "v5e"}
    with pytest.raises(ParameterError, match="parameter noise_from=.*chip v6e, here v5e"):
        check_before_capture(here, {"control": other, "test": other})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 1}, "earlier version"),
        ({"pairs": 3}, "at least 5 are needed"),
        ({"differences": [{"what": "server_flags", "kind": "compared"}]}, "differ in server_flags"),
        ({"machine": None}, "cannot be used"),
    ],
)
def test_file_that_is_no_noise_is_refused(tmp_path, change, problem):
    """Broken: a file that is no A/A comparison is used as one."""
    _, path = written(tmp_path)
    content = {**json.loads((tmp_path / "comparison.json").read_text()), **change}
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    with pytest.raises(ParameterError, match=problem):
        read_noise(path)
