"""Put known costs into the real server and compare them with what the kit reports.

    python -m tests.truth.truth [--phase-s 40]        (make truth)

Each injection adds 10 ms of spinning or sleeping to every call of one of the server's functions. The
request path of a run with it is compared with that of a run without it, and the difference with the time
that the injection itself measured: on a busy machine 10 ms of spinning take longer.
"""

import argparse
import math
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis, analyse
from scoreprof_nb.capture.session import capture
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.store import load_run

INJECT = Path(__file__).with_name("inject")
MANAGERS = "sgl_jax.srt.managers"
RATE_HZ = 100  # on every machine, so that errors are of the same size


@dataclass(frozen=True)
class Injection:
    """A cost of ``ms`` per call, in a function that each request calls ``calls`` times."""

    name: str
    where: str
    kind: str
    component: str
    ms: float = 10.0
    phase: str = "single"
    calls: int = 1
    condition: str = ""
    in_flight: int = 1

    @property
    def spec(self) -> str:
        return ":".join(filter(None, (self.where, self.kind, str(self.ms), self.condition)))

    @property
    def least_ms(self) -> float:
        """What it costs per request, at least."""
        return self.ms * self.calls


TOKENIZE = f"{MANAGERS}.tokenizer_manager:TokenizerManager._tokenize_one_request"
INJECTIONS = (
    Injection("tokenising", TOKENIZE, "spin", "tokenize"),
    Injection("tokenising, asleep", TOKENIZE, "sleep", "tokenize"),
    Injection("tokenising 32 items", TOKENIZE, "spin", "tokenize", phase="large", calls=32),
    Injection("receiving", f"{MANAGERS}.scheduler:Scheduler.handle_generate_request", "spin", "receive"),
    Injection(
        "forming the batch", f"{MANAGERS}.schedule_batch:ScheduleBatch.prepare_for_extend", "spin", "batch"
    ),
    Injection(
        "before dispatch, forward thread",
        f"{MANAGERS}.tp_worker:ModelWorker.forward_batch_generation",
        "spin",
        "dispatch",
        condition="extend",
    ),
    Injection(
        "detokenising",
        f"{MANAGERS}.detokenizer_manager:DetokenizerManager.handle_batch_token_id_out",
        "spin",
        "detokenize",
    ),
    Injection("building the answer", "starlette.responses:JSONResponse.render", "spin", "response"),
)

# With several in flight, and within the call that wakes the next thread.
TOKENIZE_IN_FLIGHT = Injection("tokenising, 4 in flight", TOKENIZE, "spin", "tokenize", in_flight=4)
SENDING = Injection(
    "sending 4 items",
    f"{MANAGERS}.tokenizer_manager:TokenizerManager._send_one_request",
    "spin",
    "ipc",
    ms=4.0,
    phase="small",
    calls=4,
)

# Components that differ between two launches on a CPU even without an injection. device_wait: the device's
# work competes with everything else for the cores. With 32 items, tokenised slowly one after the other, the
# items also fall into other batches. decode_step: the steps of the first batches then run while the last
# items are tokenised, and no request waits for them any more.
UNSTEADY = {
    "single": {"device_wait"},
    "small": {"device_wait", "decode_step"},
    "large": {"device_wait", "decode_step"},
}


@dataclass(frozen=True)
class Measured:
    """An injection's cost in ms per request, and what the report says: the growth of its component, with the
    half width of the 95 % interval, and that of the other components."""

    injection: Injection
    truth_ms: float
    growth_ms: float
    half_width_ms: float
    others: Mapping[str, tuple[float, float]]  # growth and half width of each
    latency_growth_ms: float
    requests: int

    def agrees(self, widths: float = 1.0) -> bool:
        """Whether the truth lies within this many half widths."""
        return abs(self.growth_ms - self.truth_ms) <= widths * self.half_width_ms

    def moved(self, widths: float = 1.0) -> dict[str, float]:
        """Other components that grew or shrank by more than this many half widths and a quarter of the truth.

        A quarter, because the two runs are two launches, and an interval does not cover the difference
        between launches (about 1 ms on a busy CPU). ``common_bias`` bounds what all components lose.
        """
        return {
            name: growth
            for name, (growth, half) in self.others.items()
            if name not in UNSTEADY[self.injection.phase]
            and abs(growth) > max(widths * half, 0.25 * self.truth_ms)
        }


@dataclass(frozen=True)
class Bias:
    """The relative error that all costs have in common: 0.1 is 10 % too much."""

    mean: float
    half_width: float  # of the 95 % interval


def common_bias(costs: Sequence[Measured]) -> Bias:
    """The mean of the relative errors, weighted by their precision."""
    truths = [cost.truth_ms for cost in costs]
    halves = [cost.half_width_ms / truth for cost, truth in zip(costs, truths, strict=True)]
    errors = [cost.growth_ms / truth - 1 for cost, truth in zip(costs, truths, strict=True)]
    weights = [half**-2 for half in halves]
    mean = sum(weight * error for weight, error in zip(weights, errors, strict=True)) / sum(weights)
    return Bias(mean, 1 / math.sqrt(sum(weights)))


