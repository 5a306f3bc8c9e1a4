"""What the numbers say, in words: the largest first, each with milliseconds per request."""

import math
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis, RunAnalysis
from scoreprof_nb.components.catalog import CLIENT, COMPONENTS, IPC_AND_WAKEUP, NATIVE_THREADS

SMALLEST_SHARE = 0.01

_ADVICE = {
    "tokenize": "tokenising one item at a time is the usual cause; batch it",
    "ipc": "one message per item is sent between processes; one per request would do",
    "decode_step": "a score request needs no decode step after its prefill",
    "trace_compile": "shapes that were not compiled before; precompile or pad them",
    "softmax": "JAX dispatch inside the HTTP event loop; NumPy would do",
    "device_wait": "the model's computation, or buffers that are dropped while it runs",
    "dispatch": "Python and JAX work per launch; fewer, larger batches or less per-step Python",
    "host_prep": "host arrays are rebuilt and copied for each batch",
    NATIVE_THREADS: "threads without Python: XLA's own, which compute on a CPU, compile and copy",
    "logprobs": "device-to-host copies and Python loops per item",
    IPC_AND_WAKEUP: "sockets, wake-ups and the kernel's scheduler; no thread of the server works",
    CLIENT: "the load generator's own CPU time, not the server's",
}


@dataclass(frozen=True)
class Finding:
    """One finding. ``max_speedup``: latency / (latency - component), the most that removing it could
    give; None where the request path is not defined. Times in milliseconds per request, ``low`` and
    ``high`` NaN where the interval is not known."""

    phase: str
    component: str
    ms_per_request: float
    low: float
    high: float
    max_speedup: float | None
    text: str

    @property
    def advice(self) -> str:
        """What the component is, and what usually helps."""
        meaning = COMPONENTS[self.component].meaning if self.component in COMPONENTS else ""
        return "; ".join(filter(None, (meaning, _ADVICE.get(self.component, ""))))


def findings(analysis: RunAnalysis) -> list[Finding]:
    """All findings of a run, largest first."""
    found = [finding for phase in analysis.phases for finding in _of_phase(phase)]
    return sorted(found, key=lambda finding: -finding.ms_per_request)


def _of_phase(phase: PhaseAnalysis) -> list[Finding]:
    if not phase.path.table.empty:
        return [_path_finding(phase.name, row) for _, row in phase.path.table.iterrows() if _worth(row)]
    return [_cpu_finding(phase.name, row) for _, row in phase.cpu.iterrows() if _worth_cpu(row, phase.cpu)]


def _worth(row: "pd.Series[float]") -> bool:
    return float(row["share"]) >= SMALLEST_SHARE


def _worth_cpu(row: "pd.Series[float]", cpu: pd.DataFrame) -> bool:
    return float(row["cpu_ms"]) >= SMALLEST_SHARE * float(cpu["cpu_ms"].sum())


def _path_finding(phase: str, row: "pd.Series[float]") -> Finding:
    name, mean = str(row["component"]), float(row["mean_ms"])
    speedup = float(row["max_speedup"])
    bounded = f"removing all of it could make the request at most {speedup:.2f}x as fast"
    text = (
        f"{phase}: {_title(name)} takes {mean:.1f} ms of {row['latency_ms']:.1f} ms "
        f"({row['share']:.0%}; 95 % interval {row['low']:.1f} to {row['high']:.1f}) of the average request; "
        f"{bounded if math.isfinite(speedup) else 'it is the whole request'}{_advice(name)}"
    )
    return Finding(
        phase,
        name,
        mean,
        float(row["low"]),
        float(row["high"]),
        speedup if math.isfinite(speedup) else None,
        text,
    )


def _cpu_finding(phase: str, row: "pd.Series[float]") -> Finding:
    name, mean = str(row["component"]), float(row["cpu_ms"])
    low, high = float(row["low"]), float(row["high"])
    interval = f"{low:.1f} to {high:.1f}" if math.isfinite(low) else "not known"
    text = (
        f"{phase}: {_title(name)} costs {mean:.1f} ms of CPU time per request (95 % interval {interval})"
        f"{_advice(name)}"
    )
    return Finding(phase, name, mean, low, high, None, text)


def _title(name: str) -> str:
    meaning = COMPONENTS[name].meaning if name in COMPONENTS else ""
    return f"{name} ({meaning})" if meaning else name


def _advice(name: str) -> str:
    return f"; {_ADVICE[name]}" if name in _ADVICE else ""
