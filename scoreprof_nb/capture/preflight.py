"""Everything that can be found wrong before a server is launched, and the plan that results."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb import demo
from scoreprof_nb.capture import provenance, pyspy
from scoreprof_nb.capture.server import AttachedServer, check_port_free, free_port
from scoreprof_nb.capture.workload import request_bodies
from scoreprof_nb.parameters.profile import ParameterError, Parameters, RequestBody, environment_of
from scoreprof_nb.redact import Redactor

LABELS = (" Yes", " No")
SERVER_PYTHON = "SCOREPROF_SERVER_PYTHON"
REPAIRED_VERSION = "0.0.2"
COLOURS = {"FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"}  # set by a notebook's kernel; not wanted in a log
_MODEL_S = 120.0
# What a mounted bucket says while what mounts it starts, or is cut off from it: trying again may help.
_PASSING = {errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.ESTALE}


@dataclass(frozen=True)
class Plan:
    """What to launch (``command`` is empty for a server that already runs), and what to send it."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    found: AttachedServer | None
    bodies: Mapping[str, list[RequestBody]]  # by phase
    provenance: Mapping[str, Any]
    redact: Redactor


def check_folders(parameters: Parameters) -> None:
    """Make the run folder and the results folder.

    Raises ParameterError when one cannot be written, OSError for what may pass by itself.
    """
    run_dir, results_dir = (Path(path).resolve() for path in (parameters.run_dir, parameters.results_dir))
    if parameters.results_dir and (
        run_dir.is_relative_to(results_dir) or results_dir.is_relative_to(run_dir)
    ):
        raise ParameterError("results_dir", parameters.results_dir, "must be apart from the run folder")
    for name in ("run_dir", "results_dir"):
        folder = getattr(parameters, name)
        if not folder:
            continue
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".scoreprof-"):
                pass
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise ParameterError(name, folder, f"cannot be written: {error.strerror}") from error


def prepare(parameters: Parameters, phases: tuple[str, ...]) -> Plan:
    """Check all that needs the machine, and give the plan. Raises ParameterError."""
    own_environment = environment_of(parameters.server_environment)
    redact = Redactor.for_server(parameters.server_flags, own_environment)
    if parameters.py_spy_mode != "off":
        pyspy.check_may_trace(parameters.py_spy_mode)
    found = AttachedServer(parameters.server_url, redact) if parameters.server_url else None
    python = _server_python(parameters, found)
    server = _inspected(python, found)
    model = _model(parameters, found, python)
    labels = _label_ids(parameters, python, model)
    bodies = {phase: request_bodies(parameters, phase, labels) for phase in phases}
    port = 0
    command: tuple[str, ...] = ()
    if found is None:
        port = parameters.port or free_port()
        check_port_free(port)
        command = _command(parameters, python, server["packages"]["sglang-jax"], model, port)
    environment = {name: value for name, value in os.environ.items() if name not in COLOURS}
    environment["PYTHONUNBUFFERED"] = "1"
    if parameters.device == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    environment |= own_environment
    notes = [f"server found at {parameters.server_url}: its versions are those of {python}"] if found else []
    return Plan(
        command=command,
        environment=environment,
        port=port,
        found=found,
        bodies=bodies,
        provenance={
            **redact.deep(provenance.collect(server, parameters.device, notes)),
            "command": redact(" ".join(found.command() if found else command)),
            "label_token_ids": labels,
            "model_dtype": _model_dtype(model),
        },
        redact=redact,
    )


def _server_python(parameters: Parameters, found: AttachedServer | None) -> str:
    python = parameters.server_python or os.environ.get(SERVER_PYTHON, "")
    if not python and found is not None:
        python = found.command()[0]
    python = python or sys.executable
    resolved = shutil.which(python)
    if resolved is None:
        raise ParameterError("server_python", python, "is not an executable file")
    return str(Path(resolved).absolute())


def _inspected(python: str, found: AttachedServer | None) -> dict[str, Any]:
    server = provenance.inspect_server(python, "versions")
    if found is None and not server["packages"].get("sglang-jax"):
        raise ParameterError(
            "server_python",
            python,
            f"has no sglang-jax; name an interpreter that has it, here or in ${SERVER_PYTHON}",
        )
    return server


def _model(parameters: Parameters, found: AttachedServer | None, python: str) -> str:
    """The model's folder; the tiny one is made when none is named. "" when it is not known."""
    if found is not None and not parameters.model_path:
        return _flag(found.command(), "--model-path")
    if parameters.model_path:
        folder = Path(parameters.model_path).absolute()
        if not (folder / "config.json").is_file():
            problem = "has no config.json" if folder.is_dir() else "no such folder"
            raise ParameterError("model_path", parameters.model_path, problem)
        return str(folder)
    if parameters.device != "cpu":
        raise ParameterError("model_path", "", f"the device {parameters.device} needs the folder of a model")
    return _tiny_model(python)


def _tiny_model(python: str) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoreprof-nb"
    folder = cache / demo.MODEL_NAME
    if not (folder / "config.json").exists():
        answer = subprocess.run(
            [python, str(demo.TINY_MODEL), str(folder)], capture_output=True, text=True, timeout=_MODEL_S
        )
        if answer.returncode != 0 and not (folder / "config.json").exists():
            said = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ParameterError("server_python", python, f"cannot make the tiny model: {said}")
    return str(folder)


def _model_dtype(model: str) -> str | None:
    """The number format that the model's configuration names."""
    try:
        configuration = json.loads(Path(model, "config.json").read_text(encoding="utf-8"))
        return str(configuration.get("dtype") or configuration["torch_dtype"])
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _label_ids(parameters: Parameters, python: str, model: str) -> list[int]:
    given = parameters.label_token_ids
    if not model:
        if given:
            return given
        raise ParameterError("label_token_ids", given, "the server's model is not known: give the ids")
    answer = provenance.inspect_server(
        python, "labels", model, str(parameters.trust_remote_code), *LABELS, error_name="model_path"
    )
    size = answer["vocabulary"]
    for token_id in given:
        if token_id >= size:
            raise ParameterError(
                "label_token_ids", given, f"{token_id} is not in the model's vocabulary (0 to {size - 1})"
            )
    if given:
        return given
    for text, ids in answer["ids"].items():
        if len(ids) != 1:
            raise ParameterError(
                "label_token_ids",
                given,
                f"{text!r} is {len(ids)} tokens for this model: give the ids yourself",
            )
    return [ids[0] for ids in answer["ids"].values()]


def _command(parameters: Parameters, python: str, version: str, model: str, port: int) -> tuple[str, ...]:
    """The launch command. The user's flags come last, so they win."""
    try:
        own = shlex.split(parameters.server_flags)
    except ValueError as error:
        raise ParameterError("server_flags", parameters.server_flags, f"not shell words: {error}") from error
    module = [str(demo.SERVE_0_0_2)] if version == REPAIRED_VERSION else ["-m", "sgl_jax.launch_server"]
    flags = ["--model-path", model, "--host", "127.0.0.1", "--port", str(port), "--device", parameters.device]
    if parameters.device == "cpu":
        flags += ["--attention-backend", "native"]
    if not parameters.model_path:
        flags += demo.flags(version)
    if parameters.trust_remote_code:
        flags.append("--trust-remote-code")
    return (python, *module, *flags, *own)


def _flag(command: list[str], name: str) -> str:
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""
