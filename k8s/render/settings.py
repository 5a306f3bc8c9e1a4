"""The settings of Kubernetes: settings.env, replaced by NAME=VALUE words of the command line."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("IMAGE", "RESULTS_BUCKET")
LOGS = ("text", "json")
KNOWN = frozenset(
    (
        *NEEDED,
        "MODELS_BUCKET",
        "MODEL_CACHE",
        "SECRET",
        "PARALLEL",
        "LOG",
        "MODEL",
        "RUN",
        "NAMESPACE",
        "SERVICE_ACCOUNT",
        "MACHINE",
        "CAPACITY",
        "RESERVATION",
        "ACCELERATOR",
        "TOPOLOGY",
        "CHIPS",
        "CPU",
        "MEMORY",
        "WAIT_S",
        "PARAMETERS",
    )
)
PLACEHOLDER = "REPLACE-ME"
_IMAGE = re.compile(
    r"([-a-z0-9.]+(:[0-9]+)?/)?[-a-z0-9._/]+(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[0-9a-f]{64})?"
)
_RUN = re.compile(
    r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?"
)  # a Pod of an index has a suffix, and 63 is the limit
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_BUCKET = re.compile(r"[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]")


class Refused(Exception):
    """What the user asks for cannot become a Job. The message is one line that names the setting."""


@dataclass(frozen=True)
class Settings:
    """The values by name, without empty ones, and which of them the command line gave."""

    values: Mapping[str, str]
    given: frozenset[str]

    def __getitem__(self, name: str) -> str:
        """The value, empty if there is none."""
        return self.values.get(name, "")


def read_settings(file: Path, words: Sequence[tuple[str, str]]) -> Settings:
    """The file's lines and the (name, value) pairs of the command line, which replace them.

    Raises Refused for an unknown name.
    """
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    from_file = [line.partition("=")[::2] for line in lines if line and not line.startswith("#")]
    for name, _ in (*from_file, *words):
        if name not in KNOWN:
            raise Refused(f"no setting is called {name}; there are {', '.join(sorted(KNOWN))}")
    values = {"RUN": _new_run(), **dict(from_file), **dict(words)}
    given = frozenset(name for name, _ in words)
    return Settings({name: value for name, value in values.items() if value}, given)


def _new_run() -> str:
    """A name that no other Job has: the time, and two bytes that keep two Jobs of one second apart."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def check_settings(settings: Settings, needed: Sequence[str]) -> None:
    """Raise Refused if a needed setting is missing or a value is one that Kubernetes would not accept."""
    values = {"RUN": "", "NAMESPACE": "", "SERVICE_ACCOUNT": "", **settings.values}
    missing = [name for name in needed if PLACEHOLDER in values.get(name, PLACEHOLDER)]
    if missing:
        raise Refused(f"not set: {' '.join(missing)} (set them in k8s/settings.env or as NAME=VALUE)")
    for name, value in values.items():
        if PLACEHOLDER in value:
            raise Refused(f"{name}={value!r} is still to be filled in")
    if not _RUN.fullmatch(values["RUN"]):
        raise Refused(f"RUN={values['RUN']!r}: use at most 40 of a-z, 0-9 and -, with no - at either end")
    for name in ("NAMESPACE", "SERVICE_ACCOUNT", "SECRET", "MODEL_CACHE"):
        if name in values and not _DNS_LABEL.fullmatch(values[name]):
            raise Refused(f"{name}={values[name]!r}: use at most 63 of a-z, 0-9 and -")
    if values.get("LOG", LOGS[0]) not in LOGS:
        raise Refused(f"LOG={values['LOG']!r} must be one of {', '.join(LOGS)}")
    for name in ("MODELS_BUCKET", "RESULTS_BUCKET"):
        if name in values and not _BUCKET.fullmatch(values[name]):
            raise Refused(f"{name}={values[name]!r} is not a bucket's name: give it without gs://")
    _check_image(values["IMAGE"])


def _check_image(image: str) -> None:
    if not _IMAGE.fullmatch(image):
        raise Refused(f"IMAGE={image!r} is not an image name: use lower case, then :TAG")
    _, _, last = image.rpartition("/")
    if "@sha256:" in last:
        return
    if ":" not in last:
        raise Refused(f"IMAGE={image!r} has no tag, which means latest: use REPOSITORY:TAG")
    if last.endswith(":latest"):
        raise Refused(
            f"IMAGE={image!r}: latest may be another image by the time of a retry: use a unique tag"
        )
