"""The demo model: it is made once for each version of the program that makes it."""

import sys

import pytest

from scoreprof_nb.capture import preflight
from scoreprof_nb.parameters.schema import ParameterError


def test_tiny_model_is_made_again_when_its_program_changes(monkeypatch, tmp_path):
    """Broken: a new version of the kit measures the model of the old one from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = tmp_path / "make_model.py"
    monkeypatch.setattr(preflight.demo, "TINY_MODEL", program)
    folders = []
    for version in (1, 2, 2):
        program.write_text(
            "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(parents=True)\n"
            f"(p / 'config.json').write_text('{{\"version\": {version}}}')"
        )
        folders.append(preflight._tiny_model(sys.executable))
    assert folders[0] != folders[1] == folders[2]
    program.write_text("import sys; sys.exit('no numpy')")
    with pytest.raises(ParameterError, match="cannot make the tiny model: no numpy"):
        preflight._tiny_model(sys.executable)
