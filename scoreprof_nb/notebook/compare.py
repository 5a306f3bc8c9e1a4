"""What the cells of the comparing notebook call, besides what the profiling notebook's do."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from IPython.display import clear_output

from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.capture.pairs import capture_pairs, complete_pairs, stopped_beside, stopped_runs
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.history import past_runs
from scoreprof_nb.comparison.looks import LookBook
from scoreprof_nb.comparison.noise import read_noise
from scoreprof_nb.comparison.run_comparison import check_before_capture, make_comparison
from scoreprof_nb.notebook.profile import (
    CaptureFailed,
    absolute,
    keep_imports,
    plain_variables,
    progress_logger,
    publish_run_metadata,
)
from scoreprof_nb.parameters.compare import COMPARISONS, SIDES, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.secrets import errors_without_secrets
from scoreprof_nb.report import comparison_files, profile_files
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.comparison_verdict import sentence
from scoreprof_nb.report.profile import make_report, rules_of
from scoreprof_nb.run_folder.plain_text import plain_text
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.sync import sync_run


class ComparisonGate(RuntimeError):
    """The comparison fails its ``fail_on`` gate (exit code 3); its report is complete."""

    def _render_traceback_(self) -> list[str]:
        return [f"ComparisonGate: {self}"]


def start(namespace: Mapping[str, Any]) -> CompareParameters:
    """The parameters from the notebook's variables, after checking every file they name, so that a mistake is
    reported before hours of capture, not after. Raises ParameterError."""
    keep_imports()
    values = plain_variables(namespace, CompareParameters.names())
    with errors_without_secrets(values):
        parameters = CompareParameters.from_mapping(values)
        parameters.check_files()
        rules_of(parameters)
        read_noise(parameters.noise_from)
    folder = parameters.compare_dir or f"{COMPARISONS}/{time.strftime('%Y%m%d-%H%M%S')}"
    parameters = parameters.with_values(
        compare_dir=absolute(folder), results_dir=absolute(parameters.results_dir)
    )
    Path(parameters.compare_dir).mkdir(parents=True, exist_ok=True)
    if not parameters.adds_to_history:
        past_runs(parameters)
    title = f"{parameters.test_label} against {parameters.control_label}: Score API comparison"
    publish_run_metadata(parameters.compare_dir, parameters.published_dir, parameters.hold_s, title)
    return parameters


def compare(parameters: CompareParameters) -> tuple[ComparisonReport | None, str | None]:
    """Capture the pairs that are missing and compare them, until the verdict is settled; returns the report,
    and why pairs are missing.

    The report is None when only a history is wanted, or no pair is complete.
    """
    log_progress = progress_logger()
    failure: str | None = None
    if parameters.captures:
        comparison, failure = _capture_until_settled(parameters, log_progress)
    else:
        folders = parameters.runs_of(SIDES[0]), parameters.runs_of(SIDES[1])
        comparison = None
        if all(folders):
            rules = rules_of(parameters)
            comparison = make_comparison(
                parameters, rules, folders, stopped_beside(folders), {}, log_progress
            )
    report = None if comparison is None else ComparisonReport(parameters, comparison, failure)
    clear_output()
    if report is not None:
        comparison_files.write_files(report)
        print(f"Compared {report.comparison.pairs} pairs of runs.")
    if failure is not None:
        print(f"Some pairs were not captured: {plain_text(failure)}")
    return report, failure


def _capture_until_settled(
    parameters: CompareParameters, log_progress: LogProgress
) -> tuple[Comparison | None, str | None]:
    """Look at the comparison after each number of pairs that is planned, until its verdict is settled.

    Returns the last comparison, None if no pair is complete, and why pairs are missing.
    """
    folder = Path(parameters.compare_dir)
    book, rules = LookBook(folder, parameters.published_dir), rules_of(parameters)
    analyses: dict[Path, RunAnalysis] = {}  # by folder
    comparison: Comparison | None = None
    for look in book.looks(parameters.pairs, parameters.most_pairs):
        failure = _capture_pairs(parameters, look.pairs, analyses, log_progress)
        folders = complete_pairs(parameters, look.pairs)
        if all(folders):
            comparison = make_comparison(
                parameters, rules, folders, stopped_runs(folder), analyses, log_progress, look.level
            )
            analyses |= {run.run.folder: run for run in (*comparison.control, *comparison.test)}
        if failure is not None:
            return comparison, failure
        book.take(look.pairs)
        if comparison is not None and comparison.settled:
            return comparison, None
        if look.pairs < parameters.most_pairs:
            log_progress(f"not settled after {look.pairs} pairs: capturing more")
    return comparison, None


def _capture_pairs(
    parameters: CompareParameters,
    pairs: int,
    analyses: dict[Path, RunAnalysis],
    log_progress: LogProgress,
) -> str | None:
    """Capture the missing runs of the first ``pairs`` pairs, each with its own report, and add the analysis
    of each to ``analyses``.

    Returns why pairs are missing, None if none is.
    """

    def publish(run: Parameters) -> None:
        report = make_report(run)
        profile_files.write_files(report)
        analyses[Path(run.run_dir)] = report.analysis
        sync_run(Path(run.run_dir), run.results_dir, log_progress)

    with errors_without_secrets(parameters.as_dict()):
        check = partial(check_before_capture, parameters)
        return capture_pairs(parameters, pairs, log_progress, check, publish)


def finish(parameters: CompareParameters, report: ComparisonReport | None, failure: str | None) -> None:
    """Print the folder of the results.

    Raises CaptureFailed if pairs are missing, ComparisonGate if the comparison fails its gate.
    """
    print(f"folder: {parameters.compare_dir}")
    if failure is not None:
        raise CaptureFailed(plain_text(failure))
    if report is not None and report.gate_fails:
        raise ComparisonGate(f"fail_on={parameters.fail_on}: {report.verdict}: {sentence(report)}")
