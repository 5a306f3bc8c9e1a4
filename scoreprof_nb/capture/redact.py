"""Secrets out of everything that is kept: logs, command lines, recordings, the report."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

MASK = "[redacted]"

# --api-key X, --hf-token=X, api_key='X', "password": "X". Not --tokenizer-path, not --max-total-tokens.
_NAME = r"(?:[\w-]*[_-])?(?:key|secret|password|passwd|token)"
_FLAG = re.compile(rf"(--{_NAME})(=|\s+)(?!--)(\S+)", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"""\b((?:[\w-]*[_-])(?:key|secret|password|passwd|token))(['"]?\s*[=:]\s*['"])([^'"]+)""", re.IGNORECASE
)
_BARE = re.compile(r"\b(Bearer\s+|hf_|sk-)([A-Za-z0-9._-]{12,})")


@dataclass(frozen=True)
class Redactor:
    """Replaces the known secret values, and whatever looks like a secret by its name."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def for_flags(cls, flags: str, more: Iterable[str] = ()) -> Self:
        """Knows the values of the secret flags in a server's command line."""
        try:
            words = shlex.split(flags)
        except ValueError:
            words = flags.split()
        found = {match[3] for match in _FLAG.finditer(" ".join(words))} | set(more)
        return cls(tuple(sorted((value for value in found if len(value) >= 4), key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        text = _FLAG.sub(rf"\1\2{MASK}", text)
        text = _ASSIGNMENT.sub(rf"\1\2{MASK}", text)
        return _BARE.sub(rf"\1{MASK}", text)
