"""The start of the comparing notebook: every file it is given is checked before hours of capture."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from scoreprof_nb.notebook import compare
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError

CAPTURES = {"test_server_flags": "--x 1"}


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """What the notebook leaves for the runner."""
    metadata = []
    monkeypatch.setattr(compare, "publish_run_metadata", lambda *values: metadata.append(values))
    return metadata


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rules_file", None),
        ("rules_file", "[[rule]]\ncomponent = 'no such component'"),
        ("noise_from", None),
        ("noise_from", "{}"),
        ("noise_from", json.dumps({"pairs": 2, "differences": [], "metrics": [], "components": []})),
        ("history", None),
        ("requests_file", None),
        ("requests_file", "{}"),
    ],
)
def test_file_that_cannot_be_used_is_refused_at_the_start(tmp_path, published, name, content):
    """Broken: an unusable file is noticed after hours of capture."""
    if content is not None:
        (tmp_path / "file").write_text(content)
    values = {**CAPTURES, name: str(tmp_path / "file"), "compare_dir": str(tmp_path / "comparison")}
    with pytest.raises(ParameterError, match=f"parameter {name}="):
        compare.start(values)
    assert published == []
    assert not (tmp_path / "comparison").exists()


def test_history_that_cannot_be_read_is_refused_at_the_start(tmp_path, published):
    """Broken: the table of past runs fails after hours of capture."""
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "summary.json").write_text("{")
    values = {**CAPTURES, "history": str(tmp_path / "history"), "compare_dir": str(tmp_path / "c")}
    with pytest.raises(ParameterError, match="parameter history="):
        compare.start(values)
    assert published == []


def test_folder_of_the_comparison_is_made(tmp_path, published, monkeypatch):
    """Broken: the first file of a comparison cannot be written."""
    monkeypatch.chdir(tmp_path)
    parameters = compare.start({**CAPTURES, "compare_dir": "c"})
    assert (tmp_path / "c").is_dir()
    assert published == [(str(tmp_path / "c"), "", 0.0, "test against control: Score API comparison")]
    assert parameters.compare_dir == str(tmp_path / "c")


# ---- looks


@pytest.fixture
def looked(monkeypatch):
    """Replace capture and comparison; lists the (pairs, level) of each look. A comparison is settled after
    ``looked.settled`` pairs."""
    looks = []

    def make_comparison(parameters, rules, folders, stopped, analyses, log_progress, level):
        looks.append((len(folders[0]), level))
        settled = len(folders[0]) >= state.settled
        return SimpleNamespace(control=(), test=(), settled=settled, pairs=len(folders[0]))

    state = SimpleNamespace(looks=looks, settled=6, failure=None)
    monkeypatch.setattr(compare, "capture_pairs", lambda *arguments: state.failure)
    monkeypatch.setattr(
        compare, "complete_pairs", lambda _, pairs: ([Path("c")] * pairs, [Path("t")] * pairs)
    )
    monkeypatch.setattr(compare, "make_comparison", make_comparison)
    monkeypatch.setattr(compare.comparison_files, "write_files", lambda report: None)
    return state


def looking(folder, **values):
    report, failure = compare.compare(CompareParameters.from_mapping({"compare_dir": str(folder), **values}))
    return report.comparison.pairs, failure


def test_clear_case_ends_at_the_first_look(tmp_path, looked):
    """Broken: sixteen pairs are captured although the verdict was settled after six."""
    assert looking(tmp_path) == (6, None)
    assert [pairs for pairs, _ in looked.looks] == [6]


def test_open_case_goes_on_to_the_last_pair_and_no_further(tmp_path, looked):
    """Broken: an open comparison ends early, or never, or spends more than its error."""
    looked.settled = 100
    assert looking(tmp_path) == (16, None)
    assert [pairs for pairs, _ in looked.looks] == [6, 8, 12, 16]
    assert sum(level for _, level in looked.looks) < 0.025


def test_finished_comparison_is_analysed_again_without_another_look(tmp_path, looked):
    """Broken: reading the report again spends error, or begins another capture."""
    looked.settled = 8
    looking(tmp_path)
    before = (tmp_path / "looks.json").read_text()
    assert looking(tmp_path) == (8, None)
    assert looked.looks[-1] == looked.looks[-2]
    assert (tmp_path / "looks.json").read_text() == before


def test_extending_by_hand_goes_on_from_the_last_look(tmp_path, looked):
    """Broken: more pairs, captured because the verdict was open, are judged as if nobody had looked."""
    looked.settled = 100
    looking(tmp_path)
    assert looking(tmp_path, pairs_at_most=20) == (20, None)
    assert [pairs for pairs, _ in looked.looks] == [6, 8, 12, 16, 16, 20]
    assert looked.looks[-1][1] < 0.0025


def test_failure_ends_the_looks(tmp_path, looked):
    """Broken: a server that died is launched again for the next look."""
    looked.settled, looked.failure = 100, "test of pair 2: the server died"
    assert looking(tmp_path) == (6, looked.failure)
    assert len(looked.looks) == 1


def test_existing_runs_are_compared_with_what_stopped_beside_them(tmp_path, monkeypatch):
    """Broken: the last step of a comparison on many nodes does not block a branch that crashes."""
    folders = [tmp_path / "job" / "runs" / f"pair-01-{side}" for side in ("control", "test")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    (tmp_path / "job" / "pairs" / "pair-02").mkdir(parents=True)
    (tmp_path / "job" / "pairs" / "pair-02" / "stopped.tsv").write_text("test\tpair 2: the server died\n")
    given = []

    def make_comparison(parameters, rules, folders, stopped, analyses, log_progress):
        given.append(stopped)
        return SimpleNamespace(pairs=1)

    monkeypatch.setattr(compare, "make_comparison", make_comparison)
    monkeypatch.setattr(compare.comparison_files, "write_files", lambda report: None)
    looking(tmp_path / "c", control=str(folders[0]), test=str(folders[1]))
    assert given == [{"control": [], "test": ["pair 2: the server died"]}]
