"""Break a real run at a random moment, and check what is left of it.

    python -m tests.faults.faults [--number 100] [--seed 0] [--from 0] [--at-once 1] [--record FILE]    (make faults)

A run with a finished phase is copied into a folder, and started for one more with the real server and py-spy. A
fault strikes. After it: finished phases have their checksums; no process and no temporary file is left; the exit
code is a documented one; the last line says how the run ended; the next start completes the run; and the report
of each phase that had been finished equals, number by number, what its recordings gave before.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from shutil import copytree
from typing import Any

from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.summary import summary
from scoreprof_nb.run_folder import files
from scoreprof_nb.run_folder.records import RunFolderError
from tests.bench.machine import git
from tests.faults.kind import Kind
from tests.faults.kinds import KINDS
from tests.faults.mounts import FILLER
from tests.faults.place import PHASES, Place
from tests.support.paths import ROOT
from tests.support.server_runs import left_behind

RECORD = ROOT / "build" / "faults.jsonl"
ENDS_S = 240.0  # from the fault: for a run that goes on, and for what notices a stopped process
CLEAN_S = 10.0  # the guard needs a moment after a killed runner
BEGINS_S = 200.0  # until what the fault waits for has come
FAILED_SHARE = 0.01  # a phase with more failed requests makes its run partial for ever
TELLING = (  # of each group those that found most
    "SIGKILL to the runner",
    "SIGSTOP to the kernel",
    "SIGKILL to papermill",
    "SIGTERM to the runner",
    "SIGKILL to the scheduler",
    "disk full: run folder",
    "results gone",
    "port taken after the check by another HTTP server",
    "answers: close",
    "two runs on one folder",
)


@dataclass(frozen=True)
class Fault:
    """A kind of fault, at a share (0 to 1) of the longest time after which it may strike."""

    number: int
    kind: Kind
    share: float

    @property
    def after_s(self) -> float:
        return round(self.share * self.kind.latest_s, 2)


@dataclass(frozen=True)
class Outcome:
    """What a fault did: a line of the record. ``hit``: None if this machine cannot do it; ``done``: the
    phases that were finished before the next start; ``problems``: the promises that were broken; ``seed``: in
    whose order the fault came, None if its kind was chosen by hand."""

    number: int
    kind: str
    group: str
    after_s: float
    hit: bool | None
    code: int = 0
    last_line: str = ""
    done: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    broken_s: float = 0.0  # from the fault until the run had ended
    recovery_s: float = 0.0  # of the next start
    commit: str = ""
    at: str = ""
    cores: int = 0
    load: float = 0.0  # mean number of processes that wanted a core in the minute before
    seed: int | None = None

    @property
    def survived(self) -> bool:
        return bool(self.hit) and not self.problems


def planned(seed: int, kinds: Sequence[str] = tuple(KINDS)) -> Iterator[Fault]:
    """Faults without end: every kind once, in an order from the seed, before one is repeated."""
    rng = random.Random(seed)
    number = 0
    while True:
        order = list(kinds)
        rng.shuffle(order)
        for name in order:
            yield Fault(number, KINDS[name], rng.uniform(0.02, 1.0))
            number += 1


@dataclass(frozen=True)
class Template:
    """A run with the first phase finished, and that phase's numbers."""

    folder: Path
    numbers: dict[str, Any]


def make_template(folder: Path) -> Template:
    """Raises AssertionError when the run does not complete."""
    place = Place(folder)
    place.parameters["phases"] = PHASES[0]
    process = place.start()
    assert process.wait(ENDS_S) == 0, place.text()[-3000:]
    return Template(place.run, numbers(place.run))


def numbers(run: Path) -> dict[str, Any]:
    """summary.json's entry of each finished phase, computed now from the phases' recordings."""
    report = make_report(Parameters(run_dir=str(run)))
    result = json.loads(json.dumps(summary(report.analysis, report.findings).model_dump(mode="json")))
    phases: dict[str, Any] = result["phases"]
    return phases


