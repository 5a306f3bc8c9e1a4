"""What the cells of the comparing notebook call, besides what notebook.py has."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from IPython.display import clear_output

from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.capture.pairs import capture_pairs, complete_pairs, stopped_runs
from scoreprof_nb.comparison.comparability import check_comparability
from scoreprof_nb.comparison.run_comparison import make_comparison
from scoreprof_nb.notebook.profile import (
    CaptureFailed,
    absolute,
    plain_variables,
    progress_logger,
    publish_run_metadata,
    without_secrets,
)
from scoreprof_nb.parameters.compare import SIDES, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report import comparison_files, profile_files
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.comparison_verdict import sentence
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.run_folder.sync import sync_run

_NAMES = frozenset(CompareParameters.__dataclass_fields__)


class ComparisonGate(RuntimeError):
    """``fail_on`` asks for exit code 3; the report before it is whole."""

    def _render_traceback_(self) -> list[str]:
        return [f"ComparisonGate: {self}"]


def start(namespace: Mapping[str, Any]) -> CompareParameters:
    """The parameters out of the notebook's variables. Raises ParameterError."""
    values = plain_variables(namespace, _NAMES)
    with without_secrets(values):
        parameters = CompareParameters.from_mapping(values)
    for side in SIDES:
        parameters.runs_of(side)  # a name without a run is said before anything else
    folder = parameters.compare_dir or f"comparisons/{time.strftime('%Y%m%d-%H%M%S')}"
    parameters = replace(
        parameters, compare_dir=absolute(folder), results_dir=absolute(parameters.results_dir)
    )
    Path(parameters.compare_dir).mkdir(parents=True, exist_ok=True)
    publish_run_metadata(parameters.compare_dir, parameters.results_dir, parameters.hold_s)
    return parameters


def compare(parameters: CompareParameters) -> tuple[ComparisonReport | None, str | None]:
    """Capture the pairs that are missing, then compare; gives the report and why pairs are missing.

    The report is None when only a history is asked for, or no pair is complete.
    """
    say = progress_logger()
    failure: str | None = None
    stopped: Mapping[str, Sequence[str]] = dict.fromkeys(SIDES, ())
    analyses: dict[Path, RunAnalysis] = {}  # of the runs captured now, by folder
    if parameters.captures:

        def captured(of_run: Parameters) -> None:
            report_of_run = make_report(of_run)
            profile_files.write_files(report_of_run)  # so that each run can stand alone
            analyses[Path(of_run.run_dir)] = report_of_run.analysis
            sync_run(Path(of_run.run_dir), of_run.results_dir, say)

        with without_secrets(parameters.as_dict()):
            failure = capture_pairs(parameters, say, partial(check_comparability, parameters), captured)
        control, test = complete_pairs(parameters)
        stopped = stopped_runs(Path(parameters.compare_dir))
    else:
        control, test = (list(parameters.runs_of(side)) for side in SIDES)
    report = None
    if control and test:
        comparison = make_comparison(parameters, (control, test), stopped, analyses, say)
        report = ComparisonReport(parameters, comparison, failure)
    clear_output()
    if report is not None:
        comparison_files.write_files(report)
        print(f"compared {report.comparison.pairs} runs of control with as many of test")
    if failure is not None:
        print(f"not all pairs were captured: {failure}")
    return report, failure


def finish(parameters: CompareParameters, report: ComparisonReport | None, failure: str | None) -> None:
    """Say where everything is. Raises CaptureFailed when pairs are missing, ComparisonGate by fail_on."""
    print(f"folder: {parameters.compare_dir}")
    if failure is not None:
        raise CaptureFailed(failure)
    if report is not None and report.gate_fails:
        raise ComparisonGate(f"fail_on={parameters.fail_on}: {report.verdict}: {sentence(report)}")
