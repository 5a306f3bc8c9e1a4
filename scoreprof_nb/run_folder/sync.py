"""The copy of a run folder in a results folder, such as a bucket that is mounted.

An object in a bucket is there once its file is closed, and a folder cannot be renamed. So only closed
files are copied, whole, and manifest.json last: what it names is there. Another machine goes on from
the copy.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from scoreprof_nb.run_folder.store import Manifest, RunFolder, RunFolderError, file_sha256

# What else there may be, such as the notebook that papermill still writes, may hold secrets.
_OF_A_RUN = (
    *("server.log", "provenance.json", "summary.json", "summary.md"),
    *("report.ipynb", "report.html", "score_api_profile.svg"),
)
_ALSO = ("server.log", "provenance.json")  # what a continued run needs besides its phases


class ResultsError(RunFolderError):
    """The results folder cannot be used; the message says why."""


def copy_run(run_dir: Path, results_dir: Path) -> int:
    """Copy what the results folder lacks of the run, the manifest last; gives the number of files copied.

    Raises OSError when it cannot be written.
    """
    folder = RunFolder(run_dir)
    manifest = folder.read_manifest()
    there = _manifest_of(results_dir)
    known = dict(there.sha256) if there is not None else {}
    results_dir.mkdir(parents=True, exist_ok=True)
    copied = 0
    for path in sorted(run_dir.rglob("*")):
        name = path.relative_to(run_dir)
        if (
            not path.is_file()
            or path == folder.manifest_path
            or any(part.startswith(".") for part in name.parts)
            or not (name.parts[0] == "phases" or path.name in _OF_A_RUN)
        ):
            continue
        if str(name) in known and known[str(name)] == manifest.sha256.get(str(name)):
            continue
        _copy(path, results_dir / name)
        copied += 1
    _copy(folder.manifest_path, RunFolder(results_dir).manifest_path)
    return copied + 1


def sync_run(run_dir: Path, results_dir: str, say: Callable[[str], None]) -> None:
    """Copy the run, if there is a results folder. What fails is said; the next copy tries it again."""
    if not results_dir:
        return
    try:
        say(f"  {copy_run(run_dir, Path(results_dir))} files copied to {results_dir}")
    except OSError as error:
        say(f"  could not copy to {results_dir}, will try again: {error}")


def copy_results(folder: Path, results_dir: Path) -> None:
    """Copy a run, or the files of a comparison, whose runs have been copied one by one."""
    if RunFolder(folder).has_manifest():
        copy_run(folder, results_dir)
        return
    results_dir.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            _copy(path, results_dir / path.name)


def published_path(path: Path, folder: Path, results_dir: str) -> Path:
    """Where a file of the folder is to be looked for once all is over: in its copy, if it has one."""
    if not results_dir or not path.is_relative_to(folder):
        return path
    return Path(results_dir) / path.relative_to(folder)


def restore_run(results_dir: Path, run_dir: Path) -> tuple[str, ...]:
    """Bring back the finished phases of a run that another machine began; gives their names.

    Nothing is done when the run folder has a manifest of its own, or the results folder has none. A
    phase whose files differ from their checksums is left out, so that it is captured again. Raises
    ResultsError when both hold phases, of different runs.
    """
    there = _manifest_of(results_dir)
    folder = RunFolder(run_dir)
    if there is None:
        return ()
    if folder.has_manifest():
        here = folder.read_manifest()
        if here.run_id != there.run_id and there.phases_done:
            raise ResultsError(
                f"{results_dir} holds the run {there.run_id}, {run_dir} the run {here.run_id}: "
                "give each run a results folder of its own"
            )
        return ()
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in _ALSO:
        if (results_dir / name).is_file():
            _copy(results_dir / name, run_dir / name)
    for name in there.phases_done:
        files = [file for file in there.sha256 if Path(file).parent == Path("phases", name)]
        if files and all(_whole(results_dir / file, there.sha256[file]) for file in files):
            with folder.staged_phase(name) as staging:
                for file in files:
                    _copy(results_dir / file, staging / Path(file).name)
    folder.write_manifest(there)
    return folder.read_manifest().phases_done


def _manifest_of(results_dir: Path) -> Manifest | None:
    """None when there is none, or what there is is none: an upload that was cut off is no run.

    Raises OSError when it cannot be read just now: what is there must not be taken for nothing.
    """
    try:
        return RunFolder(results_dir).read_manifest()
    except RunFolderError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError | NotADirectoryError):
            raise cause from None
        return None


def _whole(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except FileNotFoundError:
        return False


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # neither mode nor times: a bucket has none
