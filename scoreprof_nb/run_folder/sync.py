"""Syncing a run folder to a results folder, such as a mounted bucket, and resuming from there.

An object in a bucket exists once its file is closed, and a folder in it cannot be renamed. So only
closed files are copied, each as a whole, and manifest.json last: whatever it names exists by then.
"""

import shutil
from pathlib import Path

from scoreprof_nb.run_folder import files
from scoreprof_nb.run_folder.folder import RunFolder, is_intact, log_damage_of
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Manifest, RunFolderError

RESUMED = (files.SERVER_LOG, files.PROVENANCE)  # what a resumed run needs besides its phases
# No other file is copied: the notebook that papermill still writes, for one, may hold secrets.
_SYNCED = (
    *(*RESUMED, files.SUMMARY, files.SUMMARY_MARKDOWN),
    *(files.REPORT, files.REPORT_HTML, files.FLAME_GRAPH),
)


class ResultsError(RunFolderError):
    """The results folder cannot be used; the message says why."""


def copy_run(run_dir: Path, results_dir: Path) -> int:
    """Copy the files that the results folder lacks, the manifest last; return their number.

    Raises OSError when it cannot be written.
    """
    folder = RunFolder(run_dir)
    manifest = folder.read_manifest()
    synced = manifest_in(results_dir)
    synced_sha256 = dict(synced.sha256) if synced is not None else {}
    results_dir.mkdir(parents=True, exist_ok=True)
    copied = 0
    for path in sorted(run_dir.rglob("*")):
        name = path.relative_to(run_dir)
        if (
            not path.is_file()
            or path == folder.manifest_path
            or any(part.startswith(".") for part in name.parts)
            or not (
                name.parts[0] == files.PHASES
                or path.name in _SYNCED
                or path.name.endswith((files.TIMELINE_SUFFIX, files.TIMED_SUFFIX))
            )
        ):
            continue
        if str(name) in synced_sha256 and synced_sha256[str(name)] == manifest.sha256.get(str(name)):
            continue
        _copy(path, results_dir / name)
        copied += 1
    _copy(folder.manifest_path, RunFolder(results_dir).manifest_path)
    return copied + 1


def sync_run(run_dir: Path, results_dir: str, log_progress: LogProgress) -> None:
    """Copy the run if there is a results folder. A failure is logged; the next call tries again."""
    if not results_dir:
        return
    try:
        log_progress(f"  {copy_run(run_dir, Path(results_dir))} files copied to {results_dir}")
    except OSError as error:
        log_progress(f"  could not sync to {results_dir}, will retry: {error}")


def copy_results(folder: Path, results_dir: Path) -> None:
    """Copy a run, or the files of a comparison, whose runs were copied one by one."""
    if RunFolder(folder).has_manifest():
        copy_run(folder, results_dir)
        return
    results_dir.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            _copy(path, results_dir / path.name)


def published_path(path: Path, folder: Path, results_dir: str) -> Path:
    """The final place of a file of the folder: in the results folder, if there is one."""
    if not results_dir or not path.is_relative_to(folder):
        return path
    return Path(results_dir) / path.relative_to(folder)


def restore_run(results_dir: Path, run_dir: Path) -> tuple[str, ...]:
    """Fetch the finished phases of a run from another machine; return their names.

    Does nothing if the run folder already has a manifest, or the results folder has none. A phase
    whose files differ from their checksums is left out, so that it is captured again; so is a log or a
    provenance. Raises ResultsError when both folders hold phases, of different runs.
    """
    synced = manifest_in(results_dir)
    folder = RunFolder(run_dir)
    if synced is None:
        return ()
    if folder.has_manifest():
        local = folder.read_manifest()
        if local.run_id != synced.run_id and synced.phases_done:
            raise ResultsError(
                f"{results_dir} contains run {synced.run_id}, but {run_dir} contains run {local.run_id}: "
                "use a separate results folder for each run"
            )
        return ()
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in RESUMED:
        if (results_dir / name).is_file() and damage_of(results_dir, name, synced) is None:
            _copy(results_dir / name, run_dir / name)
    for name in synced.phases_done:
        paths = [
            path
            for path in synced.sha256
            if Path(path).parent == Path(files.PHASES, files.phase_folder(name))
        ]
        if paths and all(is_intact(results_dir / path, synced.sha256[path]) for path in paths):
            with folder.staged_phase(name) as staging:
                for path in paths:
                    _copy(results_dir / path, staging / Path(path).name)
    folder.write_manifest(synced)
    return folder.read_manifest().phases_done


def damage_of(results_dir: Path, name: str, manifest: Manifest) -> str | None:
    """Why the server's log or the provenance is not the one of the manifest; None if it is, or is missing."""
    path = results_dir / name
    if name == files.SERVER_LOG:
        return log_damage_of(path, manifest.server_log)
    expected = manifest.sha256.get(name)
    if expected is None or not path.exists() or is_intact(path, expected):
        return None
    return f"{path}: differs from the checksum in the manifest"


def manifest_in(results_dir: Path) -> Manifest | None:
    """The manifest of a run; None when it is missing or damaged: an interrupted upload is not a run.

    Raises OSError for a temporary read error: the manifest may exist.
    """
    try:
        return RunFolder(results_dir).read_manifest()
    except RunFolderError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError | NotADirectoryError):
            raise cause from None
        return None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # neither mode nor times: a bucket has none
