"""The structure of a rules file: TOML, checked for its form before it is compiled.

Whether the names in it exist (components, groups, roles, marks) is checked when the files are compiled
together, in ``rules.py``.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from scoreprof_nb.engines.what_if import WhatIfEntry


class RulesError(ValueError):
    """A rules file that cannot be used; the message names the file, the entry, the field and the fix."""


def _pattern(text: str) -> str:
    if not text.strip("@"):
        raise ValueError(f"{text!r} is an empty pattern")
    return text


Patterns = list[Annotated[str, AfterValidator(_pattern)]]
Text = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ComponentEntry(_Entry):
    """``[[component]]``: a new component. ``colour``: None for a default one."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    group: Text
    meaning: Text
    colour: Annotated[str, Field(pattern="^#[0-9A-Fa-f]{6}$")] | None = None
    advice: str = ""


class RoleEntry(_Entry):
    """``[[process]]`` or ``[[thread]]``: who a process or a thread is."""

    role: Text
    process: str = ""
    name: list[str] = []
    command: list[str] = []
    frames: Patterns = []
    excluded: bool = False


class RuleEntry(_Entry):
    """``[[rule]]``: a condition on a stack, and the component of the stacks that meet it."""

    component: str
    process: list[str] = []
    thread: list[str] = []
    any: Patterns = []
    all_of: Annotated[Patterns, Field(alias="and")] = []
    leaf: Patterns = []
    none: Patterns = []

    @model_validator(mode="after")
    def _selective(self) -> "RuleEntry":
        if not self.any and not self.leaf:
            raise ValueError("needs any or leaf, or it would match every stack")
        return self


class RulesFile(_Entry):
    """One file."""

    component: list[ComponentEntry] = []
    process: list[RoleEntry] = []
    thread: list[RoleEntry] = []
    rule: list[RuleEntry] = []
    what_if: list[WhatIfEntry] = []  # of what-if experiments; the rules do not use them
    marks: dict[str, Patterns] = {}


_ENTRIES: Mapping[str, type[BaseModel]] = {
    "component": ComponentEntry,
    "process": RoleEntry,
    "thread": RoleEntry,
    "rule": RuleEntry,
    "what_if": WhatIfEntry,
}


def read_rules_file(path: Path) -> RulesFile:
    """Raises RulesError, with a message of one line, for a file that cannot be read or has another form."""
    try:
        return RulesFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RulesError(f"{path}: {_one_line(error.errors()[0])}") from None
    except (OSError, ValueError, RecursionError) as error:  # not TOML; or a number of thousands of digits
        raise RulesError(f"{path}: {error}") from error


def _one_line(error: ErrorDetails) -> str:
    """``rule 2: any: must be a list, not 'f'``: entries are counted from 1."""
    section, *place = map(str, error["loc"])
    if error["loc"][1:] and isinstance(error["loc"][1], int):
        where, fields = [f"{section} {error['loc'][1] + 1}"], place[1:]
    else:
        where, fields = [], [section, *place]
    problem = _problem(error, section, where, fields)
    return ": ".join([*where, *(field for field in fields if not field.isdecimal()), problem])


def _problem(error: ErrorDetails, section: str, where: list[str], fields: list[str]) -> str:
    value: Any = error["input"]
    match error["type"]:
        case "extra_forbidden":
            model = _ENTRIES[section] if where else RulesFile
            keys = sorted(field.alias or name for name, field in model.model_fields.items())
            return f"unknown key; the keys are {', '.join(keys)}"
        case "missing":
            return "is required"
        case "value_error":
            return str(error.get("ctx", {}).get("error"))
        case "list_type" if len(error["loc"]) == 1:
            return f"must be written [[{section}]]"
        case "model_type":
            return f"must be written [[{section}]]"
        case "string_too_short":
            return "must not be empty"
        case "string_pattern_mismatch":
            return f"{value!r} does not match {error.get('ctx', {}).get('pattern')}"
        case "list_type":
            return f"must be a list of strings, not {value!r}"
        case "dict_type":
            return "must be a table"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {value!r}"
