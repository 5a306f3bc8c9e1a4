"""What a run was measured on: versions, commits, chip, host, kernel, limits."""

import json
import os
import platform
import resource
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from scoreprof_nb import __version__
from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.pyspy import ptrace_scope
from scoreprof_nb.parameters.schema import ParameterError

INSPECT = Path(__file__).with_name("inspect_server.py")
INSPECT_S = 120.0
KIT_PACKAGES = ("py-spy", "papermill", "pandas", "numpy", "requests", "aiohttp")
IMAGE_INFO = Path("/etc/scoreprof/image.json")
CGROUP = Path("/sys/fs/cgroup")


def inspect_server(
    python: str, *arguments: str, error_name: str = "server_python", device: str = "cpu"
) -> dict[str, Any]:
    """Run inspect_server.py in the server's interpreter, where JAX may use the ``device``.

    Raises ParameterError, naming the parameter ``error_name``, when the interpreter runs but
    prints no answer.
    """
    try:
        process = subprocess.run(
            [python, str(INSPECT), *arguments],
            capture_output=True,
            text=True,
            timeout=INSPECT_S,
            env={**os.environ, **ENGINE.environment(device), "PYTHONSAFEPATH": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ParameterError("server_python", python, f"cannot be run: {error}") from error
    try:
        answer = json.loads(process.stdout.splitlines()[-1])
        if process.returncode == 0 and isinstance(answer, dict):
            return answer
    except (IndexError, ValueError):
        pass
    reason = (process.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    value = {"server_python": python, "device": device}.get(error_name) or arguments[1]
    raise ParameterError(error_name, value, f"{python} inspect_server.py {arguments[0]} failed: {reason}")


def find_chip(python: str, device: str) -> str:
    """The accelerator as JAX names it, such as ``4 x TPU v6 lite``; ``cpu`` without asking.

    Raises ParameterError when JAX finds no such device.
    """
    if device == "cpu":
        return "cpu"
    found = inspect_server(python, "devices", error_name="device", device=device)
    if found["platform"] != device:
        raise ParameterError(
            "device",
            device,
            f"JAX of {python} finds only {found['platform']} devices: install sglang-jax with the extra "
            f"{device}, and stop other programs that use the chip",
        )
    return f"{found['count']} x {found['kind']}"


def chip_from_environment(device: str) -> str:
    """The accelerator's name from the environment of a TPU VM or GKE, where the chip is in use already."""
    if device == "cpu":
        return "cpu"
    types = (os.environ.get(name) for name in ("TPU_ACCELERATOR_TYPE", "ACCELERATOR_TYPE"))
    return next(filter(None, types), f"{device} (type unknown)")


def collect(
    server: Mapping[str, Any], device: str, chip: str, notes: list[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The fields of provenance.json that do not depend on the launch.

    ``server``: what ``inspect_server.py versions`` printed. ``environment``: of the server.
    """
    packages = server["packages"]
    return {
        "kit": __version__,
        "kit_commit": _kit_commit(),
        "kit_packages": {name: metadata.version(name) for name in KIT_PACKAGES},
        "python": server["python"],
        **ENGINE.provenance(packages, server["source"]),
        "py_spy": metadata.version("py-spy"),
        "server_packages": packages,
        "image": json.loads(IMAGE_INFO.read_text()) if IMAGE_INFO.exists() else None,
        "device": device,
        "chip": chip,
        "host": platform.node(),
        "node": os.environ.get("NODE_NAME"),  # of a Pod, whose host name is its own
        "kernel": platform.release(),
        "os": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "limits": {
            "cgroup_cpu_max": _read(CGROUP / "cpu.max"),
            "cgroup_memory_max": _read(CGROUP / "memory.max"),
            "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "locked_memory": resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
            "ptrace_scope": ptrace_scope(),
        },
        "load_average_before": os.getloadavg()[0],
        "compile_cache": _compile_cache(environment),
        "notes": notes,
    }


def _compile_cache(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """JAX's compile cache on disk, and how many programs it has before the launch; None without one."""
    folder = environment.get("JAX_COMPILATION_CACHE_DIR")
    if not folder:
        return None
    try:
        entries = sum(1 for _ in Path(folder).iterdir())
    except OSError:  # it does not exist yet
        entries = 0
    return {"folder": folder, "entries": entries}


def _kit_commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _cpu_model() -> str | None:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
