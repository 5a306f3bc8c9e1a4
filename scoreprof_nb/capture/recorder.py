"""What the capture needs of a sampling profiler. py-spy is one (``pyspy.py``)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from scoreprof_nb.run_folder.records import Recording


class RecorderFailed(RuntimeError):
    """The profiler did not start to sample."""


class RunningRecording(Protocol):
    """A recording in progress."""

    def stop(self) -> Recording:
        """End it. A failure is in the result's ``failure``, never raised."""

    def kill(self) -> None:
        """Abandon it at once; the target must go on running."""


class Recorder(Protocol):
    """A sampling profiler with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def rate_hz(self) -> int: ...

    @property
    def suffix(self) -> str:
        """How its files are named, such as ``.speedscope.json``."""

    def check(self) -> None:
        """Raise ParameterError when it is not installed or this user may not trace a process."""

    def observe(self, pids: Sequence[int]) -> Mapping[int, Collection[int]]:
        """Learn what it needs of the processes of the server, before they are recorded.

        Returns the OS ids of the threads that it records by pid, as far as it knows them.
        """

    def start(self, pid: int, output: Path) -> RunningRecording:
        """Record a process and its children into a file. Raises RecorderFailed."""
