"""What each part of the profiler costs the requests of a server, and what it gives for that.

One server serves single items, one at a time. A part is started, then stopped and continued (SIGSTOP, SIGCONT)
several times a second, in random order: neighbouring stretches differ by the part alone, since whatever else
the machine does mostly lasts longer. Each call adds to RESULTS what it measures in OBSERVER_MINUTES.
"""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.preflight import Plan, prepare
from scoreprof_nb.capture.pyspy import PySpy
from scoreprof_nb.capture.run_clock import now_ns
from scoreprof_nb.capture.server import Server
from scoreprof_nb.capture.session import running_server
from scoreprof_nb.capture.thread_states import ThreadStateReading
from scoreprof_nb.capture.warmup import PhaseWarmup
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import Recording
from tests.bench import observer_rates
from tests.bench.observer_table import Pair, Use, add_results, py_spy_at, read_results, written
from tests.support.paths import ROOT

MINUTES = float(os.environ.get("OBSERVER_MINUTES", "7"))
RESULTS = ROOT / "build" / "bench" / "observer.jsonl"
STRETCH_S = 0.2
SETTLE_S = 0.05  # after a change, until the request in flight is answered
MAKE_UP_S = 0.3  # py-spy takes the ticks that it missed while it was stopped, as fast as it can
PART_S = 12.0  # a part at a time
RATES_HZ = (25, 60, 100, 200)  # 60: auto, with two CPUs


@dataclass(frozen=True)
class Part:
    """A part of the profiler: py-spy at a rate, or (0) the reader of the kernel's counters, or nothing.

    ``nice``: py-spy's, so that the server goes first; ``one_cpu``: py-spy may run on one CPU only.
    """

    name: str
    rate_hz: int = 0
    reader: bool = False
    nice: int = 0
    one_cpu: bool = False


PARTS = (
    Part("nothing"),
    Part("reader", reader=True),
    *(Part(py_spy_at(rate_hz), rate_hz) for rate_hz in RATES_HZ),
    Part(f"{py_spy_at(100)}, nice 10", 100, nice=10),
    Part(f"{py_spy_at(100)}, on one CPU", 100, one_cpu=True),
)


class Bench:
    """Measures parts under a running load."""

    def __init__(self, server: Server, load: LoadGenerator, plan: Plan, scratch: Path) -> None:
        self._server, self._load, self._plan, self._scratch = server, load, plan, scratch
        self._pids = [process.pid for process in server.processes()]
        self._python_threads = PySpy("nonblocking", 100, plan.redact).observe(self._pids)

    def measure(self, part: Part) -> tuple[list[Pair], Use]:
        """Some pairs of one part, and what it used."""
        with self._running(part) as (process, stop):
            time.sleep(MAKE_UP_S)
            before_s = cpu_s(process) if process is not None else 0.0
            start_s = time.monotonic()
            pairs = [
                self._pair(part, process)
                for _ in range(round(PART_S / (2 * STRETCH_S + MAKE_UP_S + SETTLE_S)))
            ]
            elapsed_s = time.monotonic() - start_s
            used_s = cpu_s(process) - before_s if process is not None else 0.0
            recording = stop()
        lost = (recording.errors or 0) if recording is not None else 0
        # py-spy makes up for the ticks that it misses while it is stopped; the reader does not.
        worked_s = elapsed_s if part.rate_hz else elapsed_s / 2
        return pairs, Use(part.name, part.rate_hz, used_s / worked_s, elapsed_s * part.rate_hz, lost)

    @contextmanager
    def _running(self, part: Part) -> Iterator[tuple[psutil.Process | None, Callable[[], Recording | None]]]:
        with ExitStack() as stack:
            self._server.enable_clock(True)
            stack.callback(self._server.enable_clock, False)
            if part.reader:
                reading = ThreadStateReading(self._pids, self._scratch / "counters", self._python_threads)
                stack.enter_context(reading)
                yield newest_child("python"), lambda: None
            elif part.rate_hz:
                recorder = PySpy("nonblocking", part.rate_hz, self._plan.redact)
                running = recorder.start(self._server.pid(), self._scratch / "recording.json")
                stack.callback(running.kill)
                process = newest_child("py-spy")
                place(process, part)
                yield process, running.stop
            else:
                yield None, lambda: None

    def _pair(self, part: Part, process: psutil.Process | None) -> Pair:
        self._server.check_alive()
        latencies = {}
        for on in random.choice([(True, False), (False, True)]):
            if process is not None:
                process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
            time.sleep(MAKE_UP_S if on and part.rate_hz else SETTLE_S)
            start_ns = now_ns()
            time.sleep(STRETCH_S)
            latencies[on] = [
                (row["done_ns"] - row["sent_ns"]) / 1e6
                for row in self._load.take_rows()
                if row["sent_ns"] >= start_ns
            ]
        if process is not None:
            process.send_signal(signal.SIGCONT)
        return Pair(part.name, latencies[True], latencies[False])


