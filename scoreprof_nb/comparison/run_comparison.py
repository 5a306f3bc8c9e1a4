"""From run folders to a comparison: load, analyse, compare, and refuse what must not be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoreprof_nb.analysis.run_analysis import RunAnalysis, analyse
from scoreprof_nb.comparison.comparability import check_comparability, refuse_incomparable
from scoreprof_nb.comparison.compare import Comparison, compare
from scoreprof_nb.comparison.guards import Stopped
from scoreprof_nb.comparison.looks import ONE_LOOK
from scoreprof_nb.comparison.noise import check_noise, machine_of, read_noise
from scoreprof_nb.components.rules import RuleSet
from scoreprof_nb.parameters.compare import CONTROL, SIDES, TEST, CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.store import load_run


def make_comparison(
    parameters: CompareParameters,
    rules: RuleSet,
    folders: tuple[Sequence[Path], Sequence[Path]],
    stopped: Stopped,
    analyses: Mapping[Path, RunAnalysis],
    log_progress: LogProgress,
    level: float = ONE_LOOK,
) -> Comparison:
    """Compare the runs in the folders of control and of test.

    ``analyses``: the runs that are already analysed, by folder; the others are analysed here. ``level``: the
    error that this look may spend. Raises RunFolderError, and ParameterError for captures that must not be
    compared, for a noise file that cannot be used, and for sides without a common phase.
    """
    noise = read_noise(parameters.noise_from)
    control, test = (
        _analyses(side, paths, analyses, rules, log_progress)
        for side, paths in zip(SIDES, folders, strict=True)
    )
    try:
        comparison = compare(control, test, parameters.delta, level, parameters.compared, stopped, noise)
    except ValueError as error:
        raise ParameterError(TEST, parameters.test, str(error)) from error
    refuse_incomparable(parameters, comparison.incomparable)
    check_noise(parameters.noise_from, noise, comparison.machine)
    return comparison


def check_before_capture(parameters: CompareParameters, provenance: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ParameterError when what is about to be captured must not be compared, or the noise file is of
    something else. ``provenance``: by side, of its server, model and machine."""
    check_comparability(parameters, provenance)
    run = parameters.of_run(CONTROL, Path("unused")).as_dict()
    noise = read_noise(parameters.noise_from)
    check_noise(parameters.noise_from, noise, machine_of(run, provenance[CONTROL]))


def _analyses(
    side: str,
    paths: Sequence[Path],
    analyses: Mapping[Path, RunAnalysis],
    rules: RuleSet,
    log_progress: LogProgress,
) -> list[RunAnalysis]:
    runs = []
    for number, path in enumerate(paths, start=1):
        if path in analyses:
            runs.append(analyses[path])
            continue
        log_progress(f"analysing {side}, run {number} of {len(paths)}")
        runs.append(analyse(load_run(path), rules))
    return runs
