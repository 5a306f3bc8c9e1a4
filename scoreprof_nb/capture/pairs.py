"""Pairs of runs for a comparison: control and test in ABBA order, a new server for each run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from scoreprof_nb.capture import resume, session
from scoreprof_nb.capture.preflight import Plan, prepare
from scoreprof_nb.capture.split_pairs import forget_if_split, host_of
from scoreprof_nb.parameters.compare import CONTROL, SIDES, TEST, CompareParameters, with_names_of
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.files import PAIRS, RUNS, STOPPED
from scoreprof_nb.run_folder.folder import RunFolder, write_text
from scoreprof_nb.run_folder.plain_text import plain_text
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import RunFolderError


@dataclass(frozen=True)
class PairRun:
    """One run of a pair, numbered from 1."""

    pair: int
    side: str
    folder: Path

    def complete(self) -> bool:
        """Whether all phases are captured."""
        try:
            return RunFolder(self.folder).read_manifest().status == "complete"
        except RunFolderError:
            return False


def planned(parameters: CompareParameters, pairs: int) -> Iterator[PairRun]:
    """The runs of so many pairs in the order of capture: control, test, test, control, ..."""
    folder = Path(parameters.compare_dir) / RUNS
    for pair in parameters.pair_numbers(pairs):
        for side in SIDES if pair % 2 else reversed(SIDES):
            yield PairRun(pair, side, folder / f"pair-{pair:02d}-{side}")


def capture_pairs(
    parameters: CompareParameters,
    pairs: int,
    log_progress: LogProgress,
    check: Callable[[Mapping[str, Mapping[str, Any]]], None],
    captured: Callable[[Parameters], None],
) -> str | None:
    """Capture the missing runs of the first ``pairs`` pairs; return why it stopped early, None if all are
    captured.

    ``check`` is called with the provenance of both sides before anything is launched; ``captured`` with
    the parameters of each run that this call completes. Raises ParameterError, for either
    side, before anything is launched.
    """
    _restore_stopped(parameters)
    runs = list(planned(parameters, pairs))
    for run in runs:
        _refuse_other_run(parameters, run)
    missing = [run for run in runs if not run.complete()]
    if not missing:
        log_progress(f"all {len(runs)} runs are complete; nothing to capture")
        return None
    log_progress("checking both sides")
    provenance = {side: _provenance(parameters, side, missing[0].folder) for side in SIDES}
    check(provenance)
    for pair, of_pair in groupby(runs, key=attrgetter("pair")):
        copies = [_copies(parameters, run) for run in of_pair]
        forget_if_split(pair, copies, host_of(provenance[CONTROL]), log_progress)
    missing = [run for run in runs if not run.complete()]
    started = time.monotonic()
    for done, run in enumerate(missing):
        time_left = _time_left(time.monotonic() - started, done, len(missing))
        position = f"run {len(runs) - len(missing) + done + 1} of {len(runs)}, pair {run.pair}, {run.side}"
        log_progress(f"{position}{time_left}")
        run_parameters = parameters.of_run(run.side, run.folder)
        result = with_names_of(
            run.side, session.capture, run_parameters, _prefixed(log_progress, f"  [{position}] ")
        )
        if result.failure is not None:
            _record_stopped(parameters, run, result.failure)
            return f"{run.side} of pair {run.pair}: {result.failure}"
        captured(run_parameters)
    return None


def _copies(parameters: CompareParameters, run: PairRun) -> list[RunFolder]:
    published = parameters.of_run(run.side, run.folder).results_dir
    return [RunFolder(run.folder), *([RunFolder(Path(published))] if published else [])]


def _provenance(parameters: CompareParameters, side: str, folder: Path) -> Mapping[str, Any]:
    run_parameters = parameters.of_run(side, folder)
    plan: Plan = with_names_of(side, prepare, run_parameters, run_parameters.phase_names())
    return plan.provenance


def _prefixed(log_progress: LogProgress, prefix: str) -> LogProgress:
    return lambda text: log_progress(prefix + text)


def stopped_runs(compare_dir: Path) -> Mapping[str, Sequence[str]]:
    """By side: which runs did not finish, when and why, in all attempts of a comparison."""
    stopped: dict[str, list[str]] = {side: [] for side in SIDES}
    with suppress(OSError):
        for line in (compare_dir / STOPPED).read_text(encoding="utf-8").splitlines():
            side, _, text = line.partition("\t")
            if side in stopped:
                stopped[side].append(text)
    return stopped


def stopped_beside(folders: tuple[Sequence[Path], Sequence[Path]]) -> Mapping[str, Sequence[str]]:
    """The same for existing runs: what stopped in the comparisons that captured them, on one node or on
    several. A stopped run counts for the side that has its comparison's finished runs of the same kind.

    ``folders``: the run folders of control and of test.
    """
    stopped: dict[str, list[str]] = {}
    for side, runs in zip(SIDES, folders, strict=True):
        captured = {(run.parent.parent, _side_of(run)) for run in runs if run.parent.name == RUNS}
        stopped[side] = [
            text
            for compare_dir, captured_as in sorted(captured)
            for folder in (compare_dir, *sorted((compare_dir / PAIRS).glob("*")))
            for text in stopped_runs(folder).get(captured_as, ())
        ]
    return stopped


def _side_of(run: Path) -> str:
    """The end of the name of a run's folder: of ``pair-01-test``, the side that was captured."""
    return run.name.rpartition("-")[2]


def _record_stopped(parameters: CompareParameters, run: PairRun, failure: str) -> None:
    """Record why a run stopped: the next attempt repeats the run and would hide the failure."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    path = Path(parameters.compare_dir) / STOPPED
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    reason = plain_text(failure).splitlines()[0]
    write_text(path, f"{before}{run.side}\tpair {run.pair}, {at}: {reason}\n")


def _restore_stopped(parameters: CompareParameters) -> None:
    published = Path(parameters.published_dir, STOPPED)
    local = Path(parameters.compare_dir) / STOPPED
    if parameters.published_dir and published.exists() and not local.exists():
        write_text(local, published.read_text(encoding="utf-8"))


def _refuse_other_run(parameters: CompareParameters, run: PairRun) -> None:
    """Raise ParameterError when the folder has a run that was measured with other parameters."""
    run_parameters = parameters.of_run(run.side, run.folder)
    try:
        manifest = RunFolder(run.folder).read_manifest()
    except RunFolderError:
        return
    if manifest.phases_done:
        with_names_of(
            run.side, resume.refuse_other_parameters, manifest, run_parameters, manifest.phases_done
        )


def _time_left(elapsed_s: float, done: int, total: int) -> str:
    if not done:
        return ""
    left_s = elapsed_s / done * (total - done)
    return f", about {left_s / 60:.0f} min left" if left_s >= 90 else f", about {left_s:.0f} s left"


def complete_pairs(parameters: CompareParameters, pairs: int) -> tuple[list[Path], list[Path]]:
    """The folders of control and of test, of those of the first ``pairs`` pairs whose runs are complete."""
    runs = {(run.pair, run.side): run for run in planned(parameters, pairs) if run.complete()}
    both = [pair for pair in parameters.pair_numbers(pairs) if all((pair, side) in runs for side in SIDES)]
    return [runs[pair, CONTROL].folder for pair in both], [runs[pair, TEST].folder for pair in both]
