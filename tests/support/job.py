"""The command of the Kubernetes Job, ready to run on this machine: read from the manifest that kustomize
renders, with local folders for the mounts and with variables expanded as by the kubelet."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"


FILLED_IN = ("IMAGE=i/score-profiler:1", "MODELS_BUCKET=models", "RESULTS_BUCKET=results", "MODEL=model")


def render(*arguments: str) -> list[dict[str, Any]]:
    """Return the objects that k8s/render.sh prints. Required settings have defaults."""
    variant = [word for word in arguments if "=" not in word]
    settings = [word for word in arguments if "=" in word]
    text = subprocess.run(
        ["bash", str(ROOT / "k8s" / "render.sh"), *variant, *FILLED_IN, *settings],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def job_of(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return next(manifest for manifest in manifests if manifest["kind"] == "Job")


@dataclass(frozen=True)
class Command:
    """What the container runs, with local folders instead of its mounts."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    privileges: tuple[str, ...]  # a command prefix that drops all but the securityContext's capabilities

    def mounted(self, path: str) -> Path:
        """Return the local folder for a path in the container."""
        return self.folder / path.strip("/")

    def start(self, *extra: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        """Start the image's entrypoint in the image's working folder, behind the command ``before``."""
        return subprocess.Popen(
            [*self.privileges, *before, "bash", str(ENTRYPOINT), *self.arguments, *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder / "image",
            env=dict(self.environment),
        )


def command_of(job: dict[str, Any], folder: Path) -> Command:
    """Return the command of the Job's only container. Creates the folders of its mounts."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "command" not in container, "the Job must run the image's entrypoint"
    mounts = [mount["mountPath"] for mount in container["volumeMounts"] if mount["mountPath"] != "/dev/shm"]
    for mount in mounts:
        (folder / mount.strip("/")).mkdir(parents=True, exist_ok=True)
    (folder / "dev").mkdir(exist_ok=True)
    (folder / "image").mkdir(exist_ok=True)
    if not (folder / "image" / "notebooks").exists():
        shutil.copytree(ROOT / "notebooks", folder / "image" / "notebooks")
    outside = re.compile(rf"^({'|'.join([*map(re.escape, mounts), '/dev/termination-log'])})(?=/|$)")
    given = {
        variable["name"]: variable["value"] if "value" in variable else job["metadata"]["name"]
        for variable in container["env"]
    }

    def local(text: str) -> str:
        expanded = re.sub(r"\$\((\w+)\)", lambda match: given.get(match[1], match[0]), text)
        return outside.sub(lambda match: str(folder / match[1].strip("/")), expanded)

    return Command(
        tuple(map(local, container["args"])),
        {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **{name: local(value) for name, value in given.items()},
        },
        folder,
        privileges_of(container["securityContext"]),
    )


def privileges_of(context: dict[str, Any]) -> tuple[str, ...]:
    """Return a command prefix that drops all other capabilities. Empty if not root, who has none."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return ()
    assert context["capabilities"]["drop"] == ["ALL"]
    kept = ",".join(f"+{name.lower()}" for name in context["capabilities"]["add"])
    return ("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--no-new-privs")
