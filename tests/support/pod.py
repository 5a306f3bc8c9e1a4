"""A Pod of a rendered Job, run in the profiling image on this machine as a kubelet would run it: the container's
arguments, environment, working folder, capabilities, mounts, termination message and signals.

It needs the container that tests/image/check.sh creates. Only buckets, the Secret and the node are made up.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.job import job_of, parameter_files
from tests.support.paths import ROOT

BUILDAH = ("bash", str(ROOT / "tests" / "image" / "buildah.sh"))
HELPERS = "/helpers"
INIT = "tini"
END_S = 300


@dataclass(frozen=True)
class Pod:
    """The Pod of a Job. ``folder`` has one folder per volume, ``secret`` the keys of the Secret."""

    manifests: list[dict[str, Any]]
    container: str
    folder: Path
    secret: Mapping[str, str]

    @property
    def job(self) -> str:
        """The name of the Job."""
        name: str = job_of(self.manifests)["metadata"]["name"]
        return name

    def volume(self, name: str) -> Path:
        """The folder of a volume."""
        return self.folder / name

    @property
    def termination_log(self) -> Path:
        """The file that a kubelet reads the termination message from."""
        return self.folder / "termination-log"

    def start(self, *extra: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        """Start the container, with more arguments and behind the command ``before``. Creates missing volumes."""
        pod = job_of(self.manifests)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self.termination_log.write_text("")
        options = ["--volume", f"{self.termination_log}:/dev/termination-log"]
        options += ["--volume", f"{ROOT / 'tests' / 'support'}:{HELPERS}:ro"]
        for mount in container["volumeMounts"]:
            source = self.volume(mount["name"])
            source.mkdir(parents=True, exist_ok=True)
            read_only = ":ro" if mount.get("readOnly") else ""
            options += ["--volume", f"{source}:{mount['mountPath']}{read_only}"]
        for name, text in parameter_files(self.manifests).items():
            (self.volume("parameters") / name).write_text(text)
        variables = self._variables(container)
        for name, value in variables.items():
            options += ["--env", f"{name}={value}"]
        context = container["securityContext"]
        assert (context["runAsUser"], context["allowPrivilegeEscalation"]) == (0, False)
        assert context["capabilities"]["drop"] == ["ALL"]
        options += ["--cap-drop", "ALL"]
        for capability in context["capabilities"]["add"]:
            options += ["--cap-add", f"CAP_{capability}"]
        arguments = [
            re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], argument)
            for argument in container["args"]
        ]
        # A kubelet writes both streams into one log.
        streams = ("/bin/sh", "-c", 'exec "$@" 2>&1', "sh", "setpriv", "--no-new-privs", *before)
        command = [*streams, *entrypoint_of(self.container), *arguments, *extra]
        return subprocess.Popen(
            [*BUILDAH, "run", "--isolation", "chroot", *options, self.container, "--", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _variables(self, container: dict[str, Any]) -> dict[str, str]:
        fields = {"metadata.labels['batch.kubernetes.io/job-name']": self.job, "spec.nodeName": "node-1"}
        variables = dict(self.secret) if "envFrom" in container else {}
        for variable in container["env"]:
            field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            variables[variable["name"]] = fields[field] if field else variable["value"]
        return variables

    def processes(self) -> list[psutil.Process]:
        """What runs in the container."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("RUN_NAME") == self.job:
                    found.append(process)
        return found

    def preempt(self, process: "subprocess.Popen[str]") -> tuple[int, str, float]:
        """SIGTERM to the container's first process, SIGKILL after the grace period.

        Returns the exit code, the rest of the log and the seconds until the end.
        """
        grace_s = job_of(self.manifests)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        (init,) = (one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == INIT)
        sent_s = time.monotonic()
        init.send_signal(signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=grace_s)
        except subprocess.TimeoutExpired:
            for one in self.processes():
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            output, _ = process.communicate(timeout=END_S)
        return process.returncode, output, time.monotonic() - sent_s

    def new_node(self, root: Path) -> None:
        """What another node has: empty disks. ``root``: the container's root folder on this machine."""
        for folder in (self.volume("scratch"), self.volume("shm"), root / "tmp", root / "root"):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def entrypoint_of(container: str) -> list[str]:
    """The entry point of a container's image."""
    form = "{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}"
    return _answer("inspect", "--format", form, container).split()


def root_of(container: str) -> Path:
    """The root folder of a container."""
    return Path(_answer("mount", container).strip())


def in_container(container: str, *command: str, volumes: Mapping[Path, str]) -> str:
    """Run a command as root with all capabilities; return what it prints."""
    options = [word for source, target in volumes.items() for word in ("--volume", f"{source}:{target}")]
    return _answer("run", "--isolation", "chroot", *options, container, "--", *command)


def _answer(*arguments: str) -> str:
    return subprocess.run(
        [*BUILDAH, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=END_S, env=os.environ
    ).stdout
