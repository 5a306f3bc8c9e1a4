"""The faults: what is done to a run, and when.

A kind is set up before the run (``around``), strikes at a moment of it, and its setting is undone before the
next start, as an operator would.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from scoreprof_nb.capture.server import free_port
from scoreprof_nb.runner.supervisor import PAPERMILL
from tests.faults import mounts
from tests.faults.place import Place
from tests.faults.proxied_server import BROKEN

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT)
CODES = (0, 1, 42, 129, 130, 143)
PAUSE_S = 3.0  # a stopped runner is continued after this: nobody watches it
FROZEN_S = 8.0
GONE_S = 5.0
DIES_S = 15.0  # after its memory is limited
PROPER_NAMES = ("papermill", "py-spy")
# A process of the server lives for 15 s on a machine that does nothing else; py-spy runs for one block.
LATEST_S = {"py-spy": 0.8, "reader of counters": 0.8} | dict.fromkeys(
    ("launcher", "HTTP process", "scheduler", "detokenizer"), 14.0
)
CGROUP = Path("/sys/fs/cgroup/memory")

type Find = Callable[[psutil.Process], bool]
type Strike = Callable[[Place, ExitStack], bool]


def _has(position: int, ending: str) -> Find:
    """A process of whose command line the word at this position ends so."""

    def find(process: psutil.Process) -> bool:
        words = process.cmdline()
        return len(words) > position and words[position].endswith(ending)

    return find


def _titled(title: str) -> Find:
    return lambda process: title in " ".join([process.name(), *process.cmdline()[:1]])


PROCESSES: Mapping[str, Find] = {
    "guard": _has(3, "runner/guard.py"),
    "papermill": lambda process: process.cmdline()[1:3] == ["-m", PAPERMILL],
    "kernel": _has(2, "ipykernel_launcher"),
    "launcher": _has(1, "capture/launcher.py"),
    "HTTP process": _has(1, "serve_0_0_2.py"),
    "scheduler": _titled("sglang::scheduler"),
    "detokenizer": _titled("sglang-jax::detokenizer"),
    "py-spy": _has(1, "record"),
    "reader of counters": _has(3, "capture/schedstat_reader.py"),
}


def process_of(place: Place, name: str) -> psutil.Process | None:
    """The process of the run with this name; None if there is none now."""
    if name == "runner":
        return place.runner
    for process in place.descendants():
        with suppress(psutil.Error):
            if PROCESSES[name](process):
                return process
    return None


@dataclass(frozen=True)
class Kind:
    """``strike``: does it, and whether there was something to hit; what it sets up on the stack is undone
    before the next start. ``after``: the name of a process, or a line of the output, that it waits for;
    ``latest_s``: how long after that it strikes at most. ``around``: what the run needs to be set up.
    ``may``: whether this machine can do it. ``codes``: the exit codes that the run may end with."""

    name: str
    group: str
    strike: Strike
    after: str = "launcher"
    latest_s: float = 20.0
    around: Callable[[Place], AbstractContextManager[None]] = nullcontext
    may: Callable[[], bool] = lambda: True
    codes: Sequence[int] = CODES

    def begun(self, place: Place) -> bool:
        """Whether what it waits for has come."""
        if self.after in ("runner", *PROCESSES):
            return process_of(place, self.after) is not None
        return self.after in place.text()


# Signals


def _send(name: str, signum: signal.Signals, place: Place, undo: ExitStack) -> bool:
    process = process_of(place, name)
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signum)
        if name == "runner" and signum == signal.SIGSTOP:
            time.sleep(PAUSE_S)
            process.send_signal(signal.SIGCONT)
        return True
    return False


def _signals() -> Iterator[Kind]:
    for name in ("runner", *PROCESSES):
        for signum in SIGNALS:
            codes = (-signal.SIGKILL,) if (name, signum) == ("runner", signal.SIGKILL) else CODES
            yield Kind(
                f"{signum.name} to {name if name in PROPER_NAMES else f'the {name}'}",
                "signals",
                partial(_send, name, signum),
                after=name,
                latest_s=LATEST_S.get(name, 25.0),
                codes=codes,
            )
    yield Kind("SIGHUP to the runner", "signals", partial(_send, "runner", signal.SIGHUP), latest_s=25.0)


# Pauses


def _pause(name: str | None, seconds: float, place: Place, undo: ExitStack) -> bool:
    """One process, or all of the run (None), as when a virtual machine is suspended."""
    one = process_of(place, name) if name is not None else place.runner
    if one is None:
        return False
    paused = [one] if name is not None else [one, *place.descendants()]
    for process in paused:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(seconds)
    for process in paused:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return True


def _pauses() -> Iterator[Kind]:
    paused = partial(Kind, group="pauses", latest_s=25.0)
    yield paused(f"all processes paused for {FROZEN_S:.0f} s", strike=partial(_pause, None, FROZEN_S))
    for name in ("scheduler", "py-spy"):
        yield paused(
            f"{name if name in PROPER_NAMES else f'the {name}'} paused for {PAUSE_S:.0f} s",
            strike=partial(_pause, name, PAUSE_S),
            after=name,
            latest_s=LATEST_S[name],
        )


# Disks


@contextmanager
def _run_on_small_disk(place: Place) -> Iterator[None]:
    with small_disk_with(place.run, 64):
        yield


@contextmanager
def small_disk_with(path: Path, megabytes: int) -> Iterator[None]:
    """A small disk at the path, with the files that were there."""
    kept = path.with_name(f"{path.name}-before")
    if path.exists():
        path.rename(kept)
    with mounts.small_disk(path, megabytes):
        if kept.exists():
            subprocess.run(["cp", "-a", f"{kept}/.", str(path)], check=True)
        yield


def _fill(which: str, place: Place, undo: ExitStack) -> bool:
    undo.callback(mounts.fill(getattr(place, which)).unlink)
    return True


@contextmanager
def _results_on_small_disk(place: Place) -> Iterator[None]:
    place.parameters["results_dir"] = place.results
    with mounts.small_disk(place.results, 64):
        yield


@contextmanager
def _results_in_a_folder(place: Place) -> Iterator[None]:
    place.parameters["results_dir"] = place.results
    place.results.mkdir()
    yield


@contextmanager
def _results_that_freeze(place: Place) -> Iterator[None]:
    place.parameters["results_dir"] = place.results
    with mounts.disk_that_freezes(place.results, place.folder / "image"):
        (place.results / "lost+found").rmdir()
        yield


@contextmanager
def _temporary_files_on_small_disk(place: Place) -> Iterator[None]:
    with mounts.small_disk(place.temporary, 64):
        yield


def _read_only(place: Place, undo: ExitStack) -> bool:
    mounts.set_read_only(place.results, True)
    undo.callback(mounts.set_read_only, place.results, False)
    return True


def _freeze(place: Place, undo: ExitStack) -> bool:
    mounts.freeze(place.results, FROZEN_S)
    return True


def _disconnect(place: Place, undo: ExitStack) -> bool:
    undo.enter_context(mounts.disconnected(place.results))
    return True


def _disconnect_for_a_while(place: Place, undo: ExitStack) -> bool:
    with mounts.disconnected(place.results):
        time.sleep(GONE_S)
    return True


def _disks() -> Iterator[Kind]:
    on_disk = partial(Kind, group="disks", may=mounts.may_mount)
    fuse = partial(Kind, group="disks", around=_results_in_a_folder, may=mounts.may_disconnect)
    yield on_disk(
        "disk full: run folder", strike=partial(_fill, "run"), after="runner", around=_run_on_small_disk
    )
    yield on_disk("disk full: results", strike=partial(_fill, "results"), around=_results_on_small_disk)
    yield on_disk(
        "disk full: temporary files",
        strike=partial(_fill, "temporary"),
        around=_temporary_files_on_small_disk,
    )
    yield on_disk("results read-only", strike=_read_only, around=_results_on_small_disk)
    yield on_disk(
        f"results hang for {FROZEN_S:.0f} s",
        strike=_freeze,
        around=_results_that_freeze,
        may=mounts.may_freeze,
    )
    yield fuse("results gone", strike=_disconnect)
    yield fuse(f"results gone for {GONE_S:.0f} s", strike=_disconnect_for_a_while)


# Ports


@contextmanager
def _fixed_port(place: Place) -> Iterator[None]:
    place.parameters["port"] = free_port()
    yield


def _take_port_silently(place: Place, undo: ExitStack) -> bool:
    """A program that listens and never answers."""
    taken = undo.enter_context(socket.socket())
    try:
        taken.bind(("127.0.0.1", int(str(place.parameters["port"]))))
    except OSError:
        return False
    taken.listen()
    return True


class _FriendlyServer(BaseHTTPRequestHandler):
    """Answers everything with 200, as a health endpoint of another service would."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def _take_port_with_a_server(place: Place, undo: ExitStack) -> bool:
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(str(place.parameters["port"]))), _FriendlyServer)
    except OSError:
        return False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    undo.callback(server.server_close)
    undo.callback(server.shutdown)
    return True


