"""Secrets are removed from everything that is kept: logs, command lines, recordings, the report.

A secret is recognised by its value, where that is known (flags and environment of the server); by its
name; and by its form, with the patterns of detect-secrets.
"""

import importlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Self

MASK = "[redacted]"
SHORTEST_GIVEN = 4  # characters of a secret in the user's flags and environment
SHORTEST_AFTER_COLON = 8  # of an unquoted one after a colon: what follows one in prose is mostly a word
SHORTEST_INHERITED = 8  # of one in the environment that the server inherits

# Names of secrets. Not --tokenizer-path, not --max-total-tokens, not OLDPWD; and in source and JSON,
# "key" and "token" alone are ordinary words.
_CERTAIN = (
    r"[\w-]*(?:api[_-]?key|auth[_-]?token|secrets?|secret_key_base|passw(?:or)?ds?|passphrase|credentials?)"
)
_LONG_NAME = rf"(?:{_CERTAIN}|[\w-]*[_-](?:key|token)|[\w-]+[_-](?:pass|pwd|pat))"
_NAME = rf"(?:{_LONG_NAME}|key|token)"
_VALUE = r"""("[^"]*"|'[^']*'|[^\s"'\\]+)"""
_FLAG = re.compile(rf"(--{_NAME})(=|\s+)(?!--){_VALUE}", re.IGNORECASE)
_ENDINGS = (
    "key token secret secrets secret_key_base password passwords passwd passphrase credential credentials "
    "pass pwd pat"
)
_ENDS_LIKE_A_SECRET = "|".join(f"(?<={ending})" for ending in _ENDINGS.split())
_ASSIGNMENT = re.compile(  # name='value', "name": "value", name=value; linear in the length of a line
    rf"""(?<![\w-])([\w-]++)(?:{_ENDS_LIKE_A_SECRET})"""
    r"""(?:(['"]?\s*[=:]\s*['"])([^'"]+)|(=|:\s?)([^\s"'\\,;)&]+))""",
    re.IGNORECASE,
)
_QUERY = re.compile(rf"([?&](?:{_NAME}|[\w-]*sig(?:nature)?)=)([^&\s\"'\\#]+)", re.IGNORECASE)
_LOGIN = re.compile(r"\b(\w+://)[^/?#\s\"']+@")  # https://user:password@host, to the last @
_HEADER = re.compile(r"(\bauthorization['\"]?\s*[=:]\s*['\"]?(?:basic|token)\s+)([\w+/=.~-]+)", re.IGNORECASE)
_BARE = re.compile(
    r"\b(Bearer\s+[A-Za-z0-9._~+/=-]{12,}|hf_[A-Za-z0-9]{16,}\b|sk-[A-Za-z0-9_-]{12,}|github_pat_\w{20,})"
)
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----).*?(-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)",
    re.DOTALL,
)
_LOWER_CASE_VARIABLE = re.compile(r"\w+_(?:pass|passwd|pwd)")  # db_pass=x, not two-pass=4
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_LONG_SECRET_NAME = re.compile(_LONG_NAME, re.IGNORECASE)
_CERTAIN_NAME = re.compile(_CERTAIN, re.IGNORECASE)
_SECRET_FLAG = re.compile(rf"--{_NAME}", re.IGNORECASE)
_SPECIAL_TOKEN = re.compile(
    r"(?:.*[_-])?(?:bos|eos|pad|unk|sep|cls|mask|image|video|audio)[_-]token", re.IGNORECASE
)

# detect-secrets' plugins whose patterns are those of one issuer's tokens. Its others look for names, as we
# do, or take checksums and addresses for secrets.
_PLUGINS = (
    *("aws", "azure_storage_key", "discord", "github_token", "gitlab_token", "jwt", "openai"),
    *("pypi_token", "sendgrid", "slack", "square_oauth", "stripe", "twilio"),
)
_MAY_HOLD_TOKEN = re.compile(r"(?<![\w+/=.-])(?=[\w+/=.-]{16})[\w+/=.-]*\d|xox|eyJ")
_NO_VALUES = {"None", "null", "True", "False"}
_SHORTEST_GROUP = 16  # a group of a pattern that is shorter is a prefix, not the secret


