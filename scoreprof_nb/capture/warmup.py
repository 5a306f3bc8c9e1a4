"""The warm-up of a phase: measurement starts when requests no longer trigger a compile.

A server compiles for each new shape of a batch, and the scheduler may split the items of one request
over several batches. So the warm-up first sends requests of other sizes, to produce the batches of
splits; then the phase's requests, until several in a row trigger no compile.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from scoreprof_nb.capture.client import ScoreClient, send_watched
from scoreprof_nb.capture.engine import ENGINE
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.progress import Throttle
from scoreprof_nb.capture.server import Server
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.capture.workload import Workload
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Warmup

POLL_S = 0.1
MOST_SIZES = 64  # of batches, for one phase
ENOUGH_ALIKE = 3  # sizes in a row without a compile: the server pads them to one shape
SIZES_SHARE = 0.7  # of the time limit; the rest is for the phase's own requests


@dataclass
class CompileWatch:
    """Batches and compiles in the server's log, read as it grows."""

    log: ServerLog
    batch_sizes: set[int] = field(default_factory=set)
    compiles: int = 0
    lines: int = 0

    def read(self) -> int:
        """Read the new lines; return the number of compiles in them."""
        read_to = self.log.written
        new = self.log.lines(self.lines)[: max(read_to - self.lines, 0)]
        self.lines = read_to
        self.batch_sizes.update(size for size in map(ENGINE.batch_size, new) if size is not None)
        compiles = sum(map(ENGINE.reports_compile, new))
        self.compiles += compiles
        return compiles


class PhaseWarmup:
    """The warm-up of one phase, with one time limit (``warmup_s``) for its two parts."""

    def __init__(
        self,
        server: Server,
        workload: Workload,
        parameters: Parameters,
        log_progress: LogProgress,
    ) -> None:
        self._server = server
        self._workload = workload
        self._parameters = parameters
        self._log_progress = log_progress
        self._start_s = time.monotonic()
        self._watch = CompileWatch(server.log) if server.log is not None else None
        self._compiles_before = 0
        if self._watch is not None:
            self._watch.read()
            self._compiles_before = self._watch.compiles
        self._size_requests = 0

    def compile_batch_sizes(self) -> None:
        """Send requests that produce the batch sizes of split requests.

        Only for a server whose log shows batches: without it the effect cannot be observed.
        """
        watch = self._watch
        if watch is None:
            return
        largest = max(items for _, items in self._workload.shapes)
        limit_s = SIZES_SHARE * self._parameters.warmup_s
        throttle = Throttle()
        alike = 0
        parameters = self._parameters
        with ScoreClient(self._server.url, parameters.request_s, parameters.api_key()) as client:
            for number, size in enumerate(split_sizes(largest)):
                if self._elapsed_s() > limit_s or alike >= ENOUGH_ALIKE:
                    return
                if size in watch.batch_sizes:
                    continue
                self._server.check_alive()
                body = self._workload.sized(size, number)
                for _ in range(2):  # new, then with its prefixes in the server's cache
                    send_watched(client, body, self._server.check_alive)
                    self._size_requests += 1
                compiled = watch.read()
                if not watch.batch_sizes:
                    return
                # Powers of two do not count: servers pad to them, and small ones are close together.
                alike = 0 if compiled or _is_power_of_two(size) else alike + 1
                if throttle.due():
                    self._log_progress(
                        f"  warming up: batches of {len(watch.batch_sizes)} sizes, "
                        f"{self._compiles()} compiles, {self._elapsed_s():.0f} s"
                    )

    def until_warm(self, load: LoadGenerator) -> Warmup:
        """Wait until the last requests of a running load trigger no compile, or until the time limit."""
        parameters, watch = self._parameters, self._watch
        needed = max(5, 3 * len(self._workload.shapes)) * load.concurrency
        throttle = Throttle()
        clean_from = 0
        while self._elapsed_s() < parameters.warmup_s:
            self._server.check_alive()
            done = len(load.rows)
            if watch is not None and watch.read():
                clean_from = done + load.concurrency  # those in flight may be affected too
            if done - clean_from >= needed:
                if self._compiles_known():
                    return self._record(load, True, f"no compile in the last {needed} requests")
                reason = "compiles are not known, because the server's log has no batch lines"
                return self._record(load, False, f"{needed} requests; {reason}")
            if throttle.due():
                self._log_progress(
                    f"  warming up: {done} requests, {self._compiles()} compiles, {self._elapsed_s():.0f} s"
                )
            time.sleep(POLL_S)
        reason = f"reached the limit of {parameters.warmup_s:.0f} s: still compiling, or too few requests"
        return self._record(load, False, reason)

    def _record(self, load: LoadGenerator, warm: bool, reason: str) -> Warmup:
        compiles = self._compiles() if self._compiles_known() else None
        return Warmup(self._size_requests + len(load.rows), self._elapsed_s(), compiles, warm, reason)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    def _compiles(self) -> int:
        return self._watch.compiles - self._compiles_before if self._watch is not None else 0

    def _compiles_known(self) -> bool:
        return self._watch is not None and bool(self._watch.batch_sizes)


def split_sizes(largest: int) -> list[int]:
    """The sizes of batches to compile for requests of at most ``largest`` items, the most useful first.

    The powers of two come first, because servers pad to them; then the two parts of a split, the most
    uneven split first.
    """
    powers = [1 << bit for bit in range(largest.bit_length()) if 1 << bit <= largest]
    sizes = dict.fromkeys([largest, *powers, *_uneven_splits(largest)])
    return list(sizes)[:MOST_SIZES]


def _uneven_splits(items: int) -> Iterator[int]:
    for smaller in range(1, min(items, MOST_SIZES) // 2 + 1):
        yield items - smaller
        yield smaller


def _is_power_of_two(size: int) -> bool:
    return size & (size - 1) == 0
