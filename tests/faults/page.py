"""docs/reliability.md from the record of ``make faults``; nothing in it is typed by hand.

python -m tests.faults.page [RECORD]
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median

from tests.faults.faults import RECORD, Outcome
from tests.faults.kinds import KINDS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# What a run survives

`make faults` breaks runs of the demo with the real server and py-spy at random moments, one fault per
run, and starts each again. This page is written by `make reliability` from what it recorded.

A fault is *survived* if, after it,

- the finished phases have the checksums in the manifest;
- no process, socket or temporary file is left;
- the exit code is a documented one ([parameters](parameters.md)), and the last line says what happened;
- the next start ends with 0 and completes the run, without capturing a finished phase again;
- each number of the finished phases in `summary.json` equals what their recordings gave before the next start, and
  for the phase that was finished before the fault, what they gave without it;
- a results folder, once it can be written again, has the whole run.

"Not hit": the process had ended at that moment, or was not there yet. *Ended*: from the fault to the end of the run.
*Next start*: how long the next start took, capture of missing phases included. Both are medians.

Disks are file systems of their own: a tmpfs that is filled or turned read-only, an ext4 image whose writes are frozen,
a FUSE mount whose process has ended (`ENOTCONN`, as of a bucket's). Answers are broken by a proxy between the kit and
the real server. Memory ends by the kernel's OOM killer in a control group, or by `RLIMIT_AS`; open files by
`RLIMIT_NOFILE`. A pause is a SIGSTOP and, later, a SIGCONT, to one process or to all of a run at once, as when a virtual
machine is suspended. Steps of the clock are not among these faults.
"""


def read_record(path: Path) -> list[Outcome]:
    """The outcomes of kinds that still exist."""
    known = {field.name for field in fields(Outcome)}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [
        Outcome(**{name: value for name, value in line.items() if name in known})
        for line in lines
        if line["kind"] in KINDS
    ]


def page(outcomes: Sequence[Outcome]) -> str:
    """The page with a table by kind."""
    tried = [outcome for outcome in outcomes if outcome.hit is not None]
    hit = [outcome for outcome in tried if outcome.hit]
    survived = sum(outcome.survived for outcome in hit)
    dates = sorted(outcome.at[:10] for outcome in tried)
    commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(outcome.commit for outcome in tried))
    period = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    lines = [
        HEAD,
        f"**{len(tried)} faults, {period}, commits {commits}: {len(hit)} hit, {survived} survived.** "
        f"{len({outcome.kind for outcome in hit})} of {len(KINDS)} kinds were hit. {_order(tried)} {_machine(tried)}".rstrip(),
        "",
        "| kind of fault | tried | hit | survived | ended, s | next start, s |",
        "|---|---|---|---|---|---|",
    ]
    for name in KINDS:
        of_kind = [outcome for outcome in tried if outcome.kind == name]
        lines.append(_row(name, of_kind))
    broken = [outcome for outcome in tried if outcome.problems]
    lines += ["", "Not survived:", ""] if broken else ["", "All that were hit were survived."]
    lines += [f"- {outcome.kind} ({outcome.commit}): {'; '.join(outcome.problems)}" for outcome in broken]
    return "\n".join(lines) + "\n"


def _order(outcomes: Sequence[Outcome]) -> str:
    """Who chose the faults."""
    seeds = sorted({outcome.seed for outcome in outcomes if outcome.seed is not None})
    by_hand = sum(outcome.seed is None for outcome in outcomes)
    parts = (
        [f"{len(outcomes) - by_hand} came in the order of SEED={', '.join(map(str, seeds))}"] if seeds else []
    )
    if by_hand:
        parts.append(f"the kinds of {by_hand} were chosen by hand")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _machine(outcomes: Sequence[Outcome]) -> str:
    """How busy the machine was; empty where it was not recorded."""
    known = [outcome for outcome in outcomes if outcome.cores]
    if not known:
        return ""
    load = median(outcome.load for outcome in known)
    return f"On {known[-1].cores} cores; median load of the minute before each fault: {load:.1f}."


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    hit = [outcome for outcome in outcomes if outcome.hit]
    if not hit:
        return f"| {name} | {len(outcomes)} | 0 | | | |"
    times = (
        f"{median(getattr(outcome, what) for outcome in hit):.0f}" for what in ("broken_s", "recovery_s")
    )
    return (
        f"| {name} | {len(outcomes)} | {len(hit)} | {sum(outcome.survived for outcome in hit)} | "
        f"{' | '.join(times)} |"
    )


if __name__ == "__main__":
    record = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORD
    PAGE.write_text(page(read_record(record)), encoding="utf-8")
    print(f"{PAGE}: from {record}")
