"""The start of the comparing notebook: every file it is given is checked before hours of capture."""

import json

import pytest

from scoreprof_nb.notebook import compare
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
    assert published == [(str(tmp_path / "c"), "", 0.0)]
    assert parameters.compare_dir == str(tmp_path / "c")
