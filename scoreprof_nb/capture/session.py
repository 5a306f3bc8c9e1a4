"""The capture of a run: the only place where server, load and py-spy are put together.

A phase is warmed up, then measured in four blocks with py-spy off, on, on, off, so that what py-spy
costs is measured in the run itself and a drift of the machine falls on both sides alike. Each phase
is on disk as soon as it ends; what is there already is not captured again.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scoreprof_nb.capture import thread_cpu
from scoreprof_nb.capture.preflight import Plan, check_folders, prepare
from scoreprof_nb.capture.pyspy import PySpy, PySpyFailed, thread_ids
from scoreprof_nb.capture.server import LaunchedServer, Server, ServerFailed
from scoreprof_nb.capture.workload import LoadGenerator, workload_fingerprint
from scoreprof_nb.parameters.profile import FILE_PHASE, MEASURED, ParameterError, Parameters, environment_of
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.store import (
    Block,
    Manifest,
    PhaseRecord,
    Recording,
    RunFolder,
    RunFolderError,
    ServerProcess,
    Warmup,
    write_phase,
)
from scoreprof_nb.run_folder.sync import restore_run, sync_run

BLOCKS_PROFILED = (False, True, True, False)
POLL_S = 0.1
PROGRESS_S = 5.0
SAME_CODE = ("sglang_jax", "sglang_jax_source", "jax", "jaxlib", "libtpu", "chip")
WARMUP_GUESS_S = 15.0
_PREFILL = "Prefill batch"
_COMPILED = re.compile(r"#cache_miss: [1-9]")
_REFUSED = re.compile(r"launch_server.*error: (.*)|^\S+: error: (.*)")

Say = Callable[[str], None]


@dataclass(frozen=True)
class CaptureResult:
    """What a capture left. ``failure``: why phases are missing, None when none is."""

    captured: tuple[str, ...]  # phases captured now, not before
    failure: str | None = None


def capture(parameters: Parameters, say: Say) -> CaptureResult:
    """Capture the phases that the run folder lacks.

    Raises ParameterError for what the user has to change. A server that fails is an outcome, not an
    error: what was captured before is there.
    """
    folder = RunFolder(Path(parameters.run_dir))
    _restore(folder, parameters, say)
    old = _old_manifest(folder, parameters)
    phases = _phases(folder, parameters, old)
    done = _done(folder, phases)
    missing = tuple(name for name in phases if name not in done)
    if not missing:
        if old is not None and old.status == "capturing":
            folder.write_manifest(replace(old, status="complete", failure=None))
        say(f"run folder {folder.path} is complete: nothing to capture")
        return CaptureResult(())
    check_folders(parameters)
    say("checking parameters, interpreter, model, port and the right to trace")
    plan = prepare(parameters, missing)
    if done:
        _refuse_other_code(folder, parameters, plan)
    manifest = _new_manifest(parameters, phases, old)
    folder.write_provenance(plan.provenance)
    folder.write_manifest(manifest)
    captured: list[str] = []
    failure: str | None = "interrupted"
    try:
        server = _start(plan, folder, parameters, say)
        try:
            for position, name in enumerate(missing):
                left_s = (len(missing) - position) * (parameters.phase_s + WARMUP_GUESS_S)
                say(f"phase {name} ({position + 1} of {len(missing)}), about {left_s:.0f} s left")
                _capture_phase(server, plan, parameters, folder, name, say)
                captured.append(name)
                folder.write_manifest(manifest)
                sync_run(folder.path, parameters.results_dir, say)
        finally:
            say("stopping the server" if plan.found is None else "leaving the server as it was")
            server.stop()
        failure = None
    except (ServerFailed, ParameterError) as error:
        failure = plan.redact(str(error))
        if isinstance(error, ParameterError):
            raise
    finally:
        done = _done(folder, phases)
        status = "complete" if len(done) == len(phases) else "partial" if done else "failed"
        folder.write_manifest(replace(manifest, status=status, failure=failure, finished_s=time.time()))
        sync_run(folder.path, parameters.results_dir, say)
    return CaptureResult(tuple(captured), failure)


def _restore(folder: RunFolder, parameters: Parameters, say: Say) -> None:
    """Bring back what the results folder has of this run, on a machine that has nothing of it."""
    if not parameters.results_dir:
        return
    check_folders(parameters)
    try:
        names = restore_run(Path(parameters.results_dir), folder.path)
    except RunFolderError as error:
        raise ParameterError("results_dir", parameters.results_dir, str(error)) from error
    if names:
        say(f"phases {', '.join(names)} are brought back from {parameters.results_dir}")


def _old_manifest(folder: RunFolder, parameters: Parameters) -> Manifest | None:
    """The manifest of a run that is continued; raises ParameterError when it measured otherwise."""
    if not folder.has_manifest():
        return None
    try:
        manifest = folder.read_manifest()
    except RunFolderError as error:
        raise ParameterError("run_dir", parameters.run_dir, str(error)) from error
    done = _done(folder, manifest.phases)
    asked = parameters.phase_names() if parameters.phases else manifest.phases
    if done and any(name not in done for name in asked):
        refuse_other_parameters(manifest, parameters, done)
    return manifest


def refuse_other_parameters(manifest: Manifest, parameters: Parameters, done: tuple[str, ...]) -> None:
    """Raise ParameterError when the finished phases of a run were measured with other parameters."""
    now = _kept(parameters)
    for name in MEASURED:
        if name == "requests_file" and FILE_PHASE not in done:
            continue
        if manifest.parameters.get(name, now[name]) != now[name]:
            raise ParameterError(
                name,
                now[name],
                f"phases of the run in {parameters.run_dir} were measured with "
                f"{manifest.parameters.get(name)!r}: use that, or another run_dir; to report what is there, "
                f"ask for its phases only: phases={','.join(done)}",
            )


def _refuse_other_code(folder: RunFolder, parameters: Parameters, plan: Plan) -> None:
    """Raise ParameterError when the finished phases were measured with another server or chip, as after a
    preemption when the image's tag was pushed again."""
    before = folder.read_provenance()
    for name in SAME_CODE:
        if name in before and before[name] != plan.provenance.get(name):
            raise ParameterError(
                "run_dir",
                parameters.run_dir,
                f"its finished phases were measured with {name} {before[name]}, and now it is "
                f"{plan.provenance.get(name)}: name another folder for it",
            )


