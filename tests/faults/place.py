"""Where a fault is tried: a folder of its own, and the run in it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.paths import PROFILE_NOTEBOOK, ROOT

PHASES = ("single", "small")
PARAMETERS: Mapping[str, object] = {
    "phases": ",".join(PHASES),
    "phase_s": 2,
    "warmup_s": 10,
    "request_s": 6,
    "device_trace_s": 0,
}
JAX_CACHE = ROOT / "build" / "jax-cache"


@dataclass
class Place:
    """A folder for one fault. ``problems``: the promises that were broken while the fault was tried."""

    folder: Path
    parameters: dict[str, object] = field(default_factory=lambda: dict(PARAMETERS))
    environment: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    runner: psutil.Process | None = None

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True, exist_ok=True)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def temporary(self) -> Path:
        """$TMPDIR of the run: short, since the server's sockets are in it."""
        return self.folder / "t"

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def command(self, notebook: str = "out.ipynb") -> list[str]:
        """The runner's command; papermill writes its notebook into the run folder, as with `make report`."""
        command = [sys.executable, "-m", "scoreprof_nb", str(PROFILE_NOTEBOOK), str(self.run / notebook)]
        for name, value in {"run_dir": self.run, **self.parameters}.items():
            command += ["-p", name, str(value)]
        return command

    def variables(self) -> dict[str, str]:
        """The runner's environment: its servers share a cache of compiled programs."""
        return {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(JAX_CACHE),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TMPDIR": str(self.temporary),
            **self.environment,
        }

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the run; its output goes to ``output``."""
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=self.variables(),
            )
        self.runner = psutil.Process(process.pid)
        return process

    def text(self) -> str:
        """The output so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def descendants(self) -> list[psutil.Process]:
        """All processes of the run but the runner."""
        with suppress(psutil.NoSuchProcess):
            return self.runner.children(recursive=True) if self.runner is not None else []
        return []
