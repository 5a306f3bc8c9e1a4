"""Everything that can be checked before a server is launched, and the plan that results."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb import demo
from scoreprof_nb.capture import provenance
from scoreprof_nb.capture.attached_server import AttachedServer
from scoreprof_nb.capture.delay_switch import DelaySwitch, switch_of
from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.pyspy import PySpy, traceable
from scoreprof_nb.capture.recorder import Recorder
from scoreprof_nb.capture.sampling_rate import sampling_rate_here
from scoreprof_nb.capture.server import check_port_free, free_port
from scoreprof_nb.capture.tokens import label_ids_and_word_tokens
from scoreprof_nb.capture.workload import Workload, Workloads
from scoreprof_nb.parameters.load import PhasePlan
from scoreprof_nb.parameters.profile import Parameters, environment_of
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.parameters.server_checks import check_model, is_hub_id
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.folder import file_sha256

SERVER_PYTHON = "SCOREPROF_SERVER_PYTHON"
COLOURS = {"FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"}  # set by a notebook's kernel; not wanted in a log
_MODEL_S = 120.0
# Errors of a bucket that is being mounted or is unreachable: a retry may help.
_TRANSIENT = {errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.ESTALE}


@dataclass(frozen=True)
class Plan:
    """What to launch, what to send it, and how to record it.

    ``command`` is empty when there is an ``attached`` server; ``recorder`` is None for latencies only;
    ``delays`` is None without what-if blocks.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    attached: AttachedServer | None
    recorder: Recorder | None
    workloads: Workloads
    provenance: Mapping[str, Any]
    redact: Redactor
    delays: DelaySwitch | None = None


def check_folders(parameters: Parameters) -> None:
    """Create the run folder and the results folder.

    Raises ParameterError when one is not writable, OSError for an error that may be temporary.
    """
    run_dir, results_dir = (Path(path).resolve() for path in (parameters.run_dir, parameters.results_dir))
    if parameters.results_dir and (
        run_dir.is_relative_to(results_dir) or results_dir.is_relative_to(run_dir)
    ):
        raise ParameterError(
            "results_dir", parameters.results_dir, "must be neither inside the run folder nor around it"
        )
    for name in ("run_dir", "results_dir"):
        folder = getattr(parameters, name)
        if not folder:
            continue
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".scoreprof-"):
                pass
        except OSError as error:
            if error.errno in _TRANSIENT:
                raise
            raise ParameterError(name, folder, f"cannot be written: {error.strerror}") from error


def prepare(parameters: Parameters, phases: tuple[str, ...]) -> Plan:
    """Check everything that needs this machine, and make the plan. Raises ParameterError."""
    flags = _flags(parameters)
    server_environment = environment_of(parameters.server_environment)
    api_key = parameters.api_key()
    secrets = {**server_environment, **({"API_KEY": api_key} if api_key else {})}
    redact = Redactor.for_server(parameters.server_flags, secrets, inherited=os.environ)
    recorder = _recorder(parameters, redact)
    attached = AttachedServer(parameters.server_url, redact) if parameters.server_url else None
    if attached is not None and parameters.server_log:
        _check_texts("server_log", parameters.server_log, attached.command(), parameters)
    python = _server_python(parameters, attached)
    server = _inspected(python, attached)
    model = _model(parameters, attached, python)
    if attached is None:
        chip = provenance.find_chip(python, parameters.device)
    else:
        chip = provenance.chip_from_environment(parameters.device)
    labels, tokens_of = label_ids_and_word_tokens(parameters, python, model)
    workloads = Workloads(parameters, tuple(labels), tokens_of)
    _check_lengths(parameters, workloads)
    for phase in phases:
        _check_times(phase, workloads.of(phase), parameters)
    port = 0
    command: tuple[str, ...] = ()
    notes = []
    if attached is None:
        port = parameters.port or free_port()
        check_port_free(port)
        version = server["packages"][ENGINE.package]
        command = ENGINE.command(parameters, python, version, model, port, flags, api_key)
    else:
        notes = [f"attached to {parameters.server_url}: versions are taken from {python}"]
    environment = _environment(parameters, server_environment)
    return Plan(
        command=command,
        environment=traceable(environment),
        port=port,
        attached=attached,
        recorder=recorder,
        workloads=workloads,
        provenance={
            **redact.deep(provenance.collect(server, parameters.device, chip, notes, environment)),
            "command": redact(" ".join(attached.command() if attached else command)),
            "label_token_ids": labels,
            "model_dtype": _model_dtype(model),
        },
        redact=redact,
        delays=switch_of(parameters, python),
    )


def _recorder(parameters: Parameters, redact: Redactor) -> Recorder | None:
    if parameters.py_spy_mode == "off":
        return None
    environment = os.environ if parameters.server_url else traceable(os.environ)
    recorder = PySpy(parameters.py_spy_mode, sampling_rate_here(parameters), redact, environment)
    recorder.check()
    return recorder


