"""Classifies the stacks of a recording: what each thread did at each tick.

Each distinct stack is classified once per role that has it, then looked up for every tick.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import or_

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.components.catalog import UNCLASSIFIED
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.components.frame_masks import frame_masks
from scoreprof_nb.components.rule_set import OTHER, RoleRule, Rule, RuleSet
from scoreprof_nb.stacks.table import StackTable, ThreadSamples


@dataclass(frozen=True)
class Role:
    """The roles of a thread and its process. ``excluded``: not part of the server's work."""

    process: str
    thread: str
    excluded: bool = False

    def __str__(self) -> str:
        return f"{self.process} / {self.thread}"


@dataclass(frozen=True)
class ThreadActivity:
    """What one thread did. Arrays have one entry per tick.

    ``components``: int16, indices into the rules' catalog; ``decode``: the stack has the mark of a
    decode step.
    """

    role: Role
    samples: ThreadSamples
    components: NDArray[np.int16]
    decode: NDArray[np.bool_]


@dataclass(frozen=True)
class _Masks:
    stack: list[int]
    leaf: list[int]


def classify(table: StackTable, rules: RuleSet) -> tuple[ThreadActivity, ...]:
    """The activity of every thread of the table, in its order."""
    masks = _masks(table, rules)
    seen = [_seen(thread, masks) for thread in table.threads]
    roles = roles_of(table, rules, seen)
    decode_mark = rules.marks.get("decode", 0)
    decode = np.array([bool(mask & decode_mark) for mask in masks.stack], dtype=np.bool_)
    index = rules.catalog.index
    known: dict[tuple[str, str], NDArray[np.int16]] = {}
    decided: dict[tuple[str, str, int, int], int] = {}  # many stacks have the same masks
    activities = []
    for thread, role in zip(table.threads, roles, strict=True):
        components = known.setdefault(
            (role.process, role.thread), np.full(table.n_stacks, -1, dtype=np.int16)
        )
        for stack_id in np.unique(thread.stack_ids):
            if components[stack_id] < 0:
                key = role.process, role.thread, masks.stack[stack_id], masks.leaf[stack_id]
                if key not in decided:
                    decided[key] = index[rules.component(*key)]
                components[stack_id] = decided[key]
        activities.append(
            ThreadActivity(role, thread, components[thread.stack_ids], decode[thread.stack_ids])
        )
    return tuple(activities)


def deciding_rules(table: StackTable, rules: RuleSet) -> set[Rule]:
    """The rules that decide the component of at least one stack of the table."""
    masks = _masks(table, rules)
    roles = roles_of(table, rules, [_seen(thread, masks) for thread in table.threads])
    deciding = {
        rules.deciding(role.process, role.thread, masks.stack[stack_id], masks.leaf[stack_id])
        for thread, role in zip(table.threads, roles, strict=True)
        for stack_id in np.unique(thread.stack_ids)
    }
    return {rule for rule in deciding if rule is not None}


def roles_of(table: StackTable, rules: RuleSet, seen: list[int]) -> list[Role]:
    """The role of every thread; ``seen``: the union of the frame masks of each thread's stacks."""
    by_process: dict[int, int] = {}
    for thread, mask in zip(table.threads, seen, strict=True):
        by_process[thread.pid] = by_process.get(thread.pid, 0) | mask
    return [
        _role(rules, thread.process, thread.thread, by_process[thread.pid], mask)
        for thread, mask in zip(table.threads, seen, strict=True)
    ]


def process_role(rules: RuleSet, command: str) -> Role:
    """The role of a process by its command line alone; its thread is ``""``."""
    rule = _first(rules.processes, "", command, 0)
    return Role(rule.role, "", rule.excluded) if rule else Role(OTHER, "")


def _role(rules: RuleSet, command: str, name: str, process_mask: int, thread_mask: int) -> Role:
    process = _first(rules.processes, "", command, process_mask)
    thread = _first(rules.threads, name, "", thread_mask)
    role = (thread.process if thread else "") or (process.role if process else OTHER)
    return Role(role, thread.role if thread else _short(name), process.excluded if process else False)


def _first(rules: tuple[RoleRule, ...], name: str, command: str, mask: int) -> RoleRule | None:
    return next((rule for rule in rules if rule.matches(name, command, mask)), None)


def _short(name: str) -> str:
    """``Thread-3 (work)`` -> ``work``: the number differs from run to run."""
    inner = name.partition(" (")[2].removesuffix(")")
    return inner or name or "unnamed"


def _masks(table: StackTable, rules: RuleSet) -> _Masks:
    of_frame = frame_masks(rules.patterns, table.frames)
    masks = [of_frame[frame_id] for frame_id in table.frame_ids.tolist()]
    stacks = [masks[first:last] for first, last in pairwise(table.offsets.tolist())]
    return _Masks(
        stack=[reduce(or_, stack, 0) for stack in stacks],
        leaf=[stack[-1] if stack else 0 for stack in stacks],
    )


def _seen(thread: ThreadSamples, masks: _Masks) -> int:
    whole = 0
    for stack_id in np.unique(thread.stack_ids):
        whole |= masks.stack[stack_id]
    return whole


def unclassified_stacks(
    activities: tuple[ThreadActivity, ...], catalog: Catalog
) -> Mapping[tuple[Role, int], int]:
    """How many ticks of each role have each unclassified stack id, most first."""
    unclassified = catalog.index[UNCLASSIFIED]
    counts: dict[tuple[Role, int], int] = {}
    for activity in activities:
        if activity.role.excluded:
            continue
        ids = activity.samples.stack_ids[activity.components == unclassified]
        for stack_id, count in zip(*np.unique(ids, return_counts=True), strict=True):
            key = (activity.role, int(stack_id))
            counts[key] = counts.get(key, 0) + int(count)
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
