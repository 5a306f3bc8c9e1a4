"""What the notebook's cells call: parameters in, capture with progress, tables and figures shown."""

import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from IPython.display import clear_output, display

from scoreprof_nb.capture import session
from scoreprof_nb.capture.session import CaptureResult
from scoreprof_nb.parameters.profile import MEASURED, Parameters
from scoreprof_nb.parameters.secrets import errors_without_secrets
from scoreprof_nb.redact import Redactor
from scoreprof_nb.report.profile import Report, rules_of
from scoreprof_nb.run_folder.event_log import ProgressLog
from scoreprof_nb.run_folder.files import RUN_MIME, SUMMARY
from scoreprof_nb.run_folder.folder import RunFolder, read_json
from scoreprof_nb.run_folder.plain_text import plain_text
from scoreprof_nb.run_folder.progress import LogProgress

_FIRST_CELLS = 4
_SIMPLE = (str, int, float, bool, list, tuple, dict, type(None))
_SHELL = {"In", "Out"}


class CaptureFailed(RuntimeError):
    """Phases are missing; the report covers the finished ones."""

    def _render_traceback_(self) -> list[str]:
        return [f"CaptureFailed: {self}"]


class EveryRequestFailed(RuntimeError):
    """The run has no successful request; the report shows the errors."""

    def _render_traceback_(self) -> list[str]:
        return [f"EveryRequestFailed: {self}"]


def plain_variables(namespace: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The notebook's variables that count as parameters.

    Every plain variable counts, so that a misspelt name is an error. Once later cells have run, only the
    known names count.
    """
    plain = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _SHELL and isinstance(value, _SIMPLE)
    }
    if len(namespace.get("In", [])) > _FIRST_CELLS:
        return {name: value for name, value in plain.items() if name in known}
    return plain


def publish_run_metadata(folder: str, results_dir: str, hold_s: float, title: str = "") -> None:
    """Store in the notebook what the runner needs at the end; show the folder. ``title``: of report.html."""
    metadata = {"run_dir": folder, "results_dir": results_dir, "hold_s": hold_s, "title": title}
    display({RUN_MIME: metadata, "text/plain": f"folder: {folder}"}, raw=True)


def progress_logger() -> LogProgress:
    """Returns a function that prints a line of progress with the seconds since now."""
    return ProgressLog()


def absolute(path: str) -> str:
    """The absolute path; empty stays empty."""
    return path and str(Path(path).absolute())


def keep_imports() -> None:
    """What is there after the imports stays: no garbage collection has to go through it any more, which would
    take a twentieth of a report's time."""
    gc.freeze()


def start(namespace: Mapping[str, Any]) -> Parameters:
    """The parameters from the notebook's variables, with the files that they name checked.

    Raises ParameterError.
    """
    keep_imports()
    values = plain_variables(namespace, Parameters.names())
    with errors_without_secrets(values):
        parameters = Parameters.from_mapping(values)
        parameters.check_files()
        rules_of(parameters)
    label = Redactor.for_parameters(parameters.as_dict())(parameters.label)
    run_dir = parameters.run_dir or f"runs/{time.strftime('%Y%m%d-%H%M%S')}-{label}"
    parameters = parameters.with_values(
        run_dir=absolute(run_dir), results_dir=absolute(parameters.results_dir)
    )
    title = f"{label}: Score API profile"
    publish_run_metadata(parameters.run_dir, parameters.results_dir, parameters.hold_s, title)
    return parameters


def capture(parameters: Parameters) -> CaptureResult:
    """Capture the missing phases with progress lines; print a short summary."""
    started = time.monotonic()
    with errors_without_secrets(parameters.as_dict()):
        result = session.capture(parameters, progress_logger())
    clear_output()
    manifest = RunFolder(Path(parameters.run_dir)).read_manifest()
    if not result.captured and result.failure is None:
        print("All phases exist already: nothing was launched, and the run is analysed again.")
        _show_differences(parameters, manifest.parameters)
    else:
        captured = ", ".join(result.captured) or "nothing"
        print(f"Captured {captured} in {time.monotonic() - started:.0f} s; status {manifest.status}.")
    if result.failure is not None:
        print(f"\n{plain_text(result.failure)}")
    return result


def _show_differences(parameters: Parameters, captured: Mapping[str, Any]) -> None:
    for name in MEASURED:
        if name in captured and captured[name] != getattr(parameters, name):
            print(f"note: this run was captured with {name}={captured[name]!r}; the report shows that value")


def finish(report: Report, result: CaptureResult) -> None:
    """Print the folder of the results.

    Raises CaptureFailed if phases are missing, EveryRequestFailed if no request succeeded.
    """
    print(f"run folder: {report.folder}")
    status = report.analysis.status()
    if result.failure is not None and not result.unanswered:
        raise CaptureFailed(plain_text(f"status {status}: {result.failure}"))
    requests = [phase["requests"] for phase in read_json(report.folder / SUMMARY)["phases"].values()]
    if requests and not any(counts["ok"] for counts in requests):
        failed = sum(counts["failed"] for counts in requests)
        raise EveryRequestFailed(f"no request succeeded, {failed} failed: see the report for the errors")
    if result.failure is not None:
        raise CaptureFailed(f"status {status}: {result.failure}. Start it again to capture what is missing")