@cache
def _token_patterns() -> tuple[re.Pattern[str], ...]:
    """Imported when the first text needs them: it takes 0.3 s."""
    patterns: list[re.Pattern[str]] = []
    for name in _PLUGINS:
        module = importlib.import_module(f"detect_secrets.plugins.{name}")
        for detector in vars(module).values():
            if isinstance(detector, type) and detector.__module__ == module.__name__:
                patterns.extend(getattr(detector, "denylist", ()))
    # Some patterns end before the token does: a match goes on to the end of the word.
    return tuple(re.compile(rf"(?:{pattern.pattern})[\w+/=-]*", pattern.flags) for pattern in patterns)


def _without_tokens(text: str) -> str:
    if not _MAY_HOLD_TOKEN.search(text):
        return text
    for pattern in _token_patterns():
        text = pattern.sub(_masked_match, text)
    return text


def _masked_match(match: re.Match[str]) -> str:
    """The match without its secret: its longest group, or all of it."""
    secret = max(filter(None, match.groups()), key=len, default="")
    return match[0].replace(secret, MASK) if len(secret) >= _SHORTEST_GROUP else MASK


def _masked_assignment(match: re.Match[str]) -> str:
    name, quoted, value = match[1], match[2], match[5]
    if not _LONG_SECRET_NAME.fullmatch(name) or _SPECIAL_TOKEN.fullmatch(name):
        return match[0]
    if quoted:
        return name + quoted + MASK
    # Without quotes only for an environment variable, or a name that can only be a secret's.
    escaped = match.string.startswith("\\", max(match.start() - 1, 0))  # in JSON a name may follow \n
    variable = name[escaped:]
    certain = _CERTAIN_NAME.fullmatch(variable)
    if match[4] == "=":
        secret = variable.isupper() or certain or _LOWER_CASE_VARIABLE.fullmatch(variable)
    else:  # a header or YAML
        secret = certain and len(value) >= SHORTEST_AFTER_COLON
    return f"{name}{match[4]}{MASK}" if secret and value not in _NO_VALUES else match[0]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _is_path(value: str) -> bool:
    """Whether a value names a file that may hold a secret: the name is none."""
    return value.startswith(("/", "~/", "./"))


def _inherited_secrets(environment: Mapping[str, str]) -> set[str]:
    return {
        value
        for name, value in environment.items()
        if _SECRET_NAME.fullmatch(name) and len(value) >= SHORTEST_INHERITED and not _is_path(value)
    }


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
        secrets = {value for name, value in environment.items() if _SECRET_NAME.fullmatch(name)}
        for word, following in zip(words, [*words, ""][1:], strict=True):
            name, has_value, value = word.partition("=")
            if _SECRET_FLAG.fullmatch(name):
                secrets.add(value if has_value else following)
        secrets = {value for value in secrets if len(value) >= SHORTEST_GIVEN and not value.startswith("--")}
        return cls(_longest_first(secrets | _inherited_secrets(inherited)))

    @classmethod
    def for_parameters(cls, values: Mapping[str, Any]) -> Self:
        """Knows the secrets in a notebook's parameters: its server's, or those of control and test."""
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
        secrets.update(cls.for_server("", {"API_KEY": api_key}).secrets)
        return cls(_longest_first(secrets))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        text = _PRIVATE_KEY.sub(rf"\1{MASK}\2", text)
        text = _FLAG.sub(rf"\1\2{MASK}", text)
        text = _ASSIGNMENT.sub(_masked_assignment, text)
        text = _HEADER.sub(rf"\1{MASK}", text)
        text = _QUERY.sub(rf"\1{MASK}", text)
        text = _LOGIN.sub(rf"\1{MASK}@", text)
        return _without_tokens(_BARE.sub(MASK, text))

    def deep(self, value: Any) -> Any:
        """The same for every text within lists and mappings (as JSON has them)."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.deep(item) for item in value]
        if isinstance(value, dict):
            return {key: self.deep(item) for key, item in value.items()}
        return value


def _longest_first(secrets: set[str]) -> tuple[str, ...]:
    """So that a secret that contains another one is replaced as a whole."""
    return tuple(sorted(secrets, key=lambda secret: (-len(secret), secret)))