@dataclass(frozen=True)
class InjectedRun:
    """A run with an injection, or without."""

    analysis: RunAnalysis
    calls_ns: Sequence[tuple[int, int]]  # start (epoch) and duration of each call of the injection

    @property
    def phase(self) -> PhaseAnalysis:
        """The last one: an open loop comes after the closed loop of its kind."""
        return self.analysis.phases[-1]

    @property
    def spent_ms(self) -> float:
        """The injection's time per profiled request."""
        requests = self.phase.requests.profiled()
        windows = list(zip(requests["sent_ns"], requests["done_ns"], strict=True))
        durations = [
            duration
            for start, duration in self.calls_ns
            if any(sent <= start <= done for sent, done in windows)
        ]
        return sum(durations) / len(windows) / 1e6


def injected(spec: str, calls: Path) -> dict[str, str]:
    """The server's environment for an injection ("" for none). ``calls``: gets a line per call."""
    return {"SCOREPROF_INJECT": spec, "SCOREPROF_INJECT_CALLS": str(calls), "PYTHONPATH": str(INJECT)}


def calls_of(calls: Path) -> list[tuple[int, int]]:
    """Start (epoch) and duration of each call of an injection, in ns."""
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [(int(start), int(duration)) for start, duration in map(str.split, lines)]


def measure(
    folder: Path, phase: str, phase_s: float, spec: str = "", in_flight: int = 1, **parameters: object
) -> InjectedRun:
    """Launch the server with an injection ("" for none), measure one phase and analyse it.

    Raises RuntimeError if the capture fails.
    """
    calls = folder.with_name(f"{folder.name}.calls")
    environment = injected(spec, calls)
    given = Parameters.from_mapping(
        {
            "run_dir": str(folder),
            "phases": phase,
            "phase_s": phase_s,
            "concurrency": str(in_flight),
            "server_environment": shlex.join(f"{name}={value}" for name, value in environment.items()),
            "rate_hz": RATE_HZ,
            **parameters,
        }
    )
    outcome = capture(given, lambda text: None)
    if outcome.failure is not None:
        raise RuntimeError(outcome.failure)
    return InjectedRun(analyse(load_run(folder), load_rules()), calls_of(calls))


def compare(injection: Injection, base: InjectedRun, test: InjectedRun) -> Measured:
    """Return what the injection cost, and what it added according to the kit."""
    before, after = base.phase.path.as_mapping(), test.phase.path.as_mapping()
    growths = {}
    for name in before.keys() | after.keys():
        (b, b_low, b_high), (a, a_low, a_high) = (side.get(name, (0.0, 0.0, 0.0)) for side in (before, after))
        half = (((b_high - b_low) / 2) ** 2 + ((a_high - a_low) / 2) ** 2) ** 0.5
        growths[name] = (a - b, half)
    growth_ms, half_width_ms = growths.pop(injection.component, (0.0, 0.0))
    latency = [float(run.phase.path.table["latency_ms"].iloc[0]) for run in (base, test)]
    requests = int(test.phase.path.table["requests"].iloc[0])
    latency_growth_ms = latency[1] - latency[0]
    return Measured(injection, test.spent_ms, growth_ms, half_width_ms, growths, latency_growth_ms, requests)


def row(cost: Measured) -> str:
    """A line of the table."""
    injection = cost.injection
    moved = ", ".join(f"{name} {growth:+.1f}" for name, growth in cost.moved().items())
    verdict = ("agrees" if cost.agrees() else "DIFFERS") + (f", also moved: {moved}" if moved else "")
    return (
        f"{injection.name + ' (' + injection.kind + ')':39} {injection.component:11} "
        f"{cost.truth_ms:8.1f} {cost.growth_ms:9.1f} +- {cost.half_width_ms:5.1f} "
        f"{cost.latency_growth_ms:8.1f} {cost.requests:8}  {verdict}"
    )


def main() -> int:
    """Measure every injection and print the table. Returns 1 if one differs or moved another component."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phase-s", type=float, default=40.0, help="seconds per run, half of them profiled")
    parser.add_argument("--runs", type=Path, help="folder for the runs, which are then kept")
    options = parser.parse_args()
    print(
        f"{'injected':39} {'component':11} {'truth ms':>8} {'reported ms':>18} {'latency':>8} "
        f"{'requests':>8}  verdict"
    )
    costs: list[Measured] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.runs or Path(temporary)
        bases: dict[str, InjectedRun] = {}
        for number, injection in enumerate(INJECTIONS):
            phase = injection.phase
            if phase not in bases:
                bases[phase] = measure(folder / f"base-{phase}", phase, options.phase_s)
            run = measure(folder / str(number), phase, options.phase_s, injection.spec)
            costs.append(compare(injection, bases[phase], run))
            print(row(costs[-1]), flush=True)
    bias = common_bias(costs)
    print(f"error common to all: {bias.mean:+.1%} +- {bias.half_width:.1%}")
    return int(any(cost.moved() or not cost.agrees() for cost in costs))


if __name__ == "__main__":
    sys.exit(main())
