"""Known costs, put into the real server, and what the kit reports of them.

    python tests/truth/truth.py [--phase-s 40]        (make truth)

For each injection the server is launched with 10 ms of spinning or sleeping per call in one of its
functions; the request path of the phase is compared with that of a run without it.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis, analyse
from scoreprof_nb.capture.session import capture
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.store import load_run

INJECT = Path(__file__).with_name("inject")
MANAGERS = "sgl_jax.srt.managers"


@dataclass(frozen=True)
class Injection:
    """A cost of ``ms`` per call in a function that is called ``calls`` times per request."""

    name: str
    where: str
    kind: str
    component: str
    ms: float = 10.0
    phase: str = "single"
    calls: int = 1
    condition: str = ""

    @property
    def spec(self) -> str:
        return ":".join(filter(None, (self.where, self.kind, str(self.ms), self.condition)))

    @property
    def truth_ms(self) -> float:
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

# What differs between two launches on a CPU without any injection. device_wait: the device's work competes
# with everything else for the cores, so what runs beside it slows it. With 32 items, tokenised slowly one
# after the other, the items also fall into other batches. trace_compile: each number of sequences in a batch
# is a program of its own, so no warm-up is long enough to have seen them all. decode_step: the steps of the
# first batches lie within the tokenising of the last items, and nobody waits for them any more.
UNSTEADY = {"single": {"device_wait"}, "large": {"device_wait", "trace_compile", "decode_step"}}


@dataclass(frozen=True)
class Found:
    """What was reported: the component's growth with its 95 % interval, and the other components'."""

    injection: Injection
    growth_ms: float
    half_width_ms: float
    others: Mapping[str, tuple[float, float]]  # growth and half width of each
    latency_growth_ms: float
    requests: int

    def right(self, widths: float = 1.0) -> bool:
        """Within 15 % of the truth, or the truth within this many half widths."""
        off = abs(self.growth_ms - self.injection.truth_ms)
        return off <= max(0.15 * self.injection.truth_ms, widths * self.half_width_ms)

    def moved(self, widths: float = 1.0) -> dict[str, float]:
        """Other components that grew or shrank by more than this many half widths and a quarter of the truth.

        A quarter: the two runs are two launches, and an interval says nothing of what differs between
        those (about 1 ms on a busy CPU). A cost that is put elsewhere is lost by its own component, which
        ``right`` sees from 15 % on.
        """
        return {
            name: growth
            for name, (growth, half) in self.others.items()
            if name not in UNSTEADY[self.injection.phase]
            and abs(growth) > max(widths * half, 0.25 * self.injection.truth_ms)
        }


def measure(folder: Path, phase: str, phase_s: float, spec: str = "") -> RunAnalysis:
    """Launch the server with an injection ("" for none), measure one phase, analyse it."""
    parameters = Parameters.from_mapping(
        {
            "run_dir": str(folder),
            "phases": phase,
            "phase_s": phase_s,
            "server_environment": f"SCOREPROF_INJECT={shlex.quote(spec)} PYTHONPATH={shlex.quote(str(INJECT))}",
        }
    )
    outcome = capture(parameters, lambda text: None)
    if outcome.failure is not None:
        raise RuntimeError(outcome.failure)
    return analyse(load_run(folder), load_rules(), 0)


def compare(injection: Injection, base: PhaseAnalysis, test: PhaseAnalysis) -> Found:
    """What the kit says that the injection added."""
    before, after = base.path.as_mapping(), test.path.as_mapping()
    growths = {}
    for name in before.keys() | after.keys():
        (b, b_low, b_high), (a, a_low, a_high) = (side.get(name, (0.0, 0.0, 0.0)) for side in (before, after))
        half = (((b_high - b_low) / 2) ** 2 + ((a_high - a_low) / 2) ** 2) ** 0.5
        growths[name] = (a - b, half)
    own = growths.pop(injection.component, (0.0, 0.0))
    latency = [float(phase.path.table["latency_ms"].iloc[0]) for phase in (base, test)]
    requests = int(test.path.table["requests"].iloc[0])
    return Found(injection, own[0], own[1], growths, latency[1] - latency[0], requests)


def main() -> int:
    """Measure every injection and print the table; 1 when one is not found as it is, or moved another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phase-s", type=float, default=40.0, help="seconds per run, half of them profiled")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs")
    options = parser.parse_args()
    seconds = options.phase_s
    print(
        f"{'injected':39} {'component':11} {'truth ms':>8} {'reported ms':>18} {'latency':>8} "
        f"{'requests':>8}  verdict"
    )
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        scratch = options.runs or temporary
        bases: dict[str, PhaseAnalysis] = {}
        for number, injection in enumerate(INJECTIONS):
            phase = injection.phase
            if phase not in bases:
                bases[phase] = measure(Path(scratch) / f"base-{phase}", phase, seconds).phases[0]
            test = measure(Path(scratch) / str(number), phase, seconds, injection.spec)
            found = compare(injection, bases[phase], test.phases[0])
            moved = ", ".join(f"{name} {growth:+.1f}" for name, growth in found.moved().items())
            verdict = ("right" if found.right() else "WRONG") + (f", also moved: {moved}" if moved else "")
            wrong += bool(moved) or not found.right()
            print(
                f"{injection.name + ' (' + injection.kind + ')':39} {injection.component:11} "
                f"{injection.truth_ms:8.1f} {found.growth_ms:9.1f} +- {found.half_width_ms:5.1f} "
                f"{found.latency_growth_ms:8.1f} {found.requests:8}  {verdict}",
                flush=True,
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
