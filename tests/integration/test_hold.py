"""The wait after a run, during which files can be fetched from a container with `kubectl cp`."""

import signal
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.server_runs import left_behind


def test_report_exists_during_the_wait_and_sigterm_ends_it(tmp_path: Path) -> None:
    """Broken: the container ends before its files are fetched, or keeps a TPU after SIGTERM."""
    (tmp_path / "run").mkdir()
    cell = f"from scoreprof_nb.notebook.profile import publish_run_metadata\npublish_run_metadata({str(tmp_path / 'run')!r}, '', 3600.0)"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=[new_code_cell(cell)], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "in.ipynb")
    process = subprocess.Popen(
        [sys.executable, "-m", "scoreprof_nb", "in.ipynb", "out.ipynb"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("waiting"):
                break
        assert (tmp_path / "run" / "report.html").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, "the run was complete"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert not left_behind(tmp_path)
