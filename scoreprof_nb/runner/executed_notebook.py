"""An executed notebook: its first error, its run folder, and the report made from it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.files import REPORT, REPORT_HTML, RUN_MIME
from scoreprof_nb.run_folder.folder import write_text
from scoreprof_nb.runner.report_html import to_html

PARAMETER_ERROR = "ParameterError"
GATE_ERROR = "ComparisonGate"
NO_RESPONSE_ERROR = "EveryRequestFailed"


@dataclass(frozen=True)
class ExecutedNotebook:
    """``error``: the first error in one line, None without one; ``run_dir``: None if not known.

    ``results_dir``: where the run is copied to, None for nowhere; ``hold_s``: seconds to wait at the end;
    ``title``: of the page.
    """

    path: Path
    error_name: str | None
    error: str | None
    run_dir: Path | None
    results_dir: Path | None = None
    hold_s: float = 0.0
    title: str = ""

    @property
    def executed_run_dir(self) -> Path | None:
        """The run folder, if the notebook got further than its parameters: a refused parameter says
        nothing about a run that already is in the folder."""
        return None if self.error_name == PARAMETER_ERROR else self.run_dir

    def keep(self) -> Path:
        """``keep_notebook``, with report.html beside the report in the run folder; returns its path."""
        report = self.keep_notebook()
        if self.run_dir is not None and report == self.run_dir / REPORT:
            write_text(self.run_dir / REPORT_HTML, to_html(report, self.title))
        return report

    def keep_notebook(self) -> Path:
        """Redact secrets, and copy the notebook into the run folder as report.ipynb.

        A notebook that ended with a parameter error never replaces an existing report. Returns the
        report's path: the notebook's own if there is no run folder.
        """
        raw = json.loads(self.path.read_text(encoding="utf-8"))
        if self.error_name == GATE_ERROR:  # the report is complete: red lines would deny that
            raw = _with_gate_as_text(raw)
        text = json.dumps(_redactor(raw).deep(raw), indent=1)
        write_text(self.path, text + "\n")
        if self.run_dir is None or not self.run_dir.is_dir():
            return self.path
        report = self.run_dir / REPORT
        if self.error_name == PARAMETER_ERROR and report.exists():
            return self.path
        if self.path.resolve().parent == self.run_dir.resolve():
            self.path.replace(report)
        else:
            shutil.copyfile(self.path, report)
        return report


def read_executed_notebook(path: Path) -> ExecutedNotebook:
    """Read a notebook that papermill wrote, whether it ended well or not.

    Raises OSError, or ValueError for a file that was cut off.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    error = next((output for output in outputs if output["output_type"] == "error"), None)
    published = [output["data"][RUN_MIME] for output in outputs if RUN_MIME in output.get("data", {})]
    metadata = published[-1] if published else {}
    run_dir, results_dir = (
        Path(metadata[name]) if metadata.get(name) else None for name in ("run_dir", "results_dir")
    )
    return ExecutedNotebook(
        path=path,
        error_name=error["ename"] if error is not None else None,
        error=_redactor(notebook)(f"{error['ename']}: {error['evalue']}") if error is not None else None,
        run_dir=run_dir,
        results_dir=results_dir,
        hold_s=float(metadata.get("hold_s", 0.0)),
        title=_redactor(notebook)(str(metadata.get("title", ""))),
    )


def _redactor(notebook: Mapping[str, Any]) -> Redactor:
    """Knows the secrets in the parameters that papermill injected."""
    return Redactor.for_parameters(
        notebook.get("metadata", {}).get("papermill", {}).get("parameters", {}) or {}
    )


# Jupyter's packages take seconds to import, so they are imported only when they are needed.


def _with_gate_as_text(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook without papermill's error markers, and with the gate's error as printed text."""
    import nbformat
    from papermill.execute import remove_error_markers

    cleaned: dict[str, Any] = remove_error_markers(nbformat.from_dict(notebook))
    for cell in cleaned["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [_gate_text(output) for output in cell["outputs"]]
    return cleaned


def _gate_text(output: dict[str, Any]) -> dict[str, Any]:
    if output["output_type"] != "error" or output["ename"] != GATE_ERROR:
        return output
    return {"output_type": "stream", "name": "stdout", "text": f"The gate fails. {output['evalue']}\n"}
