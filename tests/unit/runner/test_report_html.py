"""report.html: a page with a title of its own, its code hidden, and nothing that only the runner needs."""

from concurrent.futures import ThreadPoolExecutor

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from scoreprof_nb.runner.report_html import INTRO_TAG, PROGRESS_TAG, prepare, to_html


def written(path, *more):
    progress = new_output("stream", name="stdout", text="captured in 9 s")
    cells = [
        new_markdown_cell("how to run it", metadata={"tags": [INTRO_TAG]}),
        new_code_cell("capture()", outputs=[progress], metadata={"tags": [PROGRESS_TAG]}),
        new_code_cell("show(result)", outputs=[new_output("stream", name="stdout", text="the result")]),
        *more,
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_title_is_given_and_escaped(tmp_path):
    html = to_html(written(tmp_path / "report.ipynb"), "main: <b>profile")
    assert "<title>main: &lt;b&gt;profile</title>" in html
    assert "<title>report</title>" in to_html(written(tmp_path / "report.ipynb"))


def test_setup_is_left_out_of_a_finished_report(tmp_path):
    html = to_html(written(tmp_path / "report.ipynb"))
    assert "the result" in html
    assert "how to run it" not in html
    assert "captured in 9 s" not in html


def test_progress_of_a_failed_run_stays(tmp_path):
    """Broken: the page of a run that failed hides how far it came."""
    error = new_output("error", ename="CaptureFailed", evalue="why", traceback=["why"])
    html = to_html(written(tmp_path / "report.ipynb", new_code_cell("finish()", outputs=[error])))
    assert "captured in 9 s" in html


def test_page_made_while_another_is_prepared_is_the_same(tmp_path):
    """Broken: two threads in one exporter, and a page with parts of another or none."""
    path = written(tmp_path / "report.ipynb")
    alone = to_html(path, "title")
    with ThreadPoolExecutor(2) as threads:
        preparing = threads.submit(prepare)
        assert threads.submit(to_html, path, "title").result() == alone
        preparing.result()
