"""Which run of control belongs to which run of test.

Runs that were captured as pairs are in folders pair-NN-control and pair-NN-test, and stay pairs: several
nodes may have captured them at the same time, both runs of a pair on one node. Other
runs are paired by start time.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from scoreprof_nb.analysis.run_analysis import RunAnalysis

_PAIR_FOLDER = re.compile(r"pair-(\d+)-(?:control|test)")

Key = tuple[Path, int]
Pairs = tuple[tuple[RunAnalysis, ...], tuple[RunAnalysis, ...], list[str]]


def pair_up(control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]) -> Pairs:
    """The runs of each side in pairs, and why runs are left out."""
    before, after = (_by_pair(runs) for runs in (control, test))
    if before is None or after is None:
        return _by_start_time(control, test)
    left_out = []
    pairs = []
    for key in sorted({*before, *after}):
        runs = [side[key] for side in (before, after) if key in side]
        for run in runs:
            if len(runs) < 2:
                left_out.append(f"run {run.run.manifest.run_id} has no counterpart")
            elif run.run.manifest.status != "complete":
                left_out.append(f"pair {key[1]}: run {run.run.manifest.run_id} is not complete")
        if len(runs) == 2 and all(run.run.manifest.status == "complete" for run in runs):
            pairs.append(runs)
    if not pairs:
        return _by_start_time(control, test)
    return tuple(runs[0] for runs in pairs), tuple(runs[1] for runs in pairs), left_out


def _by_pair(runs: Sequence[RunAnalysis]) -> dict[Key, RunAnalysis] | None:
    """The runs by comparison and pair number; None if that does not identify each of them."""
    numbered: dict[Key, RunAnalysis] = {}
    for run in runs:
        folder = Path(run.run.folder)
        match = _PAIR_FOLDER.fullmatch(folder.name)
        if match is None or (folder.parent, int(match[1])) in numbered:
            return None
        numbered[folder.parent, int(match[1])] = run
    return numbered


def _by_start_time(control: Sequence[RunAnalysis], test: Sequence[RunAnalysis]) -> Pairs:
    before, after = (
        tuple(sorted(runs, key=lambda run: run.run.manifest.started_s)) for runs in (control, test)
    )
    pairs = min(len(before), len(after))
    left_out = [
        f"run {run.run.manifest.run_id} has no counterpart" for run in (*before[pairs:], *after[pairs:])
    ]
    return before[:pairs], after[:pairs], left_out