def try_fault(fault: Fault, template: Template) -> Outcome:
    """Break a run in a folder of its own, start it again, and check both."""
    known = {
        "number": fault.number,
        "kind": fault.kind.name,
        "group": fault.kind.group,
        "after_s": fault.after_s,
        "commit": git("describe", "--always", "--dirty", "--abbrev=10"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
    }
    if not fault.kind.may():
        return Outcome(hit=None, **known)
    with tempfile.TemporaryDirectory(prefix="spf-") as folder, ExitStack() as around:
        place = Place(Path(folder))
        copytree(template.folder, place.run)
        around.enter_context(fault.kind.around(place))
        with ExitStack() as undo:
            hit, code, broken_s = _broken_run(fault, place, undo)
            _check_end(place, code, fault.kind)
        done, before = _finished(place)
        if before.get(PHASES[0]) != template.numbers[PHASES[0]]:
            place.problems.append(f"the numbers of {PHASES[0]} differ from those without the fault")
        last_line = _last_line(place)
        started = time.monotonic()
        next_code = _next_start(place)
        recovery_s = round(time.monotonic() - started, 1)
        _check_next(place, next_code, done, before)
        return Outcome(
            hit=hit,
            code=code,
            last_line=last_line.replace(folder, ""),
            done=done,
            problems=tuple(problem.replace(folder, "") for problem in place.problems),
            broken_s=broken_s,
            recovery_s=recovery_s,
            **known,
        )


def _broken_run(fault: Fault, place: Place, undo: ExitStack) -> tuple[bool, int, float]:
    """(whether the fault had something to hit, exit code, seconds from the fault to the end)."""
    process = place.start()
    try:
        deadline = time.monotonic() + BEGINS_S
        while process.poll() is None and time.monotonic() < deadline and not fault.kind.begun(place):
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            process.wait(fault.after_s)
        hit = process.poll() is None and fault.kind.strike(place, undo)
        struck = time.monotonic()
        try:
            code = process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            place.problems.append(f"the run hangs: not ended {ENDS_S:.0f} s after the fault")
            code = 0
    finally:
        process.kill()
        process.wait()
    return hit, code, round(time.monotonic() - struck, 1)


def _last_line(place: Place) -> str:
    return (place.text().strip().splitlines() or [""])[-1]


def _check_end(place: Place, code: int, kind: Kind) -> None:
    """The end of the broken run."""
    line = _last_line(place)
    if code not in kind.codes:
        place.problems.append(f"exit code {code}")
    if code >= 0 and not line.startswith(("report: ", "scoreprof-nb: ")):
        place.problems.append(f"last line {line!r}")
    if code > 0 and line.startswith("report: ") and not line.endswith(")"):
        place.problems.append("the last line does not say that the run failed")
    if _shows_traceback(place):
        place.problems.append("a traceback in the output")
    _check_left(place)


def _shows_traceback(place: Place) -> bool:
    """Whether the output has a traceback that is not quoted from the server's log."""
    log = place.run / files.SERVER_LOG
    quoted = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [*place.text().splitlines(), ""]
    return any(
        line.endswith("Traceback (most recent call last):") and (not first or first not in quoted)
        for line, first in pairwise(map(str.strip, lines))
    )


def _check_left(place: Place) -> None:
    deadline = time.monotonic() + CLEAN_S
    while (left := _left(place)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        place.problems.append(f"left behind: {left}")


def _left(place: Place) -> list[str]:
    """Processes, and files of the run in $TMPDIR, such as sockets."""
    return [
        *left_behind(place.folder),
        *(str(path) for path in place.temporary.iterdir() if path.name != FILLER),
    ]


def _finished(place: Place) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The finished phases and their numbers. Loading checks the checksums."""
    try:
        found = numbers(place.run)
    except RunFolderError as error:
        place.problems.append(f"cannot be read: {error}")
        return (), {}
    answered = {name: phase for name, phase in found.items() if phase["requests"]["ok"]}
    return tuple(answered), answered


def _next_start(place: Place) -> int:
    place.output.rename(place.folder / "broken.txt")
    process = place.start()
    try:
        return process.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        place.problems.append("the next start hangs")
        return 0
    finally:
        process.kill()
        process.wait()


def _check_next(place: Place, code: int, done: Sequence[str], before: dict[str, Any]) -> None:
    """The next start: complete, with the old numbers, and nothing left over."""
    if code != 0:
        lines = place.text().strip().splitlines()[-3:]
        place.problems.append(f"the next start ended with {code}: {lines}")
        return
    written = json.loads((place.run / files.SUMMARY).read_text())
    many_failed = any(
        phase["requests"]["failed"] > FAILED_SHARE * phase["requests"]["sent"]
        for phase in written["phases"].values()
    )
    if set(written["phases"]) != set(PHASES) or written["status"] != (
        "partial" if many_failed else "complete"
    ):
        place.problems.append(f"the next start left {written['status']}: {list(written['phases'])}")
    for name in done:
        if f"phase {name} (" in place.text():
            place.problems.append(f"{name} was captured again")
        if written["phases"].get(name) != before[name]:
            place.problems.append(f"the numbers of {name} changed")
    hidden = [str(path) for path in place.run.rglob(".*")]
    if hidden:
        place.problems.append(f"left in the run folder: {hidden}")
    _check_left(place)
    if "results_dir" in place.parameters:
        _check_results(place, written)


def _check_results(place: Place, written: dict[str, Any]) -> None:
    """The results folder has the whole run."""
    try:
        there = numbers(place.results)
    except RunFolderError as error:
        place.problems.append(f"results cannot be read: {error}")
        return
    if there != written["phases"]:
        place.problems.append("the results folder has other numbers")
    for name in (files.SUMMARY, files.REPORT, files.REPORT_HTML):
        if (
            not (place.results / name).exists()
            or (place.results / name).read_bytes() != (place.run / name).read_bytes()
        ):
            place.problems.append(f"the results folder has no {name} of this run")


def line_of(outcome: Outcome) -> str:
    """One line of the driver's output."""
    result = "; ".join(outcome.problems) or (
        "cannot be done on this machine"
        if outcome.hit is None
        else "survived"
        if outcome.hit
        else "nothing to hit at that moment"
    )
    times = f"ended {outcome.broken_s:.0f} s later, next start {outcome.recovery_s:.0f} s"
    return f"{outcome.number:3d}  {outcome.kind} after {outcome.after_s:.1f} s: {result} ({times})"


def try_all(faults: Sequence[Fault], parallel: int = 1) -> Iterator[Outcome]:
    """The outcomes in the order of the faults."""
    with tempfile.TemporaryDirectory(prefix="spf-") as folder, ThreadPoolExecutor(parallel) as pool:
        template = make_template(Path(folder))
        yield from pool.map(lambda fault: try_fault(fault, template), faults)


def main() -> int:
    """Print a line per fault and append it to the record; exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first fault's number")
    parser.add_argument("--kind", choices=sorted(KINDS), nargs="*", metavar="KIND", help="only these")
    parser.add_argument("--at-once", type=int, default=1, help="how many are tried side by side")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSONL file to append to")
    options = parser.parse_args()
    options.record.parent.mkdir(parents=True, exist_ok=True)
    plan = planned(options.seed, options.kind or tuple(KINDS))
    faults = [fault for fault, _ in zip(plan, range(options.number), strict=False)][options.first :]
    broken = 0
    seed = None if options.kind else options.seed
    for outcome in (replace(outcome, seed=seed) for outcome in try_all(faults, options.at_once)):
        print(line_of(outcome), flush=True)
        with options.record.open("a") as record:
            record.write(json.dumps(asdict(outcome)) + "\n")
        broken += bool(outcome.problems)
    print(f"{len(faults)} faults, {broken} broke a promise; recorded in {options.record}")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
