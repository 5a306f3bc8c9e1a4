"""The capture of a run: one server, and the phases that the run folder lacks.

Each phase is on disk as soon as it ends; a finished phase is not captured again.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from scoreprof_nb.capture.capacity import measure_capacity
from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.phase import capture_phase
from scoreprof_nb.capture.preflight import Plan, check_folders, prepare
from scoreprof_nb.capture.resume import (
    earlier_manifest,
    finished_phases,
    kinds_without_rates,
    last_log_time_s,
    new_manifest,
    phases_of_run,
    refuse_other_code,
    restore_from_results,
    set_damaged_aside,
    with_rate,
)
from scoreprof_nb.capture.run_clock import anchor, now_s
from scoreprof_nb.capture.server import LaunchedServer, Server, ServerFailed
from scoreprof_nb.parameters.load import ladder
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.folder import FolderInUse, RunFolder
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Manifest
from scoreprof_nb.run_folder.segments import keep_unfinished, remove_short
from scoreprof_nb.run_folder.sync import sync_run

WARMUP_GUESS_S = 15.0


@dataclass(frozen=True)
class CaptureResult:
    """What a capture did. ``failure``: why phases are missing, None when none is."""

    captured: tuple[str, ...]  # phases captured now, not before
    failure: str | None = None
    unanswered: tuple[str, ...] = ()  # of these, phases in which every request failed


def capture(parameters: Parameters, log_progress: LogProgress) -> CaptureResult:
    """Capture the phases that the run folder lacks.

    Raises ParameterError for what the user has to change. A server that fails is a result, not an
    error: the phases captured before it are kept.
    """
    with private_files():
        return _resume_or_capture(parameters, log_progress)


def _resume_or_capture(parameters: Parameters, log_progress: LogProgress) -> CaptureResult:
    folder = RunFolder(Path(parameters.run_dir))
    restore_from_results(folder, parameters, log_progress)
    set_damaged_aside(folder, log_progress)
    behind_s = anchor(not_before_s=last_log_time_s(folder.log_path))
    if behind_s > 1:
        log_progress(f"the clock is {behind_s:.0f} s behind the run's last line: times go on from that line")
    if folder.phases_path.is_dir():
        with suppress(FolderInUse), folder.locked():
            keep_unfinished(folder, log_progress)
    earlier = earlier_manifest(folder, parameters)
    phases = phases_of_run(folder, parameters, earlier)
    done = finished_phases(folder, phases)
    missing = tuple(name for name in phases if name not in done)
    if not missing and not kinds_without_rates(parameters, phases):
        if earlier is not None and earlier.status == "capturing":
            folder.write_manifest(replace(earlier, status="complete", failure=None))
        log_progress(f"run folder {folder.path} is complete; nothing to capture")
        return CaptureResult(())
    check_folders(parameters)
    parameters = with_rate(parameters, earlier, done)
    with _locked(folder, parameters):
        return _capture_missing(folder, parameters, phases, earlier, log_progress)


@contextmanager
def _locked(folder: RunFolder, parameters: Parameters) -> Iterator[None]:
    """Raises ParameterError when another capture writes into the folder."""
    with ExitStack() as stack:
        try:
            stack.enter_context(folder.locked())
        except FolderInUse as error:
            raise ParameterError(
                "run_dir", parameters.run_dir, "another run is being captured into it"
            ) from error
        yield


def _capture_missing(
    folder: RunFolder,
    parameters: Parameters,
    phases: tuple[str, ...],
    earlier: Manifest | None,
    log_progress: LogProgress,
) -> CaptureResult:
    done = finished_phases(folder, phases)
    missing = tuple(name for name in phases if name not in done)
    log_progress("checking parameters, interpreter, model, port and permission to trace")
    plan = prepare(parameters, missing)
    if done:
        refuse_other_code(folder, parameters, plan.provenance)
    if plan.recorder is not None:
        log_progress(f"{plan.recorder.name} takes {plan.recorder.rate_hz} samples/s")
    manifest = new_manifest(parameters, phases, earlier)
    folder.write_provenance(plan.provenance)
    folder.write_manifest(manifest)
    return _Capture(parameters, plan, folder, manifest, log_progress).run(missing)


@dataclass
class _Capture:
    """A capture with its plan and its written manifest, to which ``rates`` auto adds phases."""

    parameters: Parameters
    plan: Plan
    folder: RunFolder
    manifest: Manifest
    log_progress: LogProgress

    def run(self, missing: tuple[str, ...]) -> CaptureResult:
        """Capture these phases; the manifest records the outcome in any case."""
        captured: list[str] = []
        failure: str | None = "interrupted"
        try:
            with (
                self.plan.delays or nullcontext(),
                running_server(self.plan, self.folder, self.parameters, self.log_progress) as server,
            ):
                self._capture(server, missing, captured)
                for kind in kinds_without_rates(self.parameters, self.manifest.phases):
                    workload = self.plan.workloads.of(kind, "/capacity")
                    capacity_per_s = measure_capacity(server, workload, self.parameters, self.log_progress)
                    rates = tuple(phase.name for phase in ladder(kind, capacity_per_s))
                    self.manifest = replace(self.manifest, phases=(*self.manifest.phases, *rates))
                    self._capture(server, rates, captured, capacity_per_s)
            unanswered = self._unanswered(captured)
            failure = f"every request failed in phase {', '.join(unanswered)}" if unanswered else None
        except ServerFailed as error:
            failure = self.plan.redact(str(error))
            captured += keep_unfinished(self.folder, self.log_progress)
        except ParameterError as error:
            failure = self.plan.redact(str(error))
            raise
        finally:
            self._close(failure)
        return CaptureResult(tuple(captured), failure, self._unanswered(captured))

    def _unanswered(self, captured: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in captured if not self.folder.has_answers(name))

    def _capture(
        self,
        server: Server,
        names: tuple[str, ...],
        captured: list[str],
        capacity_per_s: float | None = None,
    ) -> None:
        """Capture these phases, and add the name of each to ``captured`` when it is on disk."""
        phase_s = self.parameters.phase_s + WARMUP_GUESS_S + 2 * self.parameters.device_trace_s
        phase_s += self.parameters.what_if_s if self.plan.delays is not None else 0.0
        for position, name in enumerate(names):
            left_s = (len(names) - position) * phase_s
            self.log_progress(f"phase {name} ({position + 1} of {len(names)}), about {left_s:.0f} s left")
            capture_phase(
                server, self.plan, self.parameters, self.folder, name, self.log_progress, capacity_per_s
            )
            captured.append(name)
            self.folder.write_manifest(self.manifest)
            self._sync()

    def _close(self, failure: str | None) -> None:
        remove_short(self.folder)
        done = finished_phases(self.folder, self.manifest.phases)
        whole = len(done) == len(self.manifest.phases)
        if whole and kinds_without_rates(self.parameters, self.manifest.phases):
            whole = False  # the capacity was not measured
        status = "complete" if whole else "partial" if done else "failed"
        self.folder.write_manifest(replace(self.manifest, status=status, failure=failure, finished_s=now_s()))
        self._sync()

    def _sync(self) -> None:
        sync_run(self.folder.path, self.parameters.results_dir, self.log_progress)


@contextmanager
def private_files() -> Iterator[None]:
    """What is created meanwhile is readable by the user only: logs and requests may tell something."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def running_server(
    plan: Plan, folder: RunFolder, parameters: Parameters, log_progress: LogProgress
) -> Iterator[Server]:
    """A healthy server: attached, or launched and stopped here.

    Raises ServerFailed, or ParameterError when the server refuses its flags.
    """
    if plan.attached is not None:
        plan.attached.wait_healthy(parameters.startup_s)
        log_progress(f"attached to the server at {plan.attached.url}, pid {plan.attached.pid()}")
        with plan.attached.copied_log(parameters.server_log, folder.log_path):
            yield plan.attached
        log_progress("leaving the server running")
        return
    log_progress(f"launching the server on port {plan.port}; its log: {folder.log_path}")
    started = time.monotonic()
    environment = plan.environment if plan.delays is None else plan.delays.environment(plan.environment)
    with LaunchedServer(
        plan.command, environment, plan.port, folder.log_path, plan.redact, cwd=folder.path
    ) as server:
        try:
            server.wait_healthy(parameters.startup_s)
        except ServerFailed as error:
            reason = ENGINE.refused_flags(server.exit_code, server.log.lines())
            if reason is None:
                raise
            raise ParameterError(
                "server_flags", parameters.server_flags, f"rejected by the server: {reason}"
            ) from error
        log_progress(f"the server is healthy after {time.monotonic() - started:.1f} s")
        try:
            yield server
        finally:
            log_progress("stopping the server")
