"""Compiled rules: which component a stack belongs to, and which role a process or a thread has."""

from collections.abc import Mapping
from dataclasses import dataclass

from scoreprof_nb.components.catalog import UNCLASSIFIED
from scoreprof_nb.components.component import Catalog

OTHER = "other"  # the role of a process that no entry names


@dataclass(frozen=True)
class Pattern:
    """``function@file``; either part may be empty, and then matches everything.

    ``function``: of an unqualified name, with wildcards; ``file``: a part of a path that begins with ``/``.
    """

    function: str
    file: str

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        function, _, file = text.partition("@")
        return cls(function, file)


@dataclass(frozen=True)
class Rule:
    """A condition on a stack; bit masks over the patterns of the rule set (0: no condition).

    ``where``: the file, and the number of the rule in it.
    """

    where: str
    component: str
    processes: frozenset[str]
    threads: frozenset[str]
    any_mask: int
    and_mask: int
    leaf_mask: int
    none_mask: int

    def matches(self, process: str, thread: str, stack_mask: int, leaf_mask: int) -> bool:
        return (
            (not self.processes or process in self.processes)
            and (not self.threads or thread in self.threads)
            and (not self.any_mask or bool(self.any_mask & stack_mask))
            and (not self.and_mask or bool(self.and_mask & stack_mask))
            and (not self.leaf_mask or bool(self.leaf_mask & leaf_mask))
            and not self.none_mask & stack_mask
        )


@dataclass(frozen=True)
class RoleRule:
    """Who a process or a thread is: one condition that holds is enough."""

    role: str
    process: str  # for a thread: the role of the process it belongs to; "" keeps the process's own
    name: tuple[str, ...]
    command: tuple[str, ...]
    frames_mask: int
    excluded: bool

    def matches(self, name: str, command: str, stacks_mask: int) -> bool:
        return (
            bool(self.frames_mask & stacks_mask)
            or any(part in name for part in self.name)
            or any(part in command for part in self.command)
        )


@dataclass(frozen=True)
class RuleSet:
    """Compiled rules. A frame's mask has bit ``i`` set when pattern ``i`` matches it.

    ``catalog``: the components that the rules may name; ``user_rules``: the rules of the user's file.
    """

    catalog: Catalog
    patterns: tuple[Pattern, ...]
    processes: tuple[RoleRule, ...]
    threads: tuple[RoleRule, ...]
    rules: tuple[Rule, ...]
    user_rules: tuple[Rule, ...]
    marks: Mapping[str, int]

    @property
    def process_roles(self) -> frozenset[str]:
        """The roles that a rule's ``process`` may name."""
        named = (*(rule.role for rule in self.processes), *(rule.process for rule in self.threads), OTHER)
        return frozenset(filter(None, named))

    @property
    def thread_roles(self) -> frozenset[str]:
        """The roles that a rule's ``thread`` may name."""
        return frozenset(rule.role for rule in self.threads)

    def deciding(self, process: str, thread: str, stack_mask: int, leaf_mask: int) -> Rule | None:
        """The first rule that matches a stack, by the masks of its frames."""
        stack = process, thread, stack_mask, leaf_mask
        return next((rule for rule in self.rules if rule.matches(*stack)), None)

    def component(self, process: str, thread: str, stack_mask: int, leaf_mask: int) -> str:
        """The component of a stack by the masks of its frames; ``unclassified`` when no rule matches."""
        rule = self.deciding(process, thread, stack_mask, leaf_mask)
        return rule.component if rule else UNCLASSIFIED


def unqualified(name: str) -> str:
    """``Scheduler.recv_requests`` -> ``recv_requests``; ``f.<locals>.g`` -> ``g``."""
    return name.rpartition(".")[2] if name.rpartition(".")[2] else name
