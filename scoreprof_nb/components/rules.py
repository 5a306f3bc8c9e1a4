"""Component rules as data: read from TOML, checked, and compiled into fast matchers.

The kit's own rules are ``rules.toml``; a user's file of the same form is put before them, so its
roles and rules win.
"""

import difflib
import fnmatch
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scoreprof_nb.components.catalog import COMPONENTS
from scoreprof_nb.stacks.table import Frame

OWN_RULES = Path(__file__).with_name("rules.toml")
_RULE_KEYS = {"component", "process", "thread", "any", "and", "leaf", "none"}
_ROLE_KEYS = {"role", "process", "name", "frames", "command", "excluded"}
_SECTIONS = {"process", "thread", "rule", "marks"}
MARKS = {"decode"}
OTHER = "other"  # the role of a process that no entry names


class RulesError(ValueError):
    """A rules file that cannot be used; the message names the file, the place and the mend."""


@dataclass(frozen=True)
class Pattern:
    """``function@file``; either part may be empty."""

    function: str
    file: str

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        function, _, file = text.partition("@")
        return cls(function, file)

    def matches(self, frame: Frame) -> bool:
        return (not self.file or self.file in f"/{frame.file}") and (
            not self.function or _glob(self.function).match(unqualified(frame.name)) is not None
        )


@dataclass(frozen=True)
class Rule:
    """A condition on a stack; bit masks over the patterns of the rule set (0: nothing asked).

    ``where``: the file and the number in it.
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
    """Who a process or a thread is. Any of the conditions is enough."""

    role: str
    process: str  # for a thread: the process role it really is of; "" keeps it
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
    """Compiled rules. A frame's mask has bit ``i`` set when pattern ``i`` matches it."""

    patterns: tuple[Pattern, ...]
    processes: tuple[RoleRule, ...]
    threads: tuple[RoleRule, ...]
    rules: tuple[Rule, ...]
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

    def frame_mask(self, frame: Frame) -> int:
        return sum(1 << i for i, pattern in enumerate(self.patterns) if pattern.matches(frame))

    @property
    def own(self) -> tuple[Rule, ...]:
        """The rules of the user's file."""
        return tuple(rule for rule in self.rules if not rule.where.startswith(f"{OWN_RULES}:"))

    def deciding(self, process: str, thread: str, stack_mask: int, leaf_mask: int) -> Rule | None:
        """The first rule that matches a stack, by the masks of its frames."""
        asked = process, thread, stack_mask, leaf_mask
        return next((rule for rule in self.rules if rule.matches(*asked)), None)

    def component(self, process: str, thread: str, stack_mask: int, leaf_mask: int) -> str:
        """The component of a stack by the masks of its frames; ``unclassified`` when no rule matches."""
        rule = self.deciding(process, thread, stack_mask, leaf_mask)
        return rule.component if rule else "unclassified"


def unqualified(name: str) -> str:
    """``Scheduler.recv_requests`` -> ``recv_requests``; ``f.<locals>.g`` -> ``g``."""
    return name.rpartition(".")[2] if name.rpartition(".")[2] else name


def load_rules(own_file: str = "") -> RuleSet:
    """The kit's rules, after those of the user's file when one is named. Raises RulesError."""
    compiler = _Compiler()
    for path in [Path(own_file), OWN_RULES] if own_file else [OWN_RULES]:
        compiler.add(path)
    return compiler.finished()


def rule_text(rules: RuleSet, process: str, thread: str, leaf: Frame) -> str:
    """A rule for stacks with this innermost frame, to be pasted into a rules file: only the component is
    still to be said."""
    place = f"{unqualified(leaf.name)}@/{leaf.file.rpartition('/')[2]}"
    lines = ["[[rule]]", 'component = "unclassified"  # say which one it is']
    lines += [f"process = [{json.dumps(process)}]"] if process in rules.process_roles else []
    lines += [f"thread = [{json.dumps(thread)}]"] if thread in rules.thread_roles else []
    return "\n".join([*lines, f"leaf = [{json.dumps(place, ensure_ascii=False)}]"])


