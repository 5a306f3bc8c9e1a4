"""Secrets that are recognised by their names: of flags, variables, fields, headers and parts of addresses."""

import re

MASK = "[redacted]"
SHORTEST_AFTER_COLON = 8  # of an unquoted one after a colon: what follows one in prose is mostly a word

# Not --tokenizer-path, not --max-total-tokens, not OLDPWD; and in source and JSON, "key" and "token" alone
# are ordinary words.
_CERTAIN = (
    r"[\w-]*(?:(?:api|access|secret|private|account|signing|encryption)[_-]?key"
    r"|(?:api|auth|access|refresh|session|security|hf)[_-]?token"
    r"|secrets?|secret[_-]key[_-]base|passw(?:or)?ds?|passphrase|credentials?|(?:db|pg|smtp|root|admin)pass)"
)
_LONG_NAME = rf"(?:{_CERTAIN}|[\w-]*[_-](?:key|token)|[\w-]+[_-](?:pass|pwd|pat))"
_NAME = rf"(?:{_LONG_NAME}|key|token)"
_VARIABLE = re.compile(r"[A-Z0-9_]*(?:KEY|TOKEN)|[A-Z0-9_]+_AUTH")  # of the environment

# A quoted text, up to the same quotation mark, with as many backslashes before it as in JSON within JSON.
# What is cut off, without an end, is a secret up to the end of the line.
_QUOTED = (
    r"(?:(?P<open>[\"'])(?:\\.|(?!(?P=open))[^\\\n])*+"
    r"|(?P<escaped>\\+[\"'])(?:\\{3,}[\"']|(?!(?P=escaped))[^\n])*+)"
)
# Without quotes it ends at a blank, and at a comma or a bracket that ends the value of a list or a call.
_END_OF_VALUE = r"[,;)](?=\s|$|[\w-]+=|[,;)\]}])"
_QUOTED_VALUE = re.compile(_QUOTED)
_VALUE = re.compile(rf"(?:(?!{_END_OF_VALUE})[^\s\"'\\])+", re.MULTILINE)
_VALUE_OF_FLAG = re.compile(r"[^\s\"'\\]+")
_ENDINGS = (
    "key token secret secrets key_base key-base password passwords passwd passwds passphrase credential "
    "credentials pass pwd pat auth"
)
_ENDS_LIKE_A_SECRET = "|".join(f"(?<={ending})" for ending in _ENDINGS.split())
# The name and what is between it and its value: name='value', "name": "value", name=value, --name value,
# '--name', 'value'. Like all patterns here, linear in the length of a line.
_HEAD = re.compile(
    rf"(?<![\w-])(?P<name>[\w-]++)(?:{_ENDS_LIKE_A_SECRET})"
    r"(?:(?P<quoted>\\*['\"]?\s*[=:]\s*)(?=\\*[\"'])|(?P<sign>=|:\s?)|(?P<of_flag>\\*['\"],\s*(?=\\*['\"])|\s+)(?!--))",
    re.IGNORECASE,
)
_QUERY = re.compile(
    rf"(?P<before>(?:[?&]|&amp;|%3F|%26)(?:{_NAME}|[\w-]*sig(?:nature)?)(?:=|%3D))(?:(?!%26)[^&\s\"'\\#])+",
    re.IGNORECASE,
)
_IN_QUERY = ("?", "&", "&amp;")
_LOGIN = re.compile(r"\b(?P<before>\w+://)[^/?#\s\"']+(?=@)")  # https://user:password@host, to the last @
_HEADER = re.compile(
    r"(?P<before>(?<![\w-])(?:(?:proxy-)?authorization\s*="
    r"|(?:(?:proxy-)?authorization|x-[\w-]*(?:key|token)|api-?key|(?:set-)?cookie)\\*['\"]?\s*[:,])"
    r"\s*b?\\*['\"]?)"
    r"(?:(?P<scheme>(?:basic|token|bearer|digest|negotiate)\s+)[^\s\"'\\]+|(?=[^\s\"'\\]*\d)[^\s\"'\\]{8,})",
    re.IGNORECASE,
)
_LOWER_CASE_VARIABLE = re.compile(r"\w+_(?:pass|passwd|pwd)")  # db_pass=x, not two-pass=4
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_LONG_SECRET_NAME = re.compile(_LONG_NAME, re.IGNORECASE)
_CERTAIN_NAME = re.compile(_CERTAIN, re.IGNORECASE)
_SPECIAL_TOKEN = re.compile(
    r"(?:.*[_-])?(?:bos|eos|pad|unk|sep|cls|mask|image|video|audio)[_-]token", re.IGNORECASE
)
_NO_VALUES = {"None", "null", "True", "False"}


def is_secret_variable(name: str) -> bool:
    """Whether a variable of the environment holds a secret, by its name."""
    return bool(_SECRET_NAME.fullmatch(name) or _VARIABLE.fullmatch(name))


def is_secret_flag(word: str) -> bool:
    """Whether the value of this flag is a secret."""
    return word.startswith("--") and bool(_SECRET_NAME.fullmatch(word.lstrip("-")))


def without_named_secrets(text: str) -> str:
    """The text without the secret values of flags, variables, fields, headers and parts of addresses."""
    text = _without_assigned(text)
    text = _HEADER.sub(lambda match: f"{match['before']}{match['scheme'] or ''}{MASK}", text)
    text = _QUERY.sub(rf"\g<before>{MASK}", text)
    return _LOGIN.sub(rf"\g<before>{MASK}", text)


def _without_assigned(text: str) -> str:
    kept: list[str] = []
    end = 0
    for head in _HEAD.finditer(text):
        start = head.end()
        if head.start() < end:  # within the value of the one before
            continue
        value = _secret_value(text, head)
        if value is None:
            continue
        opening = value.groupdict().get("open") or value.groupdict().get("escaped") or ""
        kept += [text[end:start], opening, MASK]
        end = value.end()
    return "".join([*kept, text[end:]])


def _secret_value(text: str, head: re.Match[str]) -> re.Match[str] | None:
    """The secret after a name; None if it is none. The quotation mark at its end is not part of it."""
    escaped = text.startswith("\\", max(head.start() - 1, 0))  # in JSON a name may follow \n
    name = head["name"][escaped:]
    value = _QUOTED_VALUE.match(text, head.end())
    if is_secret_flag(name):
        return value or _VALUE_OF_FLAG.match(text, head.end())
    if head["of_flag"] or _is_in_query(text, head.start()):
        return None
    long_name = _LONG_SECRET_NAME.fullmatch(name) or _VARIABLE.fullmatch(name)
    if not long_name or _SPECIAL_TOKEN.fullmatch(name):
        return None
    if value:
        return value
    # Without quotes only for an environment variable, or a name that can only be a secret's.
    value = _VALUE.match(text, head.end())
    certain = _CERTAIN_NAME.fullmatch(name)
    if value is None or value[0] in _NO_VALUES:
        return None
    if head["sign"] != "=":  # a header or YAML
        return value if certain and len(value[0]) >= SHORTEST_AFTER_COLON else None
    return value if name.isupper() or certain or _LOWER_CASE_VARIABLE.fullmatch(name) else None


def _is_in_query(text: str, start: int) -> bool:
    """Whether a part of an address begins here, whose value ends at the next &."""
    return any(text.startswith(sign, max(start - len(sign), 0)) for sign in _IN_QUERY)
