"""What the notebook's cells call: parameters in, capture with progress, tables and figures shown."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from IPython.display import clear_output, display

from scoreprof_nb.capture import session
from scoreprof_nb.capture.session import CaptureResult
from scoreprof_nb.parameters.profile import MEASURED, ParameterError, Parameters
from scoreprof_nb.redact import Redactor
from scoreprof_nb.report.profile import Report, rules_of
from scoreprof_nb.run_folder.files import RUN_MIME
from scoreprof_nb.run_folder.store import RunFolder

_FIRST_CELLS = 4
_SIMPLE = (str, int, float, bool, list, tuple, dict, type(None))
_SHELL = {"In", "Out"}
_NAMES = frozenset(Parameters.__dataclass_fields__)


class CaptureFailed(RuntimeError):
    """Phases are missing; the report before it is made of what there is."""

    def _render_traceback_(self) -> list[str]:
        return [f"CaptureFailed: {self}"]


def plain_variables(namespace: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The notebook's variables that are taken for parameters.

    Every plain variable is, so that a misspelt one is an error and not silence; in a notebook that has
    run on for some cells, other variables are left alone.
    """
    plain = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _SHELL and isinstance(value, _SIMPLE)
    }
    if len(namespace.get("In", [])) > _FIRST_CELLS:
        return {name: value for name, value in plain.items() if name in known}
    return plain


@contextmanager
def without_secrets(values: Mapping[str, Any]) -> Iterator[None]:
    """An error about a parameter names its value, and papermill prints it: without its secrets."""
    try:
        yield
    except ParameterError as error:
        redact = Redactor.for_parameters(values)
        raise ParameterError(error.name, redact.deep(error.value), redact(error.problem)) from None


def publish_run_metadata(folder: str, results_dir: str, hold_s: float) -> None:
    """Leave in the notebook what the runner needs at its end; shows the folder."""
    told = {"run_dir": folder, "results_dir": results_dir, "hold_s": hold_s}
    display({RUN_MIME: told, "text/plain": f"folder: {folder}"}, raw=True)


def progress_logger() -> Callable[[str], None]:
    """Prints a line of progress with the seconds since now."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    return say


def absolute(path: str) -> str:
    """The absolute path; empty stays empty."""
    return path and str(Path(path).absolute())


def start(namespace: Mapping[str, Any]) -> Parameters:
    """The parameters out of the notebook's variables. Raises ParameterError."""
    values = plain_variables(namespace, _NAMES)
    with without_secrets(values):
        parameters = Parameters.from_mapping(values)
    rules_of(parameters)  # a mistake in the file is said now, not after the capture
    run_dir = parameters.run_dir or f"runs/{time.strftime('%Y%m%d-%H%M%S')}-{parameters.label}"
    parameters = replace(parameters, run_dir=absolute(run_dir), results_dir=absolute(parameters.results_dir))
    publish_run_metadata(parameters.run_dir, parameters.results_dir, parameters.hold_s)
    return parameters


def capture(parameters: Parameters) -> CaptureResult:
    """Capture what the run folder lacks, showing what is done; leaves a short summary."""
    started = time.monotonic()
    with without_secrets(parameters.as_dict()):
        outcome = session.capture(parameters, progress_logger())
    clear_output()
    manifest = RunFolder(Path(parameters.run_dir)).read_manifest()
    if not outcome.captured and outcome.failure is None:
        print("All phases were there already: analysed again, nothing was launched.")
        _show_differences(parameters, manifest.parameters)
    else:
        captured = ", ".join(outcome.captured) or "nothing"
        print(f"Captured {captured} in {time.monotonic() - started:.0f} s; status {manifest.status}.")
    if outcome.failure is not None:
        print(f"\n{outcome.failure}")
    return outcome


def _show_differences(now: Parameters, captured: Mapping[str, Any]) -> None:
    for name in MEASURED:
        if name in captured and captured[name] != now.as_dict()[name]:
            print(f"note: the run was captured with {name}={captured[name]!r}; it is shown as captured")


def finish(report: Report, outcome: CaptureResult) -> None:
    """Say where everything is; raises CaptureFailed when phases are missing."""
    print(f"run folder: {report.folder}")
    status = report.analysis.status()
    if outcome.failure is not None:
        raise CaptureFailed(f"status {status}: {outcome.failure}")
