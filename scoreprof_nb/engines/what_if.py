"""The functions that a what-if experiment can delay, and a user's additions to them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


@dataclass(frozen=True)
class Target:
    """A function of one component: MODULE:CLASS.METHOD, or MODULE:FUNCTION.

    Where branches have the same work in functions of different names, each has a line: those that a branch
    lacks are left out, and the report says so.
    """

    component: str
    function: str

    @property
    def name(self) -> str:
        """The unqualified name of the function."""
        return self.function.rpartition(":")[2].rpartition(".")[2]


class WhatIfEntry(BaseModel):
    """``[[what_if]]`` of a rules file: a function to delay."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    component: Annotated[str, Field(min_length=1)]
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]


class WhatIfFileError(ValueError):
    """A rules file whose [[what_if]] entries cannot be used."""


def targets_of(path: str) -> tuple[Target, ...]:
    """The [[what_if]] entries of a user's rules file; none without a file. Raises WhatIfFileError."""
    if not path:
        return ()
    try:
        entries: Any = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("what_if", [])
        checked = [WhatIfEntry.model_validate(entry) for entry in entries]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WhatIfFileError(f"{path}: {error}") from error
    except (ValidationError, TypeError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else {"msg": str(error), "loc": ()}
        place = ".".join(map(str, detail["loc"]))
        raise WhatIfFileError(f"{path}: what_if: {place}: {detail['msg']}") from None
    return tuple(Target(entry.component, entry.function) for entry in checked)


def chosen(targets: Sequence[Target], components: str) -> tuple[Target, ...]:
    """The targets of some components, comma-separated ("": all), the last one of each function.

    Raises ValueError for a component that no target has.
    """
    known = {target.component: None for target in targets}
    names = [name.strip() for name in components.split(",") if name.strip()] or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} has no function to delay; the components are {', '.join(known)}")
    by_function = {target.function: target for target in targets if target.component in names}
    return tuple(by_function.values())
