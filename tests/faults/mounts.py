"""File systems that fill up, turn read-only, hang or go away. They need the right to mount (root on Linux).

``results`` of a run is such a file system in production: a bucket's mount, served by a process that may end.
"""

import ctypes
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

MNT_DETACH = 2
FILLER = ".filler"  # takes the place that a full disk lacks
_libc = ctypes.CDLL(None, use_errno=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _unmount(path: Path) -> None:
    _libc.umount2(os.fsencode(path), MNT_DETACH)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """A tmpfs at the path."""
    path.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "none", str(path))
    try:
        yield
    finally:
        _unmount(path)


def fill(path: Path) -> Path:
    """Fill the file system of a folder to its last byte; return the file that takes the place."""
    filler = path / FILLER
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65536))
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1))
    return filler


def set_read_only(path: Path, read_only: bool) -> None:
    """Mount the file system at the path again."""
    _mount("-o", f"remount,{'ro' if read_only else 'rw'}", str(path))


@contextmanager
def disk_that_freezes(path: Path, image: Path) -> Iterator[None]:
    """An ext4 file system in a file."""
    path.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    _mount("-o", "loop", str(image), str(path))
    try:
        yield
    finally:
        _unmount(path)


def freeze(path: Path, seconds: float) -> None:
    """Let every write to the file system wait. A process of its own thaws it, whatever happens to this one."""
    command = f'fsfreeze -f "$0"; sleep {seconds}; fsfreeze -u "$0"'
    subprocess.Popen(["sh", "-c", command, str(path)], start_new_session=True)


@contextmanager
def disconnected(path: Path) -> Iterator[None]:
    """Over the path, a FUSE file system whose process has ended, as a bucket's after a crash: ENOTCONN."""
    handle = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={handle},rootmode=40000,user_id=0,group_id=0"
        if _libc.mount(b"fuse", os.fsencode(path), b"fuse", 0, options.encode()):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(handle)
    try:
        yield
    finally:
        _unmount(path)


@cache
def may_mount() -> bool:
    """Whether this machine lets us mount: tried with a tmpfs."""
    with tempfile.TemporaryDirectory(prefix="sp-mount-") as folder:
        try:
            with small_disk(Path(folder, "disk"), 1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@cache
def may_freeze() -> bool:
    """Whether a loop device can be mounted and frozen here."""
    with tempfile.TemporaryDirectory(prefix="sp-mount-") as folder:
        try:
            with disk_that_freezes(Path(folder, "disk"), Path(folder, "image")):
                for flag in ("-f", "-u"):
                    subprocess.run(["fsfreeze", flag, f"{folder}/disk"], check=True, capture_output=True)
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@cache
def may_disconnect() -> bool:
    """Whether a FUSE mount without a process can be made here."""
    with tempfile.TemporaryDirectory(prefix="sp-mount-") as folder:
        try:
            with disconnected(Path(folder)):
                Path(folder, "anything").stat()
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False
