"""py-spy's ``chrometrace`` JSON: an array of events at which a frame begins (B) or ends (E).

Events say when a stack changed, not when it was sampled, and the rate is not in the file: so each stack
counts for its time, on a grid of INTERVAL_S. py-spy keeps one stack per pthread id: processes that were
forked and share one overwrite each other's, as they do here. Without ``--idle`` it also stretches the last
stack over the time in which a thread was idle, which the file does not show.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from scoreprof_nb.stacks.labels import Labels, bounded, split_labels
from scoreprof_nb.stacks.table import (
    Frame,
    ImportFailed,
    Skipped,
    StackTable,
    StackTableBuilder,
    ThreadSamples,
)

INTERVAL_S = 0.01  # py-spy's default rate
MAX_TICKS = 10**8  # of a thread: 11 days
_NO_LABELS = Labels()


@dataclass(frozen=True)
class _Change:
    """From ``at_us`` on, the thread with this pthread id has this stack, root first; empty: it ended."""

    pthread: int
    at_us: int
    stack: tuple[Frame, ...]


def parse_chrometrace(data: bytes, where: str) -> StackTable:
    """Read the content of a chrometrace file of py-spy; ``where`` names it in messages.

    The table is ordered, with ``interval_s`` INTERVAL_S. An event that cannot be read is in ``skipped``.
    Raises ImportFailed if the file cannot be read at all, or has no usable event.
    """
    try:
        events = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{where}: not JSON: {error}") from error
    if not isinstance(events, list):
        raise ImportFailed(f"{where}: not a JSON array but {bounded(events)}")
    builder = StackTableBuilder()
    changes = list(_changes(events, builder))
    by_thread: dict[int, list[_Change]] = {}
    for change in changes:
        by_thread.setdefault(change.pthread, []).append(change)
    samples: dict[Labels, list[int]] = {}
    for of_thread in by_thread.values():
        _sample(of_thread, builder, samples, where)
    for labels, stack_ids in samples.items():
        ids = np.array(stack_ids, dtype=np.int32)
        thread = labels.pid, labels.tid, labels.process, labels.thread
        builder.add_thread(ThreadSamples(*thread, ids, labels.parents))
    table = builder.build(ordered=True, interval_s=INTERVAL_S)
    if not table.threads:
        reason = f"{table.skipped[0].where}: {table.skipped[0].why}" if table.skipped else "no stack lasts"
        raise ImportFailed(f"{where}: a JSON array, but no usable event of py-spy's chrometrace ({reason})")
    return table


def _changes(events: Sequence[object], builder: StackTableBuilder) -> Iterator[_Change]:
    """The stack of each thread after all events of an instant."""
    usable: list[Any] = []
    for number, event in enumerate(events):
        wrong = _what_is_wrong(event)
        if wrong:
            builder.skipped.append(Skipped(f"event {number}", wrong, bounded(event)))
        else:
            usable.append(event)
    stacks: dict[int, list[Frame]] = {}
    for (pthread, at_us), group in groupby(usable, key=lambda event: (event["tid"], event["ts"])):
        stack = stacks.setdefault(pthread, [])
        for event in group:
            if event["ph"] == "B":
                stack.append(_frame(event))
            elif stack and stack[-1].name == event["name"]:
                stack.pop()
            else:
                why = "a frame ends that is not the innermost one"
                builder.skipped.append(Skipped(f"{at_us} us", why, bounded(event)))
        yield _Change(pthread, at_us, tuple(stack))


def _sample(
    changes: Sequence[_Change], builder: StackTableBuilder, samples: dict[Labels, list[int]], where: str
) -> None:
    """Add the stacks of one pthread id, at the middle of each interval, to the samples of its threads."""
    at_s = np.array([change.at_us for change in changes], dtype=np.float64) / 1e6
    n = int((at_s[-1] - at_s[0]) / INTERVAL_S)
    if not 0 <= n <= MAX_TICKS:
        raise ImportFailed(f"{where}: its events span {at_s[-1] - at_s[0]:g} s")
    grid = at_s[0] + (np.arange(n) + 0.5) * INTERVAL_S
    known: dict[tuple[Frame, ...], tuple[Labels, int]] = {}
    for place in (np.searchsorted(at_s, grid, side="right") - 1).tolist():
        stack = changes[place].stack
        if not stack:
            continue
        if stack not in known:
            labels, used = split_labels(stack, _NO_LABELS)
            known[stack] = labels, builder.stack_id([builder.frame_id(frame) for frame in stack[used:]])
        labels, stack_id = known[stack]
        samples.setdefault(labels, []).append(stack_id)


def _what_is_wrong(event: Any) -> str | None:
    if not isinstance(event, dict):
        return "not an object"
    if event.get("ph") not in ("B", "E"):
        return "neither the begin nor the end of a frame"
    if not isinstance(event.get("name"), str) or not isinstance(event.get("args", {}), dict):
        return "without a frame"
    numbers = [event.get(name) for name in ("tid", "ts")]
    return None if all(type(n) is int and 0 <= n < 2**63 for n in numbers) else "without a thread and a time"


def _frame(event: Mapping[str, Any]) -> Frame:
    place = event.get("args", {})
    file, line = place.get("filename"), place.get("line")
    known_line = type(line) is int and line > 0
    return Frame(event["name"], file if isinstance(file, str) else "", line if known_line else None)
