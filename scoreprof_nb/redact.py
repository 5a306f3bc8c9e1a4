"""Secrets out of everything that is kept: logs, command lines, recordings, the report."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

MASK = "[redacted]"

# --api-key X, --hf-token="X", api_key='X', "password": "X". Not --tokenizer-path, not --max-total-tokens.
_NAME = r"(?:[\w-]*[_-])?(?:key|secret|password|passwd|token)"
_VALUE = r"""("[^"]*"|'[^']*'|[^\s"'\\]+)"""
_FLAG = re.compile(rf"(--{_NAME})(=|\s+)(?!--){_VALUE}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"""\b((?:[\w-]*[_-])(?:key|token)|[\w-]*(?:secret|password|passwd))(['"]?\s*[=:]\s*['"])([^'"]+)""",
    re.IGNORECASE,
)
_BARE = re.compile(r"\b(Bearer\s+[A-Za-z0-9._-]{12,}|hf_[A-Za-z0-9]{16,}\b|sk-[A-Za-z0-9_-]{12,})")
_LOGIN = re.compile(r"\b(\w+://)[^/\s@\"']+@")  # https://user:password@host
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SECRET_FLAG = re.compile(rf"--{_NAME}", re.IGNORECASE)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


@dataclass(frozen=True)
class Redactor:
    """Replaces the known secret values, and whatever looks like a secret by its name."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def for_server(cls, flags: str, environment: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Knows the values of the secret flags in a server's command line, and of its secret variables."""
        words = _words(flags)
        found = {value for name, value in environment.items() if _SECRET_NAME.fullmatch(name)}
        for word, following in zip(words, [*words[1:], ""], strict=False):
            name, given, value = word.partition("=")
            if _SECRET_FLAG.fullmatch(name):
                found.add(value if given else following)
        return cls(tuple(sorted((value for value in found if len(value) >= 4), key=len, reverse=True)))

    @classmethod
    def for_parameters(cls, values: Mapping[str, Any]) -> Self:
        """Knows the secrets in a notebook's parameters: its server's, or those of control and test."""
        secrets: set[str] = set()
        for side in ("", "control_", "test_"):
            flags, environment = (
                str(values.get(f"{side}{name}") or "") for name in ("server_flags", "server_environment")
            )
            named = {name: value for name, _, value in (word.partition("=") for word in _words(environment))}
            secrets.update(cls.for_server(flags, named).secrets)
        return cls(tuple(sorted(secrets, key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        text = _FLAG.sub(rf"\1\2{MASK}", text)
        text = _ASSIGNMENT.sub(rf"\1\2{MASK}", text)
        text = _LOGIN.sub(rf"\1{MASK}@", text)
        return _BARE.sub(MASK, text)

    def deep(self, value: Any) -> Any:
        """The same for every text within lists and mappings (as JSON has them)."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.deep(item) for item in value]
        if isinstance(value, dict):
            return {key: self.deep(item) for key, item in value.items()}
        return value
