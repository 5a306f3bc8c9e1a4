"""What the parameters say about the server: its time limits by device, its model, its URL and its API key."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scoreprof_nb.parameters.schema import ParameterError

# A cold TPU compiles before its first answer: 4 to 8 minutes according to sglang-jax's guides
# (docs/deployment/troubleshooting.md and docs/get_started/gke-tpu-install.md of sgl-project/sglang-jax),
# up to 30 for a large model.
LIMITS_S: Mapping[str, Mapping[str, float]] = {
    "startup_s": {"cpu": 600.0, "tpu": 1800.0},
    "warmup_s": {"cpu": 60.0, "tpu": 900.0},
    "request_s": {"cpu": 120.0, "tpu": 1800.0},
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def with_limits_of_device(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, each time limit that is 0 or missing replaced by that of the device."""
    device = "tpu" if values.get("device") == "tpu" else "cpu"
    automatic = {
        name: limits[device]
        for name, limits in LIMITS_S.items()
        if type(values.get(name, 0)) in (int, float) and not values.get(name, 0)
    }
    return {**values, **automatic}


def is_hub_id(model_path: str) -> bool:
    """Whether it is a Hugging Face id, such as Qwen/Qwen3-8B, and not a folder."""
    return _HUB_ID.fullmatch(model_path) is not None and not Path(model_path).exists()


def check_model(model_path: str) -> None:
    """Raise ParameterError unless it is empty, a model's folder, or may be a Hugging Face id."""
    if not model_path or is_hub_id(model_path) or Path(model_path, "config.json").is_file():
        return
    problem = "no such folder, nor a Hugging Face id such as Qwen/Qwen3-8B"
    if Path(model_path).is_dir():
        problem = "has no config.json"
    raise ParameterError("model_path", model_path, problem)


def check_log(path: str) -> None:
    """Raise ParameterError unless it is empty, or a file that can be read."""
    if not path:
        return
    if not Path(path).is_file():
        raise ParameterError(
            "server_log", path, "no such file: name the one that the server's output goes to"
        )
    if not os.access(path, os.R_OK):
        raise ParameterError("server_log", path, "may not be read by this user")


def check_url(url: str) -> None:
    """Raise ParameterError unless it is the URL of a server on this machine."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "http" and parts.port is not None and parts.path in ("", "/")
    except ValueError:
        valid = False
    if not valid:
        raise ParameterError("server_url", url, "must look like http://127.0.0.1:30000")
    if parts.hostname not in LOOPBACK:
        raise ParameterError(
            "server_url",
            url,
            "must be on this machine (127.0.0.1 or localhost): py-spy can only trace local processes, and "
            "requests and API key would cross the network unencrypted",
        )


def read_api_key(variable: str) -> str:
    """The API key in an environment variable; empty if ``variable`` is.

    Raises ParameterError. What may be the key itself, given by mistake, is not shown.
    """
    if not variable:
        return ""
    if not _VARIABLE.fullmatch(variable):
        problem = "must be the name of an environment variable, in upper case, and not the key itself"
        raise ParameterError("api_key_env", "(not shown)", problem)
    key = os.environ.get(variable, "")
    if not key:
        raise ParameterError("api_key_env", variable, "this environment variable is not set")
    return key
