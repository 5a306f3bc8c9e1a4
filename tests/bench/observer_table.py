"""The tables of what the profiler costs, from pairs of stretches with a part of it and without."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np
from scipy import stats

from scoreprof_nb.report.markdown import markdown_table

FEWEST = 2  # requests in a stretch
TRIMMED = 0.1  # of the pairs at each end: something else happened in one of the two stretches
PROFILED_S = 12.0  # with py-spy in a phase of the default length
Z95 = 1.96
PRECISION = 0.25


@dataclass(frozen=True)
class Pair:
    """Two stretches next to each other: latencies of the requests inside, with the part and without."""

    part: str
    on_ms: list[float]
    off_ms: list[float]


@dataclass(frozen=True)
class Use:
    """What a part used while it was not stopped, of a core; what py-spy was to take, and what it lost."""

    part: str
    rate_hz: int
    cpu_share: float
    ticks: float
    lost: int


@dataclass(frozen=True)
class Ratio:
    """With the part divided by without, and the half width of the 95 % interval."""

    ratio: float
    half: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.ratio:.3f} +- {self.half:.3f}"


def py_spy_at(rate_hz: int) -> str:
    """The name of py-spy at a rate, with nothing else changed."""
    return f"py-spy, {rate_hz} Hz"


def add_results(path: Path, code: str, pairs: Sequence[Pair], use: Use) -> None:
    """Append to a file of JSON lines. ``code``: the version that was measured."""
    with path.open("a", encoding="utf-8") as file:
        for one in (*pairs, use):
            file.write(json.dumps({"code": code, "kind": type(one).__name__, **asdict(one)}) + "\n")


def read_results(path: Path, code: str) -> tuple[list[Pair], list[Use]]:
    """What was measured of this version of the code."""
    pairs, uses = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kind = row.pop("kind")
        if row.pop("code") == code:
            if kind == Pair.__name__:
                pairs.append(Pair(**row))
            else:
                uses.append(Use(**row))
    return pairs, uses


def ratio_of(pairs: Sequence[Pair], value: Callable[[Sequence[float]], float]) -> Ratio:
    """The ratio of a value of the latencies: the trimmed mean of the pairs' logarithms, with Yuen's interval
    (1974: the variance of the winsorized sample)."""
    used = [pair for pair in pairs if min(len(pair.on_ms), len(pair.off_ms)) >= FEWEST]
    logs = np.array([math.log(value(pair.on_ms) / value(pair.off_ms)) for pair in used])
    kept = len(logs) - 2 * int(TRIMMED * len(logs))
    if kept < 2:
        return Ratio(math.nan, math.nan, len(logs))
    spread = float(np.std(np.asarray(stats.mstats.winsorize(logs, (TRIMMED, TRIMMED))), ddof=1))
    half = float(stats.t.ppf(0.975, kept - 1)) * spread / ((1 - 2 * TRIMMED) * math.sqrt(len(logs)))
    mean = math.exp(float(stats.trim_mean(logs, TRIMMED)))
    return Ratio(mean, half * mean, len(logs))


def written(pairs: Sequence[Pair], uses: Sequence[Use]) -> str:
    parts = list(dict.fromkeys(use.part for use in sorted(uses, key=lambda use: use.rate_hz)))
    latency_ms = median(ms for pair in pairs for ms in pair.off_ms)
    costs, rates, changed = [], [], []
    means = {part: ratio_of([pair for pair in pairs if pair.part == part], fmean) for part in parts}
    for part in parts:
        used = [use for use in uses if use.part == part]
        p50, mean = ratio_of([pair for pair in pairs if pair.part == part], median), means[part]
        share = fmean(use.cpu_share for use in used)
        rate_hz = used[0].rate_hz
        costs.append(
            {
                "part": part,
                "p50, with / without": str(p50),
                "mean, with / without": str(mean),
                "of a core": f"{share:.1%}",
                "lost reads per tick": f"{_lost(used):.1%}" if rate_hz else "",
                "pairs": str(p50.pairs),
            }
        )
        if rate_hz and part == py_spy_at(rate_hz):
            rates.append(_rate_row(used, mean, latency_ms))
        elif rate_hz:
            changed.append(_changed(part, mean, means[py_spy_at(rate_hz)]))
    lines = [
        f"Single items, one at a time, {latency_ms:.0f} ms each; the launcher's clock runs throughout. A part is stopped "
        "and continued several times a second; each pair is two neighbouring stretches with it and without it. "
        "`nothing` is measured like the others: it shows what the method itself finds where nothing is.",
        "",
        *markdown_table(costs),
        "",
        *([*changed, ""] if changed else []),
        f"Which rate for which question: what py-spy gives in {PROFILED_S:.0f} s, a phase of the default length. The "
        "interval is that of a component that takes a tenth of the latency, by the binomial formula; one that no tick "
        "shows is below 3 / ticks (95 %).",
        "",
        *markdown_table(rates),
    ]
    return "\n".join(lines)


def _changed(part: str, changed: Ratio, plain: Ratio) -> str:
    """Whether py-spy costs less with another priority or on one CPU, as an item of a list."""
    ratio = changed.ratio / plain.ratio
    half = ratio * math.hypot(changed.half / changed.ratio, plain.half / plain.ratio)
    verdict = "within chance" if abs(ratio - 1) <= half else "less" if ratio < 1 else "more"
    return f"- {part}: {Ratio(ratio, half, changed.pairs)} times the mean of py-spy as it is: {verdict}."


def _rate_row(uses: Sequence[Use], mean: Ratio, latency_ms: float) -> dict[str, str]:
    rate_hz = uses[0].rate_hz
    ticks = rate_hz * PROFILED_S
    half_ms = Z95 * latency_ms * math.sqrt(0.1 * 0.9 / ticks)
    smallest = 1 / (1 + ticks * (PRECISION / Z95) ** 2)
    return {
        "rate, Hz": str(rate_hz),
        "mean, with / without": str(mean),
        "ticks": f"{ticks:,.0f}",
        "a tenth of the latency, ms": f"{0.1 * latency_ms:.1f} +- {half_ms:.1f}",
        f"known to {PRECISION:.0%} from": f"{smallest:.0%} of the latency",
        "seen from, ms": f"{3 / ticks * latency_ms:.2f}",
    }


def _lost(uses: Sequence[Use]) -> float:
    return sum(use.lost for use in uses) / max(sum(use.ticks for use in uses), 1.0)
