"""report.html: the executed notebook for a browser, with its code hidden, one click away.

Jupyter's packages take seconds to import, so they are imported only when they are needed.
"""

from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from scoreprof_nb.runner.jupyter_imports import leave_out_grammar

_EXPORTING = Lock()  # an exporter serves one thread at a time
INTRO_TAG, PROGRESS_TAG = "intro", "progress"  # cells, and outputs, that a finished report does not need
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{% block html_head %}
{{ super() }}
<style>
body .jp-Cell-inputWrapper { display: none; }
body.sp-show-code .jp-Cell-inputWrapper, .jp-MarkdownCell .jp-Cell-inputWrapper { display: block; }
main { max-width: 1180px; margin: 0 auto; }
body.jp-Notebook { padding: 10px 16px; }
.jp-OutputArea-output img { max-width: 100%; height: auto; }
.jp-OutputArea-output { overflow-y: visible; }
.jp-OutputPrompt, .jp-InputPrompt { display: none; }
.sp-code-button { position: absolute; top: 8px; right: 12px; z-index: 2; }
</style>
{% endblock html_head %}
{% block body_header %}
{{ super() }}
<button class="sp-code-button" type="button" aria-pressed="false"
 onclick="this.setAttribute('aria-pressed', document.body.classList.toggle('sp-show-code'))">show
code</button> {% endblock body_header %}
"""


def to_html(path: Path, title: str = "") -> str:
    """The page, with nothing loaded from elsewhere. ``title``: of the page; empty: the file's name."""
    leave_out_grammar()
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    if title:
        notebook.metadata["title"] = title
    if not _has_error(notebook):
        _remove_setup(notebook)
    return _exported(notebook, path.stem)


def prepare() -> None:
    """Do what ``to_html`` has to do once: import Jupyter's packages, and compile the page's template."""
    leave_out_grammar()
    from nbformat.v4 import new_notebook

    _exported(new_notebook(), "")


def _exported(notebook: Any, name: str) -> str:
    with _EXPORTING:
        html: str = _exporter().from_notebook_node(notebook, resources={"metadata": {"name": name}})[0]
    return html


@cache
def _exporter() -> Any:
    from nbconvert import HTMLExporter

    return HTMLExporter(
        raw_template=_TEMPLATE,
        exclude_output_prompt=True,
        exclude_input_prompt=True,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        widget_renderer_url="",
    )


def _has_error(notebook: Any) -> bool:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return any(output.output_type == "error" for output in outputs)


def _remove_setup(notebook: Any) -> None:
    """Leave out the introduction, which is for whoever runs the notebook, and the capture's progress."""
    for cell in notebook.cells:
        if PROGRESS_TAG in cell.metadata.get("tags", []):
            cell.outputs = []
    notebook.cells = [cell for cell in notebook.cells if INTRO_TAG not in cell.metadata.get("tags", [])]
