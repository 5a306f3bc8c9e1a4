"""Which run of control belongs to which run of test."""

from pathlib import Path
from types import SimpleNamespace

from scoreprof_nb.comparison.pairing import pair_up


def run(folder, started_s, status="complete"):
    manifest = SimpleNamespace(run_id=f"id of {folder}", started_s=started_s, status=status)
    return SimpleNamespace(run=SimpleNamespace(folder=Path(folder), manifest=manifest))


def names(runs):
    return [one.run.folder.name for one in runs]


def test_pairs_of_several_nodes_stay_pairs():
    """Broken: runs of different nodes are paired. On each node the pair is captured at the same time, and in even
    pairs test is first."""
    control = [run("c/runs/pair-01-control", 1), run("c/runs/pair-02-control", 9)]
    test = [run("c/runs/pair-01-test", 8), run("c/runs/pair-02-test", 2)]
    before, after, left_out = pair_up(control, test)
    assert names(before) == ["pair-01-control", "pair-02-control"]
    assert names(after) == ["pair-01-test", "pair-02-test"]
    assert left_out == []


def test_pair_that_is_not_complete_is_left_out():
    """Broken: half a run takes part, or its phases are dropped from all runs."""
    control = [run("c/runs/pair-01-control", 1), run("c/runs/pair-02-control", 2, "partial")]
    test = [run("c/runs/pair-01-test", 3), run("c/runs/pair-02-test", 4), run("c/runs/pair-03-test", 5)]
    before, after, left_out = pair_up(control, test)
    assert (names(before), names(after)) == (["pair-01-control"], ["pair-01-test"])
    assert left_out == [
        "pair 2: run id of c/runs/pair-02-control is not complete",
        "run id of c/runs/pair-03-test has no counterpart",
    ]


def test_pairs_of_two_comparisons_are_not_mixed_up():
    """Broken: pair 1 of one Job meets pair 1 of another, on another node."""
    control = [run(f"{job}/runs/pair-01-control", 1) for job in "ba"]
    test = [run(f"{job}/runs/pair-01-test", 2) for job in "ab"]
    before, after, _ = pair_up(control, test)
    assert [one.run.folder.parts[0] for one in before] == [one.run.folder.parts[0] for one in after]


def test_other_runs_are_paired_by_start_time():
    """Broken: runs with names of their own are paired by chance."""
    control = [run("runs/b", 3), run("runs/a", 1)]
    test = [run("runs/y", 4), run("runs/x", 2), run("runs/z", 6)]
    before, after, left_out = pair_up(control, test)
    assert (names(before), names(after)) == (["a", "b"], ["x", "y"])
    assert left_out == ["run id of runs/z has no counterpart"]


def test_sides_of_different_comparisons_are_paired_by_start_time():
    """Broken: control of one comparison and test of another have no pair, and nothing is compared."""
    before, after, _ = pair_up([run("a/runs/pair-01-control", 1)], [run("b/runs/pair-01-test", 2)])
    assert (names(before), names(after)) == (["pair-01-control"], ["pair-01-test"])