def _ports() -> Iterator[Kind]:
    taken = partial(Kind, group="ports", latest_s=2.0, around=_fixed_port)
    yield taken("port taken after the check by a silent program", strike=_take_port_silently)
    yield taken("port taken after the check by another HTTP server", strike=_take_port_with_a_server)


# Answers


@contextmanager
def _behind_a_proxy(place: Place) -> Iterator[None]:
    """The server's interpreter is a script that puts the proxy before the real server."""
    real, script = os.environ["SCOREPROF_SERVER_PYTHON"], place.folder / "server-python"
    proxy = Path(__file__).with_name("proxied_server.py")
    control = place.folder / "proxy-mode"
    script.write_text(
        f'#!/bin/sh\ncase " $* " in *\' --port \'*) exec {real} {proxy} {real} {control} "$@";; esac\n'
        f'exec {real} "$@"\n'
    )
    script.chmod(0o700)
    place.environment["SCOREPROF_SERVER_PYTHON"] = str(script)
    yield


def _break_answers(mode: str, seconds: float | None, place: Place, undo: ExitStack) -> bool:
    control = place.folder / "proxy-mode"
    control.write_text(mode)
    if seconds is None:
        undo.callback(control.unlink)
    else:
        time.sleep(seconds)
        control.unlink()
    return True