def _done(folder: RunFolder, phases: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are on disk: a capture that was killed may have ended one that its manifest lacks."""
    return tuple(name for name in phases if (folder.phase_path(name) / "phase.json").exists())


def _phases(folder: RunFolder, parameters: Parameters, old: Manifest | None) -> tuple[str, ...]:
    if old is None:
        return parameters.phase_names()
    if not parameters.phases:
        return old.phases
    return tuple(dict.fromkeys([*_done(folder, old.phases), *parameters.phase_names()]))


def _new_manifest(parameters: Parameters, phases: tuple[str, ...], old: Manifest | None) -> Manifest:
    now = time.time()
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    safe = re.sub(r"[^\w.-]+", "-", parameters.label)
    first = old if old is not None and old.phases_done else None
    return Manifest(
        run_id=first.run_id if first else f"{stamp}-{safe}",
        label=parameters.label,
        parameters=_kept(parameters),
        phases=phases,
        started_s=first.started_s if first else now,
    )


def _kept(parameters: Parameters) -> dict[str, Any]:
    """The parameters as the manifest shows them: no secret in flags and environment."""
    flags, environment = parameters.server_flags, parameters.server_environment
    redact = Redactor.for_server(flags, environment_of(environment))
    return {**parameters.as_dict(), "server_flags": redact(flags), "server_environment": redact(environment)}


def _start(plan: Plan, folder: RunFolder, parameters: Parameters, say: Say) -> Server:
    if plan.found is not None:
        plan.found.wait_healthy(parameters.startup_s)
        say(f"found the server at {plan.found.url}, pid {plan.found.pid()}")
        return plan.found
    say(f"launching the server on port {plan.port}; its log: {folder.log_path}")
    started = time.monotonic()
    server = LaunchedServer(
        plan.command, dict(plan.environment), plan.port, folder.log_path, plan.redact, cwd=folder.path
    )
    try:
        server.wait_healthy(parameters.startup_s)
    except BaseException as error:
        refused = [match for match in map(_REFUSED.search, server.log_lines()) if match]
        exit_code = server.exit_code
        server.stop()
        if isinstance(error, ServerFailed) and exit_code == 2 and refused:
            message = refused[-1][1] or refused[-1][2]
            raise ParameterError(
                "server_flags", parameters.server_flags, f"the server refuses them: {message}"
            ) from error
        raise
    say(f"the server is healthy after {time.monotonic() - started:.1f} s")
    return server


def _capture_phase(
    server: Server, plan: Plan, parameters: Parameters, folder: RunFolder, name: str, say: Say
) -> None:
    bodies = plan.bodies[name]
    load = LoadGenerator(server.url, bodies, parameters.concurrency, parameters.request_s)
    started_s = time.time()
    with folder.staged_phase(name) as staging:
        load.start()
        try:
            kinds = len({(body.kind, body.items) for body in bodies})
            warmup = _warm_up(server, load, kinds, parameters, say)
            say(f"  warm-up: {warmup.requests} requests, {warmup.wall_s:.0f} s; {warmup.ended}")
            load.warming = False
            processes = server.processes()
            profiles = parameters.py_spy_mode != "off"
            pids = {process.pid: thread_ids(process.pid) for process in processes} if profiles else {}
            blocks: list[Block] = []
            threads: list[dict[str, Any]] = []
            for number, profiled in enumerate(BLOCKS_PROFILED):
                recorder = (
                    _Recorder(server, staging / f"recording-{number}.speedscope.json", parameters, plan, pids)
                    if profiled and profiles
                    else None
                )
                block, rows = _block(number, server, load, processes, parameters, recorder, say)
                blocks.append(block)
                threads.extend(rows)
            load.stop()
        except BaseException:
            load.abandon()
            raise
        server.check_alive()
        notes = [f"{kind}: first of its kind said {text}" for kind, text in load.failures.items()]
        record = PhaseRecord(
            name=name,
            started_s=started_s,
            finished_s=time.time(),
            warmup=warmup,
            blocks=tuple(blocks),
            processes=processes,
            notes=tuple(map(plan.redact, notes)),
            workload=workload_fingerprint(bodies),
        )
        write_phase(staging, record, sorted(load.rows, key=lambda row: row["request"]), threads)
    measured = [row for row in load.rows if not row["warmup"]]
    failed = sum(row["error"] is not None for row in measured)
    say(f"  phase {name} done: {len(measured)} requests, {failed} failed; written")


def _warm_up(server: Server, load: LoadGenerator, kinds: int, parameters: Parameters, say: Say) -> Warmup:
    """Wait until the last requests met no compile, by the server's log, or until the limit."""
    needed = max(5, 3 * kinds) * parameters.concurrency
    start, said_at = time.monotonic(), time.monotonic()
    log = server.log
    seen = len(log.lines()) if log is not None else 0
    compiles, clean_from, told = 0, 0, False
    while (elapsed := time.monotonic() - start) < parameters.warmup_s:
        server.check_alive()
        done = len(load.rows)
        if log is not None:
            new = log.lines(seen)
            seen += len(new)
            told = told or any(_PREFILL in line for line in new)
            met = sum(bool(_COMPILED.search(line)) for line in new)
            if met:
                compiles += met
                clean_from = done + parameters.concurrency  # those in flight may be hit too
        if done - clean_from >= needed:
            how = f"no compile in the last {needed} requests"
            if not told:
                how = f"{needed} requests (no server log that tells of batches: compiles are not known)"
            return Warmup(done, elapsed, compiles if told else None, told, how)
        if time.monotonic() - said_at > PROGRESS_S:
            said_at = time.monotonic()
            say(f"  warming up: {done} requests, {compiles} batches compiled, {elapsed:.0f} s")
        time.sleep(POLL_S)
    ended = f"the limit of {parameters.warmup_s:.0f} s: still compiling, or too few requests"
    return Warmup(len(load.rows), time.monotonic() - start, compiles if told else None, False, ended)


class _Recorder:
    """py-spy and the clock of one block; a py-spy that fails is a recording with its reason."""

    def __init__(
        self,
        server: Server,
        output: Path,
        parameters: Parameters,
        plan: Plan,
        pids: Mapping[int, Mapping[int, int]],
    ) -> None:
        self._server = server
        self._failed: Recording | None = None
        self._py_spy: PySpy | None = None
        server.enable_clock(True)
        try:
            self._py_spy = PySpy(
                server.pid(), output, parameters.rate_hz, parameters.py_spy_mode, plan.redact, pids
            )
        except PySpyFailed as error:
            now = time.time()
            self._failed = Recording(None, now, now, parameters.rate_hz, failure=plan.redact(str(error)))

    def stop(self) -> Recording:
        recording = self._py_spy.stop() if self._py_spy is not None else self._failed
        self._server.enable_clock(False)
        assert recording is not None
        return recording

    def kill(self) -> None:
        if self._py_spy is not None:
            self._py_spy.kill()


def _block(
    number: int,
    server: Server,
    load: LoadGenerator,
    processes: tuple[ServerProcess, ...],
    parameters: Parameters,
    recorder: _Recorder | None,
    say: Say,
) -> tuple[Block, list[dict[str, Any]]]:
    """Measure one block of load that runs already; gives it and its rows of threads.parquet.

    It begins and ends with an answer: a block that cut requests off would lose the longest most often,
    and with them all of a block that a single compile fills.
    """
    pids = [process.pid for process in processes]
    try:
        start_s = _next_answer(server, load, parameters.request_s)
        first = len(load.rows)
        before = thread_cpu.snapshot(pids)
        said_at = time.monotonic()
        while (left := start_s + parameters.phase_s / 4 - time.time()) > 0:
            server.check_alive()
            if time.monotonic() - said_at > PROGRESS_S:
                said_at = time.monotonic()
                say(f"  block {number + 1} of {len(BLOCKS_PROFILED)}: {left:.0f} s left")
            time.sleep(min(POLL_S, left))
        until_s = time.time()
        stop_s = _next_answer(server, load, parameters.request_s)
        after = thread_cpu.snapshot(pids)
        recording = recorder.stop() if recorder is not None else None
    except BaseException:
        if recorder is not None:
            with suppress(Exception):
                recorder.kill()
        raise
    how = (
        "off" if recording is None else "on" if recording.failure is None else f"failed: {recording.failure}"
    )
    say(f"  block {number + 1} of {len(BLOCKS_PROFILED)}: {len(load.rows) - first} requests, py-spy {how}")
    return Block(number, start_s, stop_s, recording, until_s), thread_cpu.rows(number, before, after)


def _next_answer(server: Server, load: LoadGenerator, limit_s: float) -> float:
    """Wait until what is in flight is answered, at most for the limit; gives epoch seconds."""
    in_flight = load.in_flight()
    deadline = time.monotonic() + limit_s
    while in_flight and time.monotonic() < deadline:
        server.check_alive()
        answered_s = load.wait_answered(in_flight, POLL_S)
        if answered_s is not None:
            return answered_s
    return time.time()
