"""Secrets that are recognised by their form: tokens of well-known issuers, and private keys.

Most patterns are detect-secrets'. Those written here are of issuers that it does not know, or knows only
where the token stands alone.
"""

import importlib
import re
from functools import cache

from scoreprof_nb.redact.names import MASK

# A token begins a word, or follows an escaped line break or tab: \n in JSON.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
_TOKENS = (
    r"Bearer\s+[A-Za-z0-9._~+/=-]{12,}",
    r"hf_[A-Za-z0-9]{16,}",  # Hugging Face
    r"api_org_[A-Za-z0-9]{16,}",
    r"sk-(?=[\w-]*\d)[\w-]{12,}",  # OpenAI, Anthropic
    r"github_pat_\w{20,}",
    r"xapp-\d-[\w-]{10,}",  # Slack
    r"AIza[\w-]{35,}",  # Google: API key, access token, refresh token, client secret
    r"ya29\.[\w.-]{20,}",
    r"1//0[\w-]{20,}",
    r"GOCSPX-[\w-]{20,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"dckr_[po]at_[\w-]{20,}",  # Docker
    r"dapi[0-9a-f]{32}",  # Databricks
    r"r8_\w{30,}",  # Replicate
    r"nvapi-[\w-]{40,}",  # NVIDIA
    r"hv[bsr]\.[\w-]{20,}",  # Vault
)
_TOKEN = re.compile(f"{_START}(?:{'|'.join(_TOKENS)})")
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----).*?(-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)",
    re.DOTALL,
)

# detect-secrets' plugins whose patterns are those of one issuer's tokens. Its others look for names, as we
# do, or take checksums and addresses for secrets.
_PLUGINS = (
    *("aws", "azure_storage_key", "discord", "github_token", "gitlab_token", "jwt", "openai"),
    *("pypi_token", "sendgrid", "slack", "square_oauth", "stripe", "twilio"),
)
_MAY_HOLD_TOKEN = re.compile(r"(?<![\w+/=.-])(?=[\w+/=.-]{16})[\w+/=.-]*\d|xox|eyJ")
_SHORTEST_GROUP = 16  # a group of a pattern that is shorter is a prefix, not the secret


@cache
def _plugin_patterns() -> tuple[re.Pattern[str], ...]:
    """Imported when the first text needs them: it takes 0.3 s."""
    patterns: list[re.Pattern[str]] = []
    for name in _PLUGINS:
        module = importlib.import_module(f"detect_secrets.plugins.{name}")
        for detector in vars(module).values():
            if isinstance(detector, type) and detector.__module__ == module.__name__:
                patterns.extend(getattr(detector, "denylist", ()))
    # Some patterns end before the token does: a match goes on to the end of the word.
    return tuple(re.compile(rf"(?:{pattern.pattern})[\w+/=-]*", pattern.flags) for pattern in patterns)


def without_private_keys(text: str) -> str:
    """The text without the bodies of private keys, also where a key is cut off."""
    return _PRIVATE_KEY.sub(rf"\1{MASK}\2", text)


def without_tokens(text: str) -> str:
    """The text without tokens of well-known issuers."""
    text = _TOKEN.sub(MASK, text)
    if not _MAY_HOLD_TOKEN.search(text):
        return text
    for pattern in _plugin_patterns():
        text = pattern.sub(_masked_match, text)
    return text


def _masked_match(match: re.Match[str]) -> str:
    """The match without its secret: its longest group, or all of it."""
    secret = max(filter(None, match.groups()), key=len, default="")
    return match[0].replace(secret, MASK) if len(secret) >= _SHORTEST_GROUP else MASK
