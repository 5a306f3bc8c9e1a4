"""Break a real run at a random moment, and check what is left of it.

    python -m tests.faults.faults [--number 100] [--seed 0] [--table FILE]        (make faults)

A fault is a signal to one process of a run with the real server and py-spy, at a random moment. After it:
finished phases are whole, no process is left, the exit code is one of the documented ones, the last line says
how the run ended, and the next start completes the run with the finished phases' numbers unchanged.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.store import load_run
from tests.support.server_runs import Finished, arguments, left_behind, run_in

PHASES = ("single", "small")
PARAMETERS = {"phases": ",".join(PHASES), "phase_s": 4, "warmup_s": 20, "request_s": 20}
LATEST_S = {"py-spy": 0.8}  # after the process has started; py-spy runs for one block at a time
LATEST_OTHERS_S = 20.0
PAUSE_S = 3.0  # a stopped runner is continued after this
ENDS_S = 200.0  # after the fault: for a run that goes on, and for what notices a stopped process
CODES = (0, 1, 130, 143)
KILLED = -signal.SIGKILL  # the runner's code when it was the target

type Find = Callable[[psutil.Process], Sequence[psutil.Process]]


def _named(*words: str) -> Find:
    """The descendants of the runner whose command line or name has one of the words."""

    def find(runner: psutil.Process) -> list[psutil.Process]:
        found = []
        for process in runner.children(recursive=True):
            with suppress(psutil.Error):
                if any(word in " ".join([process.name(), *process.cmdline()]) for word in words):
                    found.append(process)
        return found

    return find


TARGETS: dict[str, Find] = {
    "runner": lambda runner: [runner],
    "papermill": _named("run_papermill"),
    "kernel": _named("ipykernel_launcher"),
    "launcher": _named("capture/launcher.py"),
    "HTTP process": _named("serve_0_0_2.py"),
    "scheduler": _named("sglang::scheduler"),
    "detokenizer": _named("sglang-jax::detokenizer"),
    "py-spy": _named("py-spy record"),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT)


@dataclass(frozen=True)
class Fault:
    """A signal to a process, ``at_s`` seconds after the process has started."""

    target: str
    signum: signal.Signals
    at_s: float

    def __str__(self) -> str:
        return f"{self.signum.name} to {self.target} after {self.at_s:.1f} s"


@dataclass(frozen=True)
class Outcome:
    """What a fault did. ``problems``: the promises that were broken; none if all is well."""

    fault: Fault
    hit: bool  # False: there was no such process at that moment
    code: int
    last_line: str
    done: tuple[str, ...]  # finished phases before the next start
    problems: tuple[str, ...]


def planned(number: int, seed: int) -> Iterator[Fault]:
    """Faults from the seed: every pair of target and signal once before one is repeated."""
    rng = random.Random(seed)
    pairs: list[tuple[str, signal.Signals]] = []
    for _ in range(number):
        if not pairs:
            pairs = [(target, signum) for target in TARGETS for signum in SIGNALS]
            rng.shuffle(pairs)
        target, signum = pairs.pop()
        yield Fault(target, signum, round(rng.uniform(0.1, LATEST_S.get(target, LATEST_OTHERS_S)), 1))


def inject(fault: Fault, folder: Path) -> Outcome:
    """Run the kit in the empty folder, break it, start it again, and check both."""
    code, output, hit = _broken_run(fault, folder)
    problems = []
    runner_killed = hit and fault.target == "runner" and fault.signum == signal.SIGKILL
    if code not in ((KILLED,) if runner_killed else CODES):
        problems.append(f"exit code {code}")
    last_line = (output.strip().splitlines() or [""])[-1]
    if not runner_killed and not last_line.startswith(("report: ", "scoreprof-nb: ")):
        problems.append(f"last line {last_line!r}")
    left = _left_after(folder)
    if left:
        problems.append(f"left running: {left}")
    done = _finished(folder / "run", problems)
    before = _numbers(folder / "run", done)
    again = run_in(folder, **PARAMETERS)
    problems += _problems_of_next(again, done, before)
    return Outcome(fault, hit, code, last_line, done, tuple(problems))


def _broken_run(fault: Fault, folder: Path) -> tuple[int, str, bool]:
    """(exit code, output, whether a process got the signal)."""
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(
            arguments(folder, **PARAMETERS), stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            _wait_for(fault.target, process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(fault.at_s)
            hit = process.poll() is None and _send(fault, psutil.Process(process.pid))
            if hit and fault.target == "runner" and fault.signum == signal.SIGSTOP:
                time.sleep(PAUSE_S)
                process.send_signal(signal.SIGCONT)
            code = process.wait(ENDS_S)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return code, output.read(), hit


def _wait_for(target: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the process to hit has started, or the run has ended."""
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            if TARGETS[target](psutil.Process(process.pid)):
                return
        time.sleep(0.05)


def _send(fault: Fault, runner: psutil.Process) -> bool:
    found = TARGETS[fault.target](runner)
    for process in found[:1]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(fault.signum)
            return True
    return False


def _left_after(folder: Path) -> list[str]:
    """Processes that are still there a few seconds later: the guard needs a moment after a killed runner."""
    deadline = time.monotonic() + 10
    while (left := left_behind(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _finished(run: Path, problems: list[str]) -> tuple[str, ...]:
    if not (run / "manifest.json").exists():
        return ()
    try:
        return tuple(load_run(run).phases)
    except RunFolderError as error:
        problems.append(f"cannot be read: {error}")
        return ()


def _numbers(run: Path, done: Sequence[str]) -> dict[str, Any]:
    """The results of the finished phases, if the broken run came to write them."""
    with suppress(OSError, ValueError):
        phases = json.loads((run / "summary.json").read_text())["phases"]
        return {name: phases[name] for name in done if name in phases and phases[name]["requests"]["ok"]}
    return {}


def _problems_of_next(again: Finished, done: Sequence[str], before: dict[str, Any]) -> list[str]:
    if again.code != 0:
        return [f"the next start ended with {again.code}: {again.last_line}"]
    problems = []
    summary = json.loads((again.folder / "summary.json").read_text())
    if (summary["status"], set(summary["phases"])) != ("complete", set(PHASES)):
        problems.append(f"the next start left {summary['status']}, {list(summary['phases'])}")
    problems += [f"{name} was captured again" for name in before if f"phase {name} (" in again.output]
    problems += [
        f"the numbers of {name} changed" for name, phase in before.items() if summary["phases"][name] != phase
    ]
    return problems


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, one row per fault."""
    lines = ["| fault | exit code | finished phases | last line | result |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        result = "; ".join(outcome.problems) or ("survived" if outcome.hit else "no such process then")
        done = ", ".join(outcome.done) or "none"
        last_line = outcome.last_line.replace("|", "/")[:80]
        lines.append(f"| {outcome.fault} | {outcome.code} | {done} | {last_line} | {result} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="file for the table, besides the output")
    options = parser.parse_args()
    outcomes = []
    for fault in planned(options.number, options.seed):
        with tempfile.TemporaryDirectory(prefix="sp-fault-") as folder:
            outcomes.append(inject(fault, Path(folder)))
        print(table(outcomes).splitlines()[-1], flush=True)
        if options.table is not None:
            options.table.write_text(table(outcomes) + "\n")
    broken = sum(bool(outcome.problems) for outcome in outcomes)
    print(f"{len(outcomes)} faults, {sum(outcome.hit for outcome in outcomes)} hit, {broken} broke a promise")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
