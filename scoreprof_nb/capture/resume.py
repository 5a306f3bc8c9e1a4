"""Resuming a run folder: which phases are missing, and whether they may be added."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.preflight import check_folders
from scoreprof_nb.capture.run_clock import now_s
from scoreprof_nb.capture.sampling_rate import sampling_rate_here
from scoreprof_nb.parameters.load import PhasePlan
from scoreprof_nb.parameters.profile import MEASURED, Parameters
from scoreprof_nb.parameters.requests_file import FILE_PHASE
from scoreprof_nb.parameters.sampling import rate_of
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.folder import RunFolder, log_damage_of
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Manifest, RunFolderError
from scoreprof_nb.run_folder.store import LOG_LINE
from scoreprof_nb.run_folder.sync import RESUMED, damage_of, restore_run

LOG_TAIL_BYTES = 65_536


def restore_from_results(folder: RunFolder, parameters: Parameters, log_progress: LogProgress) -> None:
    """Restore the run from the results folder, on a machine without a copy of it.

    Raises ParameterError when the results folder cannot be read.
    """
    if not parameters.results_dir:
        return
    check_folders(parameters)
    results_dir = Path(parameters.results_dir)
    try:
        begun = folder.has_manifest()
        names = restore_run(results_dir, folder.path)
    except RunFolderError as error:
        raise ParameterError("results_dir", parameters.results_dir, str(error)) from error
    if names:
        log_progress(f"restored from {parameters.results_dir}: phases {', '.join(names)}")
    if not begun:
        _say_what_was_not_restored(results_dir, names, log_progress)


def _say_what_was_not_restored(results_dir: Path, names: tuple[str, ...], log_progress: LogProgress) -> None:
    """A run that begins anew, or captures a phase once more, says which file it could not use."""
    results = RunFolder(results_dir)
    if not results.has_manifest():
        return
    try:
        manifest = results.read_manifest()
    except RunFolderError as error:
        log_progress(f"nothing restored: {error}")
        return
    for name in manifest.phases_done:
        if name not in names:
            log_progress(f"phase {name} not restored: {results.damage(manifest, name)}")
    for name in RESUMED:
        damage = damage_of(results_dir, name, manifest)
        if damage is not None:
            log_progress(f"not restored: {damage}")


def last_log_time_s(path: Path) -> float:
    """The time stamp of the log's last line, epoch seconds; 0 without any."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return 0.0
    stamps = [match for match in map(LOG_LINE.match, lines) if match]
    return int(stamps[-1][1]) + int(stamps[-1][2]) / 1e6 if stamps else 0.0


def earlier_manifest(folder: RunFolder, parameters: Parameters) -> Manifest | None:
    """The manifest of a run to resume, None for a new one.

    Raises ParameterError when phases are to be added and its own were measured with other parameters.
    """
    if not folder.has_manifest():
        return None
    try:
        manifest = folder.read_manifest()
    except RunFolderError as error:
        raise ParameterError("run_dir", parameters.run_dir, str(error)) from error
    done = finished_phases(folder, manifest.phases)
    wanted = parameters.phase_names() if parameters.phases else manifest.phases
    if done and any(name not in done for name in wanted):
        refuse_other_parameters(manifest, parameters, done)
    return manifest


def refuse_other_parameters(manifest: Manifest, parameters: Parameters, done: tuple[str, ...]) -> None:
    """Raise ParameterError when the finished phases of a run were measured with other parameters."""
    current = recorded_parameters(parameters)
    for name in MEASURED:
        if name == "requests_file" and all(PhasePlan.parse(phase).kind != FILE_PHASE for phase in done):
            continue
        if name == "rate_hz" and rate_of(parameters.rate_hz) is None:  # the earlier one, see with_rate
            continue
        earlier = manifest.parameters.get(name, current[name])
        if str(earlier) != str(current[name]):  # numbers of older versions are texts now
            raise ParameterError(
                name,
                current[name],
                f"phases in {parameters.run_dir} were measured with {earlier!r}: use that value or another "
                f"run_dir. To report only the finished phases, set phases={','.join(done)}",
            )


