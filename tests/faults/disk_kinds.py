"""Faults of disks: full, read-only, hanging, gone."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.faults import mounts
from tests.faults.kind import Kind
from tests.faults.place import Place

FROZEN_S = 8.0
GONE_S = 5.0


@contextmanager
def _run_on_small_disk(place: Place) -> Iterator[None]:
    with _small_disk_with(place.run, 64):
        yield


@contextmanager
def _small_disk_with(path: Path, megabytes: int) -> Iterator[None]:
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


def disks() -> Iterator[Kind]:
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