def _environment(parameters: Parameters, server_environment: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in COLOURS}
    return {
        **ENGINE.default_environment(parameters.device),
        **inherited,
        "PYTHONUNBUFFERED": "1",
        **ENGINE.environment(parameters.device),
        **server_environment,
    }


def _flags(parameters: Parameters) -> list[str]:
    try:
        flags = shlex.split(parameters.server_flags)
    except ValueError as error:
        raise ParameterError(
            "server_flags", parameters.server_flags, f"not in shell syntax: {error}"
        ) from error
    _check_texts("server_flags", parameters.server_flags, flags, parameters)
    return flags


def _check_texts(name: str, value: str, flags: Sequence[str], parameters: Parameters) -> None:
    """Raise ParameterError when a server with these flags logs what it is asked, and nobody allowed it."""
    if ENGINE.logs_texts(flags) and not parameters.store_texts:
        problem = "would write texts of requests into server.log: set store_texts=True to allow it"
        raise ParameterError(name, value, problem)


def _server_python(parameters: Parameters, attached: AttachedServer | None) -> str:
    python = parameters.server_python or os.environ.get(SERVER_PYTHON, "")
    if not python and attached is not None:
        python = attached.command()[0]
    python = python or sys.executable
    resolved = shutil.which(python)
    if resolved is None:
        raise ParameterError("server_python", python, "is not an executable file")
    return str(Path(resolved).absolute())


def _inspected(python: str, attached: AttachedServer | None) -> dict[str, Any]:
    server = provenance.inspect_server(python, "versions", ENGINE.package)
    if attached is None and not server["packages"].get(ENGINE.package):
        raise ParameterError(
            "server_python",
            python,
            f"has no {ENGINE.package}; set this or ${SERVER_PYTHON} to an interpreter that has it",
        )
    return server


def _model(parameters: Parameters, attached: AttachedServer | None, python: str) -> str:
    """The model's folder or Hugging Face id; the tiny one is made when none is named. "" when not known."""
    if attached is not None and not parameters.model_path:
        return ENGINE.model_path(attached.command())
    if parameters.model_path:
        check_model(parameters.model_path)
        if is_hub_id(parameters.model_path):
            return parameters.model_path
        return str(Path(parameters.model_path).absolute())
    if parameters.device != "cpu":
        raise ParameterError(
            "model_path", "", f"device {parameters.device} requires a model: its folder or Hugging Face id"
        )
    return _tiny_model(python)


def _tiny_model(python: str) -> str:
    """The folder of the demo's model, made on first use and again when its program has changed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoreprof-nb"
    folder = cache / f"tiny-qwen3-{file_sha256(demo.TINY_MODEL)[:8]}"
    if not (folder / "config.json").exists():
        process = subprocess.run(
            [python, str(demo.TINY_MODEL), str(folder)], capture_output=True, text=True, timeout=_MODEL_S
        )
        if process.returncode != 0 and not (folder / "config.json").exists():
            reason = (process.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise ParameterError("server_python", python, f"cannot make the tiny model: {reason}")
    return str(folder)


def _model_dtype(model: str) -> str | None:
    """The number format in the model's configuration; None when it is not known."""
    try:
        configuration = json.loads(Path(model, "config.json").read_text(encoding="utf-8"))
        return str(configuration.get("dtype") or configuration["torch_dtype"])
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _check_lengths(parameters: Parameters, workloads: Workloads) -> None:
    """Raise ParameterError for prompts that the tiny model's server would refuse."""
    longest = sum(lengths.most for lengths in workloads.lengths)
    if parameters.model_path or parameters.server_url or "--context-length" in parameters.server_flags:
        return
    if longest >= demo.CONTEXT:
        raise ParameterError(
            "query_tokens",
            parameters.query_tokens,
            f"prompts of up to {longest} tokens (with item_tokens, mean + 3 deviations each) need a "
            f"context of more than the demo's {demo.CONTEXT}: set shorter ones or a model_path",
        )


def _check_times(phase: str, workload: Workload, parameters: Parameters) -> None:
    """Raise ParameterError for sending times in the user's file that do not fit the phase."""
    plan = PhasePlan.parse(phase)
    if not workload.send_at_s or plan.rate_per_s is not None:
        return
    path, last_s = parameters.requests_file, workload.send_at_s[-1]
    if last_s < parameters.phase_s:
        raise ParameterError(
            "requests_file", path, f"its send_at_s end at {last_s:g} s: phase_s must be at most that"
        )
    if plan.concurrency > 1:
        raise ParameterError(
            "concurrency", parameters.concurrency, "must be 1 for a file whose bodies have send_at_s"
        )