def with_rate(parameters: Parameters, earlier: Manifest | None, done: tuple[str, ...]) -> Parameters:
    """The parameters with a number for rate_hz ``auto``: that of the phases that are ``done``, or else by the
    CPUs of this machine."""
    if rate_of(parameters.rate_hz) is not None:
        return parameters
    before = earlier.parameters.get("rate_hz") if earlier is not None and done else None
    return parameters.with_values(rate_hz=before or sampling_rate_here(parameters))


def refuse_other_code(folder: RunFolder, parameters: Parameters, provenance: Mapping[str, Any]) -> None:
    """Raise ParameterError when the finished phases were measured with another server or chip, as after a
    preemption during which the image's tag was pushed again."""
    earlier = folder.read_provenance()
    for name in (*ENGINE.code_identity, "chip"):
        if name in earlier and earlier[name] != provenance.get(name):
            raise ParameterError(
                "run_dir",
                parameters.run_dir,
                f"its finished phases were measured with {name} {earlier[name]}, which is now "
                f"{provenance.get(name)}: use another folder",
            )


def set_damaged_aside(folder: RunFolder, log_progress: LogProgress) -> None:
    """Move phases whose files are not what was captured out of the way, and say so: they are captured again.

    The same for the log; what it would tell is then not known. A manifest written now would
    otherwise take the checksums of damaged files for the right ones.
    """
    try:
        manifest = folder.read_manifest()
        with folder.locked():
            for name in manifest.phases:
                damage = folder.damage(manifest, name) if folder.has_phase(name) else None
                if damage is not None:
                    log_progress(f"phase {name} is set aside as {folder.set_aside(name).name}: {damage}")
            log_damage = log_damage_of(folder.log_path, manifest.server_log)
            if log_damage is not None:
                aside = folder.log_path.rename(folder.path / f".{folder.log_path.name}-damaged")
                log_progress(f"the server's log is set aside as {aside.name}: {log_damage}")
    except RunFolderError:  # no manifest yet; a damaged one, or a folder in use: said when it is needed
        return
    except OSError as error:  # a folder that cannot be written: loading it names the damaged file
        log_progress(f"{folder.path} cannot be changed: {error}")


def finished_phases(folder: RunFolder, phases: tuple[str, ...]) -> tuple[str, ...]:
    """The finished phases on disk. The manifest of a killed capture may lack the last one.

    A phase in which every request failed is captured again.
    """
    return tuple(name for name in phases if folder.has_phase(name) and folder.has_answers(name))


def phases_of_run(folder: RunFolder, parameters: Parameters, earlier: Manifest | None) -> tuple[str, ...]:
    """All phases of the run: the finished ones, then those that the parameters name."""
    if earlier is None:
        return parameters.phase_names()
    if not parameters.phases:
        return earlier.phases
    # The rates that "auto" chose before.
    chosen = [
        name
        for name, plan in ((name, PhasePlan.parse(name)) for name in earlier.phases)
        if plan.rate_per_s is not None and plan.kind in parameters.ladder_kinds()
    ]
    return tuple(
        dict.fromkeys([*finished_phases(folder, earlier.phases), *parameters.phase_names(), *chosen])
    )


def kinds_without_rates(parameters: Parameters, phases: tuple[str, ...]) -> list[str]:
    """The kinds of request for which ``rates`` auto has still to choose the rates."""
    have = {plan.kind for plan in map(PhasePlan.parse, phases) if plan.rate_per_s is not None}
    return [kind for kind in parameters.ladder_kinds() if kind not in have]


def new_manifest(parameters: Parameters, phases: tuple[str, ...], earlier: Manifest | None) -> Manifest:
    """The manifest of this capture. A run with finished phases keeps its id and its start."""
    now = now_s()
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    recorded = recorded_parameters(parameters)
    label = re.sub(r"[^\w.-]+", "-", recorded["label"])
    continued = earlier if earlier is not None and earlier.phases_done else None
    return Manifest(
        run_id=continued.run_id if continued else f"{stamp}-{label}",
        label=recorded["label"],
        parameters=recorded,
        phases=phases,
        started_s=continued.started_s if continued else now,
    )


def recorded_parameters(parameters: Parameters) -> dict[str, Any]:
    """The parameters for the manifest, without secrets, wherever they stand."""
    values: dict[str, Any] = parameters.as_dict()
    recorded: dict[str, Any] = Redactor.for_parameters(values).deep(values)
    return recorded