def newest_child(name: str) -> psutil.Process:
    children = [child for child in psutil.Process().children() if name in child.name()]
    return max(children, key=lambda child: child.create_time())


def place(process: psutil.Process, part: Part) -> None:
    """Priority and CPU of each thread of a process: a thread inherits them from the one that starts it."""
    for thread in process.threads():
        if part.nice:
            os.setpriority(os.PRIO_PROCESS, thread.id, os.nice(0) + part.nice)
        if part.one_cpu:
            os.sched_setaffinity(thread.id, {max(os.sched_getaffinity(0))})
    session = Path(f"/proc/{process.pid}/autogroup")
    if part.nice and session.exists():  # then the priority of a thread counts within its session only
        before = int(session.read_text().rpartition(" ")[2])
        session.write_text(str(before + part.nice))


def cpu_s(process: psutil.Process) -> float:
    """CPU time by the kernel's counters: psutil's are in timer ticks."""
    texts = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")]
    return sum(int(text.split()[0]) for text in texts) / 1e9


@contextmanager
def running_bench(scratch: Path) -> Iterator[Bench]:
    """The demo's server, with one client that sends single items."""
    parameters = Parameters(run_dir=str(scratch / "run"), phases="single", device_trace_s=0.0)
    folder = RunFolder(scratch / "run")
    folder.path.mkdir()
    plan = prepare(parameters, ("single",))

    def quiet(text: str) -> None:
        pass

    with running_server(plan, folder, parameters, quiet) as server:
        workload = plan.workloads.of("single")
        warming = PhaseWarmup(server, workload, parameters, quiet)
        warming.compile_batch_sizes()
        with LoadGenerator(server.url, workload, 1, parameters.request_s) as load:
            warming.until_warm(load)
            load.warming = False
            yield Bench(server, load, plan, scratch)


def code_version() -> str:
    """The git id of the capture's code: results of other code are not mixed with it."""
    command = ["git", "rev-parse", "HEAD:scoreprof_nb/capture"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def add_measurements(parts: Sequence[Part], minutes: float, code: str) -> None:
    """Measure the parts in turns until the time is over."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, running_bench(Path(scratch)) as bench:
        end_s = time.monotonic() + 60 * minutes
        while time.monotonic() < end_s:
            for part in random.sample(parts, len(parts)):
                pairs, use = bench.measure(part)
                add_results(RESULTS, code, pairs, use)


def measure() -> str:
    code = code_version()
    if MINUTES:
        add_measurements(PARTS, MINUTES, code)
    pairs, uses = read_results(RESULTS, code)
    recorded = RESULTS.with_name(f"observer-{code[:10]}")
    observer_rates.record(recorded)
    thinnings = observer_rates.thinnings(recorded, observer_rates.RATES_HZ[1:])
    return f"{written(pairs, uses)}\n\n{observer_rates.written(thinnings)}"
