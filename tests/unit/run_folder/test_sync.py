"""The results folder: complete files, the manifest last, and another machine resumes from it."""

import errno
import json

import pytest

from scoreprof_nb.run_folder import sync
from scoreprof_nb.run_folder.store import load_run
from scoreprof_nb.run_folder.sync import ResultsError, copy_results, copy_run, restore_run
from tests.support.stored_run import make_run


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_copy_is_the_run_and_can_be_loaded(tmp_path):
    """Broken: a copied run cannot be loaded."""
    make_run(tmp_path / "run", "single", "small")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert files(tmp_path / "run") == files(tmp_path / "bucket")
    assert tuple(load_run(tmp_path / "bucket").phases) == ("single", "small")


def test_manifest_is_copied_last(tmp_path, monkeypatch):
    """Broken: a reader sees a manifest before the files that it names."""
    make_run(tmp_path / "run", "single")
    order = []
    real = sync._copy

    def copy(source, target):
        order.append(target.name)
        real(source, target)

    monkeypatch.setattr(sync, "_copy", copy)
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert order[-1] == "manifest.json"
    assert order.count("manifest.json") == 1


def test_comparison_is_copied_without_its_runs(tmp_path):
    """Broken: the runs of a comparison are copied twice."""
    folder = tmp_path / "comparison"
    make_run(folder / "runs" / "pair-01-test", "single")
    (folder / "comparison.json").write_text("{}")
    (folder / ".comparison.json.half").write_text("")
    copy_results(folder, tmp_path / "bucket" / "comparison")
    assert files(tmp_path / "bucket" / "comparison") == {"comparison.json": b"{}"}


def test_finished_phases_are_copied_once(tmp_path, monkeypatch):
    """Broken: large recordings are sent to the bucket again after each phase."""
    make_run(tmp_path / "run", "single")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    make_run(tmp_path / "run", "small")
    copied = []
    monkeypatch.setattr(sync, "_copy", lambda source, target: copied.append(str(target.parent.name)))
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert "small" in copied
    assert "single" not in copied


def test_notebook_that_papermill_still_writes_is_not_copied(tmp_path):
    """Broken: its parameters end up in the bucket, secrets included."""
    make_run(tmp_path / "run", "single")
    for name in ("out.ipynb", "notes.txt", "report.html"):
        (tmp_path / "run" / name).write_text("x")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert (tmp_path / "bucket" / "report.html").exists()
    assert not list((tmp_path / "bucket").glob("*.txt"))
    assert not list((tmp_path / "bucket").glob("*.ipynb"))


@pytest.mark.parametrize("at", ["manifest.json", "phases/single/requests.parquet"])
def test_bucket_that_cannot_be_read_just_now_does_not_count_as_empty(tmp_path, monkeypatch, at):
    """Broken: all phases are measured again and overwrite the copy, or the Job ends instead of retrying."""
    make_run(tmp_path / "run", "single")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    before = files(tmp_path / "bucket")
    real = type(tmp_path).open

    def opened(path, *arguments, **named):
        if path == tmp_path / "bucket" / at:
            raise OSError(errno.EIO, "Transport endpoint is not connected")
        return real(path, *arguments, **named)

    monkeypatch.setattr(type(tmp_path), "open", opened)
    with pytest.raises(OSError, match="not connected"):
        restore_run(tmp_path / "bucket", tmp_path / "new")
    monkeypatch.undo()
    assert files(tmp_path / "bucket") == before


def test_unfinished_phase_is_not_copied(tmp_path):
    """Broken: an unfinished phase reaches the bucket."""
    make_run(tmp_path / "run", "single")
    staging = tmp_path / "run" / "phases" / ".small-unfinished"
    staging.mkdir()
    (staging / "requests.parquet").write_bytes(b"half")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert not [name for name in files(tmp_path / "bucket") if "small" in name]


def test_another_machine_resumes_from_the_copy(tmp_path):
    """Broken: another machine captures finished phases again."""
    make_run(tmp_path / "run", "single")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert restore_run(tmp_path / "bucket", tmp_path / "other") == ("single",)
    assert load_run(tmp_path / "other").manifest.run_id == "first"
    assert files(tmp_path / "other") == files(tmp_path / "run")


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_phase_that_was_cut_off_is_captured_again(tmp_path, damage):
    """Broken: a phase whose copy was cut off counts as finished."""
    make_run(tmp_path / "run", "single", "small")
    copy_run(tmp_path / "run", tmp_path / "bucket")
    file = tmp_path / "bucket" / "phases" / "small" / "requests.parquet"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:10])
    else:
        file.unlink()
    assert restore_run(tmp_path / "bucket", tmp_path / "other") == ("single",)
    assert load_run(tmp_path / "other").manifest.phases_done == ("single",)


@pytest.mark.parametrize("text", ["", "{", json.dumps({"schema_version": 1})])
def test_manifest_that_was_cut_off_is_no_run(tmp_path, text):
    """Broken: a manifest whose copy was cut off counts as a run."""
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "manifest.json").write_text(text)
    assert restore_run(tmp_path / "bucket", tmp_path / "run") == ()
    assert not (tmp_path / "run").exists()


def test_local_manifest_is_never_replaced(tmp_path):
    """Broken: the bucket's manifest replaces the newer local one."""
    make_run(tmp_path / "run", "single", "small")
    make_run(tmp_path / "bucket", "single")
    assert restore_run(tmp_path / "bucket", tmp_path / "run") == ()
    assert load_run(tmp_path / "run").manifest.phases_done == ("single", "small")


def test_two_runs_are_never_mixed(tmp_path):
    """Broken: phases of two runs are mixed in one folder."""
    make_run(tmp_path / "run", "single", run_id="mine")
    make_run(tmp_path / "bucket", "single", run_id="another")
    with pytest.raises(ResultsError, match="another"):
        restore_run(tmp_path / "bucket", tmp_path / "run")


def test_phases_whose_names_are_no_folder_names_are_restored(tmp_path):
    """Broken: another machine measures the open loops again, whose names hold a slash."""
    make_run(tmp_path / "run", "small@2.5/s", requested=("small@2.5/s",))
    copy_run(tmp_path / "run", tmp_path / "bucket")
    assert restore_run(tmp_path / "bucket", tmp_path / "other") == ("small@2.5/s",)
    assert list(load_run(tmp_path / "other").phases) == ["small@2.5/s"]
