"""An executed notebook: what went wrong in it, where its run is, and the report made of it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from papermill.execute import remove_error_markers

from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.files import RUN_MIME
from scoreprof_nb.run_folder.store import write_text

GATE_ERROR = "ComparisonGate"
REPORT = "report.ipynb"


@dataclass(frozen=True)
class ExecutedNotebook:
    """``error``: the first error's one line, None when there was none; ``run_dir``: None if unknown.

    ``results_dir``: where a copy of the run goes, None for nowhere; ``hold_s``: how long to wait at the end.
    """

    path: Path
    error_name: str | None
    error: str | None
    run_dir: Path | None
    results_dir: Path | None = None
    hold_s: float = 0.0

    def keep(self) -> Path:
        """``keep_notebook``, and report.html beside the report in the run folder; gives the report's path."""
        report = self.keep_notebook()
        if self.run_dir is not None and report == self.run_dir / REPORT:
            write_text(report.with_suffix(".html"), to_html(report))
        return report

    def keep_notebook(self) -> Path:
        """Take secrets out, copy it into the run folder as report.ipynb.

        A parameter error says nothing of the run: it never replaces a report that is there. Gives the
        path of the report: the notebook itself when there is no run folder.
        """
        raw = json.loads(self.path.read_text(encoding="utf-8"))
        if self.error_name == GATE_ERROR:  # the report is whole: papermill's red lines would deny it
            raw = remove_error_markers(nbformat.from_dict(raw))
        text = json.dumps(_redactor(raw).deep(raw), indent=1)
        write_text(self.path, text + "\n")
        if self.run_dir is None or not self.run_dir.is_dir():
            return self.path
        report = self.run_dir / REPORT
        if self.error_name == "ParameterError" and report.exists():
            return self.path
        if self.path.resolve().parent == self.run_dir.resolve():
            self.path.replace(report)
        else:
            shutil.copyfile(self.path, report)
        return report


def read_executed_notebook(path: Path) -> ExecutedNotebook:
    """Read a notebook that papermill wrote, whether it ended well or not."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    error = next((output for output in outputs if output.output_type == "error"), None)
    found = [output.data[RUN_MIME] for output in outputs if RUN_MIME in output.get("data", {})]
    told = found[-1] if found else {}
    run_dir, results_dir = (
        Path(told[name]) if told.get(name) else None for name in ("run_dir", "results_dir")
    )
    return ExecutedNotebook(
        path=path,
        error_name=error.ename if error is not None else None,
        error=_redactor(notebook)(f"{error.ename}: {error.evalue}") if error is not None else None,
        run_dir=run_dir,
        results_dir=results_dir,
        hold_s=float(told.get("hold_s", 0.0)),
    )


def _redactor(notebook: Mapping[str, Any]) -> Redactor:
    """Knows the secrets in the parameters that papermill was given."""
    return Redactor.for_parameters(
        notebook.get("metadata", {}).get("papermill", {}).get("parameters", {}) or {}
    )


def to_html(path: Path) -> str:
    """The report for a browser: no code, nothing fetched from elsewhere."""
    exporter = HTMLExporter(
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_input_prompt=True,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        widget_renderer_url="",
    )
    html: str = exporter.from_filename(str(path))[0]
    return html
