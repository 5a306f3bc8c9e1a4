"""The parameters of the profiling notebook: names, types, defaults, units, and their checks.

``check`` looks only at the values themselves; what needs the machine (an interpreter, a port, the
right to trace) is checked by ``capture.preflight`` before anything is launched.
"""

import dataclasses
import difflib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PHASES = ("single", "small", "large", "mixed")
FILE_PHASE = "file"
DEVICES = ("cpu", "tpu")
LARGEST = 10**300
PY_SPY_MODES = ("nonblocking", "blocking", "native", "off")

# The parameters that decide what is measured: a run that is resumed must not change them.
MEASURED = (
    "server_url",
    "model_path",
    "server_python",
    "server_flags",
    "server_environment",
    "device",
    "phase_s",
    "single_items",
    "small_items",
    "large_items",
    "concurrency",
    "label_token_ids",
    "requests_file",
    "rate_hz",
    "py_spy_mode",
    "seed",
)


class ParameterError(ValueError):
    """A parameter the user has to change. The message names it, its value, and the mend."""

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(f"parameter {name}={value!r}: {problem}")
        self.name = name
        self.value = value
        self.problem = problem

    def _render_traceback_(self) -> list[str]:
        """In a notebook: the one line, no traceback."""
        return [f"ParameterError: {self}"]


def parameter(default: Any, help: str) -> Any:
    """A field of a dataclass of parameters, with what the user is told of it."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything a run can be told. The notebook's parameter cell shows the same list."""

    run_dir: str = parameter("", "folder of the run; finished phases are kept. Empty: runs/<time>-<label>")
    label: str = parameter("run", "name of the run in reports and comparisons, such as the branch")
    phases: str = parameter(
        "", "comma-separated: single, small, large, mixed, file. Empty: the folder's, or the first four"
    )
    phase_s: float = parameter(24.0, "seconds measured per phase, half of them with py-spy, at least 2")
    single_items: int = parameter(1, "items per request in phase single")
    small_items: int = parameter(4, "items per request in phase small")
    large_items: int = parameter(32, "items per request in phase large")
    concurrency: int = parameter(1, "requests in flight; the request path is defined for 1 only")
    requests_file: str = parameter("", "JSONL file with own /v1/score bodies, one a line, for phase file")
    label_token_ids: list[int] = parameter(
        [], "token ids to score. Empty: looked up with the model's tokenizer for ' Yes' and ' No'"
    )
    seed: int = parameter(0, "seed of the generated texts and of every bootstrap")
    model_path: str = parameter("", "folder of the model. Empty on the CPU: a tiny random model is made")
    server_python: str = parameter(
        "", "Python interpreter that has sglang-jax. Empty: $SCOREPROF_SERVER_PYTHON, or this one"
    )
    server_flags: str = parameter("", "further flags of sgl_jax.launch_server, as in a shell")
    server_environment: str = parameter("", "environment of the server, NAME=VALUE words as in a shell")
    device: str = parameter("cpu", "cpu or tpu")
    port: int = parameter(0, "port on 127.0.0.1 for the server. 0: a free one")
    trust_remote_code: bool = parameter(False, "let the model's own code run in the server")
    server_url: str = parameter(
        "", "http://127.0.0.1:PORT of a server that already runs here: it is profiled and never stopped"
    )
    rate_hz: int = parameter(100, "samples per second, 1 to 1000")
    py_spy_mode: str = parameter("nonblocking", "nonblocking, blocking, native (at most 20 Hz), or off")
    startup_s: float = parameter(600.0, "seconds the server may take until it is healthy")
    warmup_s: float = parameter(60.0, "seconds the warm-up of one phase may take")
    request_s: float = parameter(120.0, "seconds one request may take")
    rules_file: str = parameter("", "TOML file with your own component rules")
    results_dir: str = parameter(
        "", "folder, such as a bucket mount, that gets a copy of the run as it goes; a run goes on from it"
    )
    hold_s: float = parameter(
        0.0, "seconds to wait at the end, so that files can be fetched from a container"
    )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Parameters":
        """Build and check them. Raises ParameterError for an unknown name, a wrong type, a bad value."""
        parameters = cls(**typed_values(cls, values))
        try:
            check(parameters)
        except ParameterError as error:
            if error.name in values:  # said as the user wrote it
                raise ParameterError(error.name, values[error.name], error.problem) from None
            raise
        return parameters

    def phase_names(self) -> tuple[str, ...]:
        """The phases asked for, in order; all generated ones (and file, if given) when empty."""
        names = tuple(name.strip() for name in self.phases.split(",") if name.strip())
        if names:
            return names
        return (*PHASES, FILE_PHASE) if self.requests_file else PHASES

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def check(parameters: Parameters) -> None:
    """Raise ParameterError for the first value that cannot work."""
    for name, low, high in (
        ("phase_s", 2, 86_400),
        ("single_items", 1, 100_000),
        ("small_items", 1, 100_000),
        ("large_items", 1, 100_000),
        ("concurrency", 1, 1_000),
        ("rate_hz", 1, 20 if parameters.py_spy_mode == "native" else 1_000),
        ("startup_s", 1, 86_400),
        ("warmup_s", 1, 86_400),
        ("request_s", 1, 86_400),
        ("port", 0, 65_535),
        ("seed", 0, 2**32 - 1),
        ("hold_s", 0, 86_400),
    ):
        value = getattr(parameters, name)
        if not low <= value <= high:
            raise ParameterError(name, value, f"must be from {low} to {high}")
    for name, choices in (("device", DEVICES), ("py_spy_mode", PY_SPY_MODES)):
        if getattr(parameters, name) not in choices:
            raise ParameterError(name, getattr(parameters, name), f"must be one of {', '.join(choices)}")
    if not parameters.label.strip():
        raise ParameterError("label", parameters.label, "must not be empty")
    _check_phases(parameters)
    for token_id in parameters.label_token_ids:
        if token_id < 0:
            raise ParameterError("label_token_ids", parameters.label_token_ids, f"{token_id} is negative")
    if parameters.server_url:
        _check_url(parameters.server_url)
    environment_of(parameters.server_environment)


