"""py-spy as a recorder: find it, check its permission to trace, start it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from scoreprof_nb.capture.pyspy_recording import PySpyRecording, one_line
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.files import RECORDING_SUFFIX

DUMP_S = 30.0
PTRACER = Path(__file__).with_name("ptracer")
MODE_FLAGS = {"nonblocking": ["--nonblocking"], "blocking": [], "native": ["--native"]}


class PySpy:
    """py-spy with its settings; implements ``capture.recorder.Recorder``."""

    name = "py-spy"
    suffix = RECORDING_SUFFIX

    def __init__(
        self, mode: str, rate_hz: int, redact: Redactor, environment: Mapping[str, str] = os.environ
    ) -> None:
        """``mode``: a key of MODE_FLAGS. ``environment``: like that of the process to trace."""
        self._environment = environment
        self.rate_hz = rate_hz
        self._mode = mode
        self._redact = redact
        self._thread_ids: Mapping[int, Mapping[int, int]] = {}

    def check(self) -> None:
        """Raise ParameterError when py-spy is not installed or this user may not trace a process."""
        check_may_trace(self._mode, self._environment)

    def observe(self, pids: Sequence[int]) -> Mapping[int, Collection[int]]:
        """Read the ids of the Python threads of these processes, which assign lost ticks to threads."""
        self._thread_ids = {pid: thread_ids(pid) for pid in pids}
        return {pid: ids.values() for pid, ids in self._thread_ids.items()}

    def start(self, pid: int, output: Path) -> "PySpyRecording":
        """Record the process and its children. Raises RecorderFailed."""
        return PySpyRecording.start(
            executable(), pid, output, self.rate_hz, MODE_FLAGS[self._mode], self._redact, self._thread_ids
        )


def executable() -> str:
    """The py-spy of this environment, else the one on PATH; raises ParameterError when there is none."""
    installed = Path(sysconfig.get_path("scripts")) / "py-spy"
    path = str(installed) if installed.exists() else shutil.which("py-spy")
    if path is None:
        raise ParameterError("py_spy_mode", "on", "py-spy is not installed: pip install py-spy, or use 'off'")
    return path


def check_may_trace(mode: str = "nonblocking", environment: Mapping[str, str] = os.environ) -> None:
    """Raise ParameterError with py-spy's own reason when this user may not trace a process.

    The check dumps one stack of a process with this environment. It omits
    ``--subprocesses``, which would hide the cause.
    """
    program = executable()
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(30)"],
        stdout=subprocess.PIPE,
        env=environment,
    ) as target:
        try:
            assert target.stdout is not None
            target.stdout.readline()
            dump = subprocess.run(
                [program, "dump", "--pid", str(target.pid)], capture_output=True, text=True, timeout=DUMP_S
            )
        finally:
            target.kill()
    if dump.returncode != 0:
        reason = one_line(dump.stderr) or f"exit code {dump.returncode}"
        raise ParameterError(
            "py_spy_mode",
            mode,
            f"no permission to trace ({reason[:300]}). Required: capability SYS_PTRACE, or the same user and "
            "kernel.yama.ptrace_scope=0 (1 is enough for a server that the kit launches; now: "
            f"{ptrace_scope()}). Or measure without stacks: set 'off'",
        )


def traceable(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that permits tracing at its start, where ptrace_scope is 1."""
    if ptrace_scope() != "1":
        return dict(environment)
    paths = [str(PTRACER), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def ptrace_scope() -> str:
    """Yama's setting, or ``absent``."""
    try:
        return Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        return "absent"


def thread_ids(pid: int) -> dict[int, int]:
    """The OS thread id of each Python thread of a process by its pthread id; empty if not known.

    py-spy names threads by the OS id in its recordings, but by the pthread id in its errors.
    """
    try:
        dump = subprocess.run(
            [executable(), "dump", "--nonblocking", "--json", "--pid", str(pid)],
            capture_output=True,
            text=True,
            timeout=DUMP_S,
        )
        threads = json.loads(dump.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}
    return {thread["thread_id"]: thread["os_thread_id"] for thread in threads if thread.get("os_thread_id")}
