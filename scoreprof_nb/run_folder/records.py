"""What the JSON files of a run folder hold: the manifest and the records of finished phases.

Values are checked when a record is built, so a damaged file is an error that names the wrong field.
Times are seconds since the epoch, by the clock of the machine that captured.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

SCHEMA_VERSION = 1
LONGEST_BLOCK_S = 3 * 86_400  # a longer one is a damaged record, or the clock was set meanwhile
_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)

Status = Annotated[str, Field(pattern="^(capturing|complete|partial|failed)$")]


class RunFolderError(ValueError):
    """An invalid run folder; the message names the file."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message says all."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True, config=_CHECKED)
class Recording:
    """One recording by py-spy, with what py-spy reported about it."""

    file: str | None  # None when it failed
    started_s: float  # when py-spy reported that it samples
    stopped_s: float  # when py-spy was told to stop
    rate_hz: int
    samples: int | None = None  # stacks of all threads together, as counted by py-spy
    errors: int | None = None  # (process, tick) pairs that could not be read
    behind_s: float = 0.0  # the largest delay that py-spy reported
    lost: tuple[tuple[float, int, int], ...] = ()  # (epoch seconds, pid, tid or 0) of each error
    failure: str | None = None  # why there is no file
    reads: str | None = None  # file with the counts of py-spy's reads; None: not counted


@dataclass(frozen=True, config=_CHECKED)
class Block:
    """A stretch of a phase, with py-spy on if there is a recording.

    Its requests were sent until ``until_s`` (``stop_s`` when None) and answered until ``stop_s``:
    requests in flight at ``until_s`` belong to it. Those sent by other clients while it waited for
    these answers do not, since only the quickest of them would be answered in time.
    """

    number: int
    start_s: float
    stop_s: float
    recording: Recording | None = None
    until_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.wall_s <= LONGEST_BLOCK_S:
            raise ValueError(
                f"block {self.number} takes {self.wall_s:.0f} s: damaged, or the clock was set meanwhile"
            )

    @property
    def plain(self) -> bool:
        """Whether py-spy was off."""
        return self.recording is None

    @property
    def profiled(self) -> bool:
        """Whether py-spy recorded it. A block in which py-spy failed is neither plain nor profiled."""
        return self.recording is not None and self.recording.failure is None

    @property
    def wall_s(self) -> float:
        return self.stop_s - self.start_s


@dataclass(frozen=True, config=_CHECKED)
class Warmup:
    """How the warm-up of a phase went. ``ended``: why it ended, in words."""

    requests: int
    wall_s: float
    compiles: int | None  # None: not known, for lack of a server log
    warm: bool
    ended: str


@dataclass(frozen=True, config=_CHECKED)
class ServerProcess:
    """One process of the server. Secrets in ``command`` are redacted."""

    pid: int
    parent: int
    command: str


@dataclass(frozen=True, config=_CHECKED)
class CpuQuota:
    """The server's CPU quota in its control group, and how often it was stopped for it during a phase.

    A quota is given in CPU time per period: ``quota_s`` (None: no limit known) of every ``period_s``.
    ``throttled_s``: the time that the group's CPUs were stopped, summed over CPUs.
    """

    periods: int
    throttled_periods: int
    throttled_s: float
    quota_s: float | None = None
    period_s: float | None = None


@dataclass(frozen=True, config=_CHECKED)
class DeviceTrace:
    """JAX's trace of some requests, after the blocks of a phase."""

    started_s: float  # when the server had started to trace
    stopped_s: float  # when the last request was answered
    requests: int = 0  # answered with scores
    failed: int = 0
    mean_ms: float | None = None  # mean latency of the answered requests
    file: str | None = None  # None when there is no trace
    size: int = 0  # bytes, unpacked
    write_s: float = 0.0  # how long the server took to stop and to write it
    dropped: tuple[str, ...] = ()  # further traces that were not kept
    failure: str | None = None  # why there is no file
    clock_ahead_s: float = (
        0.0  # of the machine's clock, by which the file is, when the server started to trace
    )


@dataclass(frozen=True, config=_CHECKED)
class Load:
    """How the requests of a phase were sent.

    ``closed``: ``concurrency`` clients, each of which sends when its last request is answered. ``open``:
    Poisson arrivals at ``offered_per_s`` that wait for no answer. ``replay``: at the times in the user's
    file. For these two ``offered_per_s`` is the planned mean rate, and ``concurrency`` is None.
    """

    loop: Literal["closed", "open", "replay"] = "closed"
    concurrency: int | None = None
    offered_per_s: float | None = None
    capacity_per_s: float | None = None  # closed loop, many in flight, measured before; None: not measured
    timeout_s: float | None = None  # a request without an answer took longer than this
    client_cpu_s: float | None = None  # CPU time of the process that sent an open loop's requests


@dataclass(frozen=True, config=_CHECKED)
class PhaseRecord:
    """phase.json: one finished phase. ``kind`` and ``load`` are None in runs of older versions."""

    name: str
    started_s: float
    finished_s: float
    warmup: Warmup
    blocks: tuple[Block, ...]
    processes: tuple[ServerProcess, ...]
    notes: tuple[str, ...] = ()
    workload: str | None = None  # kinds, sizes and checksum of the bodies to send
    kind: str | None = None  # single, small, large, mixed or file
    load: Load | None = None
    cpu_quota: CpuQuota | None = None  # over the measured blocks; None: not known
    device_trace: DeviceTrace | None = None  # None: not asked for, or captured before there was one
    answered: int | None = None  # measured requests that succeeded; None: not recorded by older versions
    planned_blocks: int | None = None  # more than there are: it was cut off; None: not recorded
    # When the machine's clock was set while the blocks were measured, and by how many seconds; the times of a
    # run do not follow it. None: not recorded.
    clock_steps: tuple[tuple[float, float], ...] | None = None

    @property
    def cut_off(self) -> bool:
        """Whether it lacks blocks, because its capture was killed or its server died."""
        return self.planned_blocks is not None and len(self.blocks) < self.planned_blocks


@dataclass(frozen=True, config=_CHECKED)
class LogSeal:
    """The server's log when the manifest was written: its length and the checksum of what it held. It only
    grows, so a capture that was killed later leaves a log that begins with this."""

    bytes: int
    sha256: str


@dataclass(frozen=True, config=_CHECKED)
class Manifest:
    """manifest.json: the run as a whole. ``failure``: why phases are missing."""

    run_id: str
    label: str
    parameters: Mapping[str, Any]
    phases: tuple[str, ...]  # requested, in order
    started_s: float
    finished_s: float | None = None
    status: Status = "capturing"
    failure: str | None = None
    phases_done: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)  # by path within the run folder
    server_log: LogSeal | None = None  # None: no log, or a run of an older version
    schema_version: int = SCHEMA_VERSION
