"""What each part of the profiler costs the requests of a server.

    python -m tests.bench.observer --output build/bench/observer.jsonl [--minutes 6] [--parts 'py-spy 100,...']

One server serves single items, one at a time. A part is started, then stopped and continued (SIGSTOP, SIGCONT)
several times a second, in random order: neighbouring stretches differ by the part alone, since whatever else
the machine does lasts longer. Stretches are appended to the output, so that several calls add up.
"""

import argparse
import json
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
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
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.records import Recording

STRETCH_S = 0.2
# After a change: py-spy takes the ticks that it missed, as fast as it can; the request in flight is both's.
SETTLE_S = 0.08
PART_S = 12.0  # a part at a time
RATES_HZ = (25, 50, 100, 200)


@dataclass(frozen=True)
class Part:
    """A part of the profiler: py-spy at a rate, or (0) the reader of the kernel's counters; or nothing."""

    name: str
    rate_hz: int = 0
    reader: bool = False


NOTHING = Part("nothing")
PARTS = (NOTHING, Part("reader", reader=True), *(Part(f"py-spy {rate}", rate) for rate in RATES_HZ))


@dataclass(frozen=True)
class Pair:
    """Two stretches next to each other: latencies of the requests inside, with the part and without."""

    part: str
    on_ms: list[float]
    off_ms: list[float]


@dataclass(frozen=True)
class Use:
    """What a part used over PART_S: of a core while it was not stopped, and what py-spy wrote."""

    part: str
    cpu_share: float
    ticks: float | None = None
    lost: int | None = None


class Bench:
    """Measures parts under a running load."""

    def __init__(self, server: Server, load: LoadGenerator, plan: Plan, scratch: Path) -> None:
        self._server, self._load, self._plan, self._scratch = server, load, plan, scratch
        self._pids = [process.pid for process in server.processes()]
        self._python_threads = PySpy("nonblocking", 100, plan.redact).observe(self._pids)

    def measure(self, part: Part) -> tuple[list[Pair], Use]:
        """Some pairs of one part, and what it used."""
        with self._running(part) as (process, stop):
            time.sleep(3 * SETTLE_S)
            before_s = cpu_s(process) if process is not None else 0.0
            pairs = [self._pair(part, process) for _ in range(round(PART_S / (2 * STRETCH_S)))]
            used_s = cpu_s(process) - before_s if process is not None else 0.0
            recording = stop()
        ticks = part.rate_hz * PART_S / 2 if recording is not None else None
        lost = recording.errors if recording is not None else None
        return pairs, Use(part.name, used_s / (PART_S / 2), ticks, lost)

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
                yield newest_child("py-spy"), running.stop
            else:
                yield None, lambda: None

    def _pair(self, part: Part, process: psutil.Process | None) -> Pair:
        self._server.check_alive()
        latencies = {}
        for on in random.choice([(True, False), (False, True)]):
            if process is not None:
                process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
            time.sleep(SETTLE_S)
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


def cpu_s(process: psutil.Process) -> float:
    """CPU time by the kernel's counters: psutil's are in timer ticks."""
    texts = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")]
    return sum(int(text.split()[0]) for text in texts) / 1e9


@contextmanager
def running_bench(scratch: Path, log_progress: LogProgress) -> Iterator[Bench]:
    """The demo's server, with one client that sends single items."""
    parameters = Parameters(run_dir=str(scratch / "run"), phases="single", device_trace_s=0.0)
    folder = RunFolder(scratch / "run")
    folder.path.mkdir()
    plan = prepare(parameters, ("single",))
    with running_server(plan, folder, parameters, log_progress) as server:
        workload = plan.workloads.of("single")
        warming = PhaseWarmup(server, workload, parameters, log_progress)
        warming.compile_batch_sizes()
        with LoadGenerator(server.url, workload, 1, parameters.request_s) as load:
            log_progress(warming.until_warm(load).ended)
            load.warming = False
            yield Bench(server, load, plan, scratch)


def measure(output: Path, minutes: float, parts: Sequence[Part], log_progress: LogProgress) -> None:
    """Measure the parts in turns until the time is over."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, running_bench(Path(scratch), log_progress) as bench:
        end_s = time.monotonic() + 60 * minutes
        while time.monotonic() < end_s:
            for part in random.sample(parts, len(parts)):
                pairs, use = bench.measure(part)
                with output.open("a") as file:
                    file.writelines(json.dumps(asdict(one)) + "\n" for one in [*pairs, use])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--parts", default=",".join(part.name for part in PARTS))
    arguments = parser.parse_args()
    names = arguments.parts.split(",")
    if arguments.minutes:
        parts = [part for part in PARTS if part.name in names]
        measure(arguments.output, arguments.minutes, parts, lambda text: print(text, flush=True))
    show(arguments.output)


def show(path):
    import numpy as np
    from scipy import stats

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for part in PARTS:
        pairs = [
            r
            for r in rows
            if r["part"] == part.name and "on_ms" in r and len(r["on_ms"]) >= 2 and len(r["off_ms"]) >= 2
        ]
        uses = [r for r in rows if r["part"] == part.name and "cpu_share" in r]
        if not pairs:
            continue
        line = f"{part.name:12s} n={len(pairs)}"
        for label, f in (("p50", statistics.median), ("mean", statistics.fmean)):
            logs = np.array([np.log(f(r["on_ms"]) / f(r["off_ms"])) for r in pairs])
            t = stats.trim_mean(logs, 0.1)
            # SE of a trimmed mean (Yuen): winsorized sd
            w = stats.mstats.winsorize(logs, limits=(0.1, 0.1))
            se = np.std(w, ddof=1) / (0.8 * np.sqrt(len(logs)))
            line += f"  {label} {np.exp(t):.3f} +- {1.96 * se:.3f} (sd {np.std(logs):.2f})"
        off = statistics.median([statistics.median(r["off_ms"]) for r in pairs])
        line += f" off p50 {off:.1f} ms; cpu {np.mean([u['cpu_share'] for u in uses]):.4f} lost {np.sum([u['lost'] or 0 for u in uses])} of {np.sum([u['ticks'] or 0 for u in uses])}"
        print(line)


if __name__ == "__main__":
    main()
