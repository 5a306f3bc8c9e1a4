"""A secret is recognised by its value, where that is known (flags, environment); by its name; by its form."""

import html
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote

from scoreprof_nb.redact.forms import without_private_keys, without_tokens
from scoreprof_nb.redact.names import (
    MASK,
    is_secret_flag,
    is_secret_variable,
    without_named_secrets,
)
from scoreprof_nb.redact.pictures import is_picture

SHORTEST_GIVEN = 4  # characters of a secret in the user's flags and environment
SHORTEST_INHERITED = 8  # of one in the environment that the server inherits, or in an address
SHORTEST_LINE = 16  # of a line of a secret that has several
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/?#\s\"']*:([^/?#\s\"']+)@")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _is_path(value: str) -> bool:
    """Whether a value names a file that may hold a secret: the name is none."""
    return value.startswith(("/", "~/", "./"))


def _inherited_secrets(environment: Mapping[str, str]) -> set[str]:
    secrets = {
        value for name, value in environment.items() if is_secret_variable(name) and not _is_path(value)
    }
    for value in environment.values():
        secrets.update(_PASSWORD_IN_ADDRESS.findall(value))
    return {secret for secret in secrets if len(secret) >= SHORTEST_INHERITED}


@dataclass(frozen=True)
class Redactor:
    """Replaces the known secret values, and whatever looks like a secret by its name or form."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def for_server(
        cls,
        flags: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        inherited: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Knows the values of the secret flags in a server's command line, and of its secret variables.

        ``environment``: the variables set for the server; ``inherited``: those of this process.
        """
        words = _words(flags)
        secrets = {value for name, value in environment.items() if is_secret_variable(name)}
        for word, following in zip(words, [*words, ""][1:], strict=True):
            name, has_value, value = word.partition("=")
            if is_secret_flag(name):
                secrets.add(value if has_value else following)
        secrets = {value for value in secrets if len(value) >= SHORTEST_GIVEN and not value.startswith("--")}
        return cls(_as_written(secrets | _inherited_secrets(inherited)))

    @classmethod
    def for_parameters(cls, values: Mapping[str, Any]) -> Self:
        """Knows the secrets in a notebook's parameters, its server's or those of control and test, and of the
        environment of this process, which is the server's too.
        """
        secrets: set[str] = set()
        for side in ("", "control_", "test_"):
            flags, environment = (
                str(values.get(f"{side}{name}") or "") for name in ("server_flags", "server_environment")
            )
            variables = {
                name: value for name, _, value in (word.partition("=") for word in _words(environment))
            }
            secrets.update(cls.for_server(flags, variables).secrets)
        api_key = os.environ.get(str(values.get("api_key_env") or ""), "")
        secrets.update(cls.for_server("", {"API_KEY": api_key}, inherited=os.environ).secrets)
        return cls(_longest_first(secrets))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return without_tokens(without_named_secrets(without_private_keys(self._without_known(text))))

    def deep(self, value: Any) -> Any:
        """The same for every text within lists and mappings (as JSON has them).

        In a picture, only known secrets are looked for. To look for forms and names in pictures takes half
        of the time of a whole notebook.
        """
        if isinstance(value, str):
            return self._without_known(value) if is_picture(value) else self(value)
        if isinstance(value, list):
            return [self.deep(item) for item in value]
        if isinstance(value, dict):
            return {key: self.deep(item) for key, item in value.items()}
        return value

    def _without_known(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text


def _as_written(secrets: Iterable[str]) -> tuple[str, ...]:
    return _longest_first({written for secret in secrets for written in _spellings(secret)})


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it is, in JSON, in Python, in HTML and in an address; and each line of a long one, since a
    log is read line by line.
    """
    yield secret
    yield from (json.dumps(secret)[1:-1], repr(secret)[1:-1], html.escape(secret), quote(secret, safe=""))
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)


def _longest_first(secrets: set[str]) -> tuple[str, ...]:
    """So that a secret that contains another one is replaced as a whole."""
    return tuple(sorted(secrets, key=lambda secret: (-len(secret), secret)))