def _answers() -> Iterator[Kind]:
    for mode in BROKEN:
        for seconds in (1.5, None) if mode in ("500", "close") else (None,):
            yield Kind(
                f"answers: {mode}{'' if seconds is None else f', for {seconds} s'}",
                "answers",
                partial(_break_answers, mode, seconds),
                after="phase small (",
                latest_s=6.0,
                around=_behind_a_proxy,
            )


# Memory


def _out_of_memory_in_cgroup(place: Place, undo: ExitStack) -> bool:
    """The kernel's OOM killer: the scheduler may have hardly any page more."""
    process = process_of(place, "scheduler")
    if process is None:
        return False
    group = CGROUP / f"scoreprof-{os.getpid()}-{threading.get_ident()}"
    group.mkdir()
    undo.callback(_remove_group, group)
    (group / "memory.limit_in_bytes").write_text(str(1 << 20))
    (group / "cgroup.procs").write_text(str(process.pid))
    return _ends(process)


def _remove_group(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (CGROUP / "cgroup.procs").write_text(pid)
    group.rmdir()


def _limit_memory(place: Place, name: str) -> psutil.Process | None:
    """Have the allocations of a process fail (RLIMIT_AS); None if there is no such process."""
    process = process_of(place, name)
    if process is None:
        return None
    with suppress(psutil.NoSuchProcess):
        limit = process.memory_info().vms
        process.rlimit(psutil.RLIMIT_AS, (limit, limit))
        return process
    return None


def _scheduler_without_memory(place: Place, undo: ExitStack) -> bool:
    process = _limit_memory(place, "scheduler")
    return process is not None and _ends(process)


def _kernel_without_memory(place: Place, undo: ExitStack) -> bool:
    return _limit_memory(place, "kernel") is not None


def _no_descriptors(place: Place, undo: ExitStack) -> bool:
    """The kernel can open no more files."""
    process = process_of(place, "kernel")
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        limit = process.num_fds()
        process.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
        return True
    return False


def _ends(process: psutil.Process) -> bool:
    with suppress(psutil.TimeoutExpired):
        process.wait(DIES_S)
        return True
    return False


def _may_limit_memory() -> bool:
    return os.access(CGROUP / "memory.limit_in_bytes", os.W_OK)


def _memory() -> Iterator[Kind]:
    limited = partial(Kind, group="memory", after="scheduler", latest_s=LATEST_S["scheduler"])
    yield limited("OOM kill of the scheduler", strike=_out_of_memory_in_cgroup, may=_may_limit_memory)
    yield limited("no more memory for the scheduler", strike=_scheduler_without_memory)
    for_kernel = partial(Kind, group="memory", after="kernel", latest_s=25.0)
    yield for_kernel("no more memory for the kernel", strike=_kernel_without_memory)
    yield for_kernel("no more open files for the kernel", strike=_no_descriptors)


# Two runs


def _second_run(place: Place, undo: ExitStack) -> bool:
    """Another run into the same folder: refused, unless there is nothing left to capture."""
    second = subprocess.run(
        place.command("second.ipynb"),
        capture_output=True,
        text=True,
        cwd=place.folder,
        env=place.variables(),
        timeout=200,
    )
    refused = second.returncode == 42 and "another run is being captured into it" in second.stderr
    idle = second.returncode == 0 and "All phases exist already" in second.stdout
    if not refused and not idle:
        lines = (second.stdout + second.stderr).strip().splitlines()[-3:]
        place.problems.append(f"the second run ended with {second.returncode}: {lines}")
    return refused


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        *_signals(),
        *_pauses(),
        *_disks(),
        *_ports(),
        *_answers(),
        *_memory(),
        Kind("two runs on one folder", "two runs", _second_run, latest_s=12.0),
    )
}