@dataclass
class _Compiler:
    patterns: dict[Pattern, int] = field(default_factory=dict)
    processes: list[RoleRule] = field(default_factory=list)
    threads: list[RoleRule] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    marked: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, path: Path) -> None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RulesError(f"{path}: {error}") from error
        _known(document, _SECTIONS, str(path))
        for kind, into in (("process", self.processes), ("thread", self.threads)):
            for number, raw in _tables(document, kind, path):
                into.append(self._role(raw, f"{path}: {kind} {number}"))
        for number, raw in _tables(document, "rule", path):
            self.rules.append(self._rule(raw, f"{path}: rule {number}"))
        marks = document.get("marks", {})
        if not isinstance(marks, dict):
            raise RulesError(f"{path}: marks must be a table")
        for mark, value in marks.items():
            self.marked.append((mark, f"{path}: marks"))
            self.marks[mark] = self.marks.get(mark, 0) | self._mask(value, f"{path}: marks.{mark}")

    def finished(self) -> RuleSet:
        """Raises RulesError for a role or a mark that is not there: such a rule would never match."""
        rules = RuleSet(
            tuple(self.patterns), tuple(self.processes), tuple(self.threads), tuple(self.rules), self.marks
        )
        for key, role, where in self.asked:
            roles = rules.process_roles if key == "process" else rules.thread_roles
            _one_of(role, roles, f"{where}: {key} role", f"no [[{key}]] defines it")
        for mark, where in self.marked:
            _one_of(mark, MARKS, f"{where}: mark", "nothing asks for it")
        return rules

    def _role(self, raw: Mapping[str, Any], where: str) -> RoleRule:
        _known(raw, _ROLE_KEYS, where)
        role, process = raw.get("role"), raw.get("process", "")
        if not isinstance(role, str) or not role or not isinstance(process, str):
            raise RulesError(f"{where}: needs role, a text (and process, when given, is one)")
        excluded = raw.get("excluded", False)
        if not isinstance(excluded, bool):
            raise RulesError(f"{where}: excluded must be true or false, not {excluded!r}")
        return RoleRule(
            role=role,
            process=process,
            name=_texts(raw.get("name", []), where),
            command=_texts(raw.get("command", []), where),
            frames_mask=self._mask(raw.get("frames", []), where),
            excluded=excluded,
        )

    def _rule(self, raw: Mapping[str, Any], where: str) -> Rule:
        _known(raw, _RULE_KEYS, where)
        component = raw.get("component")
        if not isinstance(component, str) or component not in COMPONENTS:
            raise RulesError(f"{where}: component {component!r} is not one of {', '.join(COMPONENTS)}")
        if not raw.get("any") and not raw.get("leaf"):
            raise RulesError(f"{where}: needs any or leaf, or it would match every stack")
        roles = {key: _texts(raw.get(key, []), where) for key in ("process", "thread")}
        self.asked += [(key, role, where) for key, named in roles.items() for role in named]
        return Rule(
            where=where,
            component=component,
            processes=frozenset(roles["process"]),
            threads=frozenset(roles["thread"]),
            any_mask=self._mask(raw.get("any", []), where),
            and_mask=self._mask(raw.get("and", []), where),
            leaf_mask=self._mask(raw.get("leaf", []), where),
            none_mask=self._mask(raw.get("none", []), where),
        )

    def _mask(self, value: Any, where: str) -> int:
        mask = 0
        for text in _texts(value, where):
            pattern = Pattern.parse(text)
            if not pattern.function and not pattern.file:
                raise RulesError(f"{where}: {text!r} is an empty pattern")
            mask |= 1 << self.patterns.setdefault(pattern, len(self.patterns))
        return mask


def _tables(document: Mapping[str, Any], kind: str, path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    value = document.get(kind, [])
    if not isinstance(value, list) or not all(isinstance(raw, dict) for raw in value):
        raise RulesError(f"{path}: {kind} must be written [[{kind}]]")
    return enumerate(value, start=1)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise RulesError(f"{where}: {value!r} must be a list of texts")
    return tuple(value)


def _known(raw: Mapping[str, Any], keys: set[str], where: str) -> None:
    unknown = sorted(set(raw) - keys)
    if unknown:
        raise RulesError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(sorted(keys))}")


def _one_of(name: str, known: Iterable[str], what: str, why: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RulesError(f"{what} {name!r}: {why}; {hint}there are {', '.join(sorted(known))}")


_GLOBS: dict[str, re.Pattern[str]] = {}


def _glob(pattern: str) -> re.Pattern[str]:
    if pattern not in _GLOBS:
        _GLOBS[pattern] = re.compile(fnmatch.translate(pattern))
    return _GLOBS[pattern]
