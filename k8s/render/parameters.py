"""The parameters of a Job's notebook: a file, replaced by name=value words of the command line.

They are checked by the notebook's own model, so that a mistake is reported here and not by a TPU node.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from k8s.render.settings import Refused
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor

Values = dict[str, Any]
Notebook = type[Parameters] | type[CompareParameters]

# The names that settings had before every parameter could be given.
OLD_NAMES: Mapping[Notebook, Mapping[str, tuple[str, ...]]] = {
    Parameters: {"LABEL": ("label",), "SERVER_FLAGS": ("server_flags",), "HOLD_S": ("hold_s",)},
    CompareParameters: {
        "LABEL": ("test_label",),
        "SERVER_FLAGS": ("control_server_flags", "test_server_flags"),
        "HOLD_S": ("hold_s",),
        "FAIL_ON": ("fail_on",),
    },
}
# What the manifest says itself, and why.
FIXED = {
    "run_dir": "a folder of the Pod",
    "compare_dir": "a folder of the Pod",
    "results_dir": "the folder of the results bucket that has the Job's name",
    "device": "tpu",
    "port": "a free one",
    "server_url": "nothing: the Job launches its server",
    "server_log": "nothing: the Job launches its server",
    "pair_index": "the index of the Pod, with PARALLEL",
}


def read_parameters(file: Path) -> Values:
    """The mapping in a YAML file. Raises Refused."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"{file}: {' '.join(str(error).split())}") from error
    if not isinstance(values or {}, dict):
        raise Refused(f"{file} must hold lines of the form name: value")
    return values or {}


def from_words(kind: Notebook, words: Sequence[tuple[str, str]]) -> Values:
    """The (name, value) pairs of the command line as parameters. Raises Refused for an unknown name."""
    values: Values = {}
    for name, text in words:
        parameters = OLD_NAMES[kind].get(name, (name,))
        for parameter in parameters:
            if parameter not in kind.names():
                raise Refused(f"{name}={text}: {_not_known(kind, name)}")
            values[parameter] = _typed(kind, parameter, text)
    return values


def _not_known(kind: Notebook, name: str) -> str:
    other: Notebook = CompareParameters if kind is Parameters else Parameters
    if name in OLD_NAMES[other] or name in other.names():
        return f"{'only' if other is CompareParameters else 'not'} a comparison (compare) has this parameter"
    try:
        kind.from_mapping({name: ""})
    except ParameterError as error:
        return error.problem
    return "no such parameter"


def _typed(kind: Notebook, name: str, text: str) -> Any:
    """Text where the parameter is one (a label may be 12e4), else the YAML value."""
    return text if isinstance(kind.default_of(name), str) else yaml.safe_load(text)


def checked(kind: Notebook, values: Values, where: str = "") -> Parameters | CompareParameters:
    """The parameters as the notebook will read them. Raises Refused."""
    for name in values:
        if name in FIXED:
            raise Refused(f"{where}{name}={values[name]!r}: the Job sets it itself, to {FIXED[name]}")
    redact = Redactor()
    for name, value in values.items():
        if redact.deep(value) != value:
            raise Refused(
                f"{where}{name} holds a secret, which everybody who may read ConfigMaps sees: put it into "
                "a Secret and name that in SECRET; its keys become environment variables (api_key_env names "
                "that of an API key)"
            )
    try:
        return kind.from_mapping({**values, "device": "tpu"})
    except ParameterError as error:
        raise Refused(f"{where}{error}") from error
