"""Classification rules as data: read from TOML, checked, and compiled into fast matchers.

The built-in rules are those of the engine. A user's file of the same form is put before them, so its
roles and rules win; it may also add components.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import WAITING_GROUP, Catalog, Component
from scoreprof_nb.components.rule_set import Pattern, RoleRule, Rule, RuleSet, unqualified
from scoreprof_nb.components.rules_file import (
    ComponentEntry,
    RoleEntry,
    RuleEntry,
    RulesError,
    read_rules_file,
)
from scoreprof_nb.engines.sglang_jax_analysis import RULES_FILE
from scoreprof_nb.stacks.table import Frame

__all__ = ["Rule", "RuleSet", "RulesError", "load_rules", "rule_text"]

MARKS = {"decode"}


def load_rules(user_file: str = "") -> RuleSet:
    """The engine's rules, after those of the user's file if one is named. Raises RulesError."""
    compiler = _Compiler()
    if user_file:
        compiler.add(Path(user_file))
    user_rules = len(compiler.rules)
    compiler.add(RULES_FILE)
    return compiler.rule_set(user_rules)


def rule_text(rules: RuleSet, process: str, thread: str, leaf: Frame) -> str:
    """A rule for stacks with this innermost frame, ready to be pasted into a rules file: only the
    component is still to be chosen."""
    place = f"{unqualified(leaf.name)}@/{leaf.file.rpartition('/')[2]}"
    lines = ["[[rule]]", 'component = "unclassified"  # choose a component']
    lines += [f"process = [{json.dumps(process)}]"] if process in rules.process_roles else []
    lines += [f"thread = [{json.dumps(thread)}]"] if thread in rules.thread_roles else []
    return "\n".join([*lines, f"leaf = [{json.dumps(place, ensure_ascii=False)}]"])


@dataclass
class _Compiler:
    """Collects the entries of all files; names are resolved when all files are known.

    ``patterns``: each pattern's bit; ``where`` in the lists names the file and the entry.
    """

    patterns: dict[Pattern, int] = field(default_factory=dict)
    components: list[tuple[str, ComponentEntry]] = field(default_factory=list)
    processes: list[RoleRule] = field(default_factory=list)
    threads: list[RoleRule] = field(default_factory=list)
    rules: list[tuple[str, RuleEntry]] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    delayed: list[tuple[str, str]] = field(default_factory=list)  # place in the file, component

    def add(self, path: Path) -> None:
        content = read_rules_file(path)
        for mark, patterns in content.marks.items():
            _require(mark, MARKS, f"{path}: marks: mark", "it has no meaning")
            self.marks[mark] = self.marks.get(mark, 0) | self._mask(patterns)
        self.components += [(f"{path}: component {n}", entry) for n, entry in _numbered(content.component)]
        self.processes += map(self._role, content.process)
        self.threads += map(self._role, content.thread)
        self.rules += [(f"{path}: rule {n}", entry) for n, entry in _numbered(content.rule)]
        self.delayed += [(f"{path}: what_if {n}", e.component) for n, e in _numbered(content.what_if)]

    def rule_set(self, user_rules: int) -> RuleSet:
        """All files compiled; the first ``user_rules`` rules are the user's.

        Raises RulesError for a component or a role that does not exist: the rule would never match."""
        catalog = CATALOG
        for where, entry in self.components:
            try:
                catalog = catalog.extended([_component(entry)])
            except ValueError as error:
                raise RulesError(f"{where}: {error}") from error
        rules = tuple(self._rule(where, entry, catalog) for where, entry in self.rules)
        for where, component in self.delayed:
            _require(component, catalog.stack_names, f"{where}: component", "no [[component]] defines it")
        compiled = RuleSet(
            catalog=catalog,
            patterns=tuple(self.patterns),
            processes=tuple(self.processes),
            threads=tuple(self.threads),
            rules=rules,
            user_rules=rules[:user_rules],
            marks=self.marks,
        )
        for where, rule in self.rules:
            for role in rule.process:
                _require(
                    role,
                    sorted(compiled.process_roles),
                    f"{where}: process role",
                    "no [[process]] defines it",
                )
            for role in rule.thread:
                _require(
                    role, sorted(compiled.thread_roles), f"{where}: thread role", "no [[thread]] defines it"
                )
        return compiled

    def _role(self, entry: RoleEntry) -> RoleRule:
        return RoleRule(
            role=entry.role,
            process=entry.process,
            name=tuple(entry.name),
            command=tuple(entry.command),
            frames_mask=self._mask(entry.frames),
            excluded=entry.excluded,
        )

    def _rule(self, where: str, entry: RuleEntry, catalog: Catalog) -> Rule:
        _require(entry.component, catalog.stack_names, f"{where}: component", "no [[component]] defines it")
        return Rule(
            where=where,
            component=entry.component,
            processes=frozenset(entry.process),
            threads=frozenset(entry.thread),
            any_mask=self._mask(entry.any),
            and_mask=self._mask(entry.all_of),
            leaf_mask=self._mask(entry.leaf),
            none_mask=self._mask(entry.none),
        )

    def _mask(self, patterns: Iterable[str]) -> int:
        mask = 0
        for text in patterns:
            mask |= 1 << self.patterns.setdefault(Pattern.parse(text), len(self.patterns))
        return mask


def _component(entry: ComponentEntry) -> Component:
    """In the group ``waiting`` a thread does not run, and the request makes no progress."""
    waits = entry.group == WAITING_GROUP
    colour = (entry.colour or "").upper()
    return Component(
        entry.name, entry.group, entry.meaning, colour, entry.advice, waiting=waits, work=not waits
    )


def _numbered[Entry](entries: Sequence[Entry]) -> Iterable[tuple[int, Entry]]:
    return enumerate(entries, start=1)


def _require(name: str, known: Iterable[str], what: str, why: str) -> None:
    """Raises RulesError, with the nearest known name, for one that is not known."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RulesError(f"{what} {name!r}: {why}; {hint}the known ones are {', '.join(known)}")