def environment_of(text: str) -> dict[str, str]:
    """NAME=VALUE words to a mapping. Raises ParameterError for anything else."""
    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise ParameterError("server_environment", text, f"not shell words: {error}") from error
    for name, given, _ in words:
        if not given or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ParameterError("server_environment", text, f"{name!r} is not NAME=VALUE")
    return {name: value for name, _, value in words}


def _check_phases(parameters: Parameters) -> None:
    names = parameters.phase_names()
    for name in names:
        if name not in (*PHASES, FILE_PHASE):
            raise ParameterError(
                "phases",
                parameters.phases,
                f"unknown phase {name!r}; there are {', '.join((*PHASES, FILE_PHASE))}",
            )
        if names.count(name) > 1:
            raise ParameterError("phases", parameters.phases, f"phase {name!r} is named twice")
    if FILE_PHASE in names and not parameters.requests_file:
        raise ParameterError("requests_file", "", "phase file needs the JSONL file with the request bodies")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        right = parts.scheme == "http" and parts.port is not None and parts.path in ("", "/")
    except ValueError:
        right = False
    if not right:
        raise ParameterError("server_url", url, "must look like http://127.0.0.1:30000")


@dataclass(frozen=True)
class RequestBody:
    """A body of POST /v1/score as it is sent, and what the report says of it."""

    kind: str
    items: int
    payload: bytes
    labels: int  # scores that are expected of each item


def read_requests_file(path: Path, label_token_ids: list[int]) -> list[RequestBody]:
    """Read the user's own bodies, one JSON object a line; empty lines are left out.

    ``label_token_ids`` and ``model`` are filled in where a body lacks them.
    Raises ParameterError naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: JSON may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError("requests_file", str(path), f"cannot be read: {error}") from error
    bodies = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue

        def wrong(problem: str, number: int = number) -> ParameterError:
            return ParameterError("requests_file", str(path), f"line {number}: {problem}")

        try:
            body = json.loads(line)
        except ValueError as error:
            raise wrong(f"not JSON: {error}") from error
        if not isinstance(body, dict):
            raise wrong("not a JSON object")
        if not isinstance(body.get("query"), str | list):
            raise wrong("lacks 'query' (text or token ids)")
        if not isinstance(body.get("items"), list) or not body["items"]:
            raise wrong("'items' must be a list with at least one item")
        body = {"label_token_ids": label_token_ids, "model": "default", **body}
        labels = body["label_token_ids"]
        if not isinstance(labels, list):
            raise wrong("'label_token_ids' must be a list of token ids")
        bodies.append(RequestBody(FILE_PHASE, len(body["items"]), json.dumps(body).encode(), len(labels)))
    if not bodies:
        raise ParameterError("requests_file", str(path), "holds no request")
    return bodies


def typed_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a dataclass of parameters wants them. Raises ParameterError for an unknown name or a
    wrong type."""
    known = {parameter.name: parameter for parameter in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ParameterError(name, value, f"no such parameter; {_did_you_mean(name, list(known))}")
    return {name: _converted(name, value, known[name].type) for name, value in values.items()}


def _converted(name: str, value: Any, kind: Any) -> Any:
    """Accept what papermill passes: ``-p`` gives numbers and booleans parsed, ``-r`` gives text."""
    if kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            return value if abs(value) > LARGEST else float(value)  # beyond every limit: said as it is
    elif kind is str:
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if value is None:
            return ""
    else:
        return _int_list(name, value)
    raise ParameterError(name, value, f"must be {_KINDS[kind]}, not {type(value).__name__}")


_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}


def _int_list(name: str, value: Any) -> list[int]:
    parts = value
    if isinstance(value, str):
        parts = [part for part in value.replace("[", "").replace("]", "").split(",") if part.strip()]
    elif isinstance(value, int):
        parts = [value]
    if isinstance(parts, list | tuple):
        numbers = [_int(part) for part in parts]
        if None not in numbers:
            return [number for number in numbers if number is not None]
    raise ParameterError(name, value, "must be a list of whole numbers, such as 294,293")


def _int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]+\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
