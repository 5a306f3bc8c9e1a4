"""What SECURITY.md promises of the code and of the files."""

import ast
import os
import stat
import subprocess
import sys

from scoreprof_nb.capture.session import private_files
from scoreprof_nb.run_folder.folder import write_text
from tests.support.paths import ROOT

FOLDERS = ("scoreprof_nb", "k8s", "docker", "constraints")
UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "tarfile", "zipfile"}
UNSAFE_CALLS = {"os.system", "os.popen", "shutil.unpack_archive", "pd.read_pickle", "pandas.read_pickle"}


def trees():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_no_shell_no_pickle_no_archives():
    """Broken: a label or a file of somebody else's run executes code."""
    seen = 0
    for path, tree in trees():
        for node in ast.walk(tree):
            seen += 1
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in UNSAFE_CALLS, path
                for keyword in node.keywords:
                    assert keyword.arg != "shell", f"{path}: shell="
                    assert keyword.arg != "allow_pickle", f"{path}: allow_pickle="
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & UNSAFE_MODULES, path
    assert seen > 10_000


def test_files_are_the_users_only(tmp_path):
    """Broken: another user of the machine reads logs, requests and command lines."""
    before = os.umask(0o022)
    try:
        with private_files():
            (tmp_path / "phases").mkdir()
            (tmp_path / "server.log").write_text("x")
        write_text(tmp_path / "summary.json", "{}")
        (tmp_path / "other").write_text("x")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"phases": 0o700, "server.log": 0o600, "summary.json": 0o600, "other": 0o644}


def test_what_the_runner_starts_writes_private_files(tmp_path):
    """Broken: papermill's notebook, which has the parameters, is readable by everybody."""
    source_text = (
        '{"cells": [{"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [], "source": '
        '"open(\'written\', \'w\').close()"}], "metadata": {"kernelspec": {"name": "python3", "display_name": '
        '"", "language": "python"}}, "nbformat": 4, "nbformat_minor": 4}'
    )
    source = tmp_path / "one.ipynb"
    source.write_text(source_text)
    command = [sys.executable, "-m", "scoreprof_nb", str(source), str(tmp_path / "out.ipynb")]
    subprocess.run(
        command, check=True, cwd=tmp_path, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    for name in ("written", "out.ipynb"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
