"""The executed notebook: its error and run folder are read, and the published report holds no secret."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill.execute import ERROR_MARKER_TAG

from scoreprof_nb.redact import MASK
from scoreprof_nb.run_folder.files import RUN_MIME
from scoreprof_nb.runner.executed_notebook import ExecutedNotebook, read_executed_notebook

SECRET = "s3cr3tvalue42"


def write_notebook(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def run_output(run_dir):
    return new_output("display_data", data={RUN_MIME: {"run_dir": str(run_dir)}, "text/plain": "run folder"})


def error_output(name="ParameterError", value="parameter port=1: bad"):
    return new_output("error", ename=name, evalue=value, traceback=["the traceback"])


def secret_cell(run_dir):
    printed = new_output("stream", name="stdout", text=f"api_key='{SECRET}'\nBearer {SECRET}\n")
    return new_code_cell(f'flags = "--api-key {SECRET} --port 1"', outputs=[run_output(run_dir), printed])


def test_executed_notebook_without_error(tmp_path):
    """Broken: a good notebook is reported as failed, or its run folder is not known."""
    path = write_notebook(tmp_path / "out.ipynb", new_code_cell("1", outputs=[run_output(tmp_path / "run")]))
    assert read_executed_notebook(path) == ExecutedNotebook(path, None, None, tmp_path / "run")


def test_first_error_and_the_run_folder_are_read(tmp_path):
    """Broken: a later error hides the first one, or the run folder is lost."""
    cells = (
        new_code_cell("1", outputs=[run_output(tmp_path / "run"), error_output()]),
        new_code_cell("2", outputs=[error_output("KeyError", "later")]),
    )
    executed = read_executed_notebook(write_notebook(tmp_path / "out.ipynb", *cells))
    assert executed.error_name == "ParameterError"
    assert executed.error == "ParameterError: parameter port=1: bad"
    assert executed.run_dir == tmp_path / "run"


def test_notebook_that_failed_before_it_named_its_run_folder(tmp_path):
    """Broken: a notebook that failed early ends the runner with a traceback."""
    executed = read_executed_notebook(
        write_notebook(tmp_path / "out.ipynb", new_code_cell("1", outputs=[error_output()]))
    )
    assert executed.run_dir is None
    assert executed.keep() == executed.path


def test_keep_redacts_and_copies_into_the_run_folder(tmp_path):
    """Broken: a form of the report, which is shared, contains a secret."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    executed = read_executed_notebook(write_notebook(tmp_path / "out.ipynb", secret_cell(run_dir)))
    report = executed.keep()
    assert report == run_dir / "report.ipynb"
    for path in (executed.path, report, run_dir / "report.html"):
        assert SECRET not in path.read_text(encoding="utf-8"), path
    nbformat.validate(nbformat.read(report, as_version=4))
    assert MASK in (run_dir / "report.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in run_dir.iterdir()) == ["report.html", "report.ipynb"]


def test_keep_of_a_notebook_that_is_the_report_already(tmp_path):
    """Broken: ``make report``, which writes into the run folder, fails: a file cannot be copied onto itself."""
    path = write_notebook(tmp_path / "report.ipynb", secret_cell(tmp_path))
    assert read_executed_notebook(path).keep() == path
    assert SECRET not in path.read_text(encoding="utf-8")
    assert (tmp_path / "report.html").exists()


def test_report_of_a_gate_is_not_called_a_failure(tmp_path):
    """Broken: a complete comparison begins with papermill's red lines, since a failed gate is an exception."""

    def kept(error_name):
        red = new_markdown_cell("An Exception was encountered", metadata={"tags": [ERROR_MARKER_TAG]})
        cell = new_code_cell("1", outputs=[run_output(tmp_path), error_output(error_name, "regression")])
        report = read_executed_notebook(write_notebook(tmp_path / "out.ipynb", red, cell)).keep()
        return report.read_text(encoding="utf-8")

    assert "An Exception was encountered" not in kept("ComparisonGate")
    assert "The gate fails. regression" in kept("ComparisonGate")
    assert '"output_type": "error"' not in kept("ComparisonGate")
    assert "An Exception was encountered" in kept("CaptureFailed")


def test_keep_when_the_run_folder_is_gone(tmp_path):
    """Broken: a secret stays in the notebook when its run folder is gone."""
    path = write_notebook(tmp_path / "out.ipynb", secret_cell(tmp_path / "never-made"))
    assert read_executed_notebook(path).keep() == path
    assert SECRET not in path.read_text(encoding="utf-8")
