"""How often the verdict of a comparison is right: simulated launches with a known truth.

``make power`` prints the table. The verdicts come from the package's own functions (``comparison/claims.py`` and
``comparison/looks.py``), on arrays of thousands of simulated comparisons. The noise of each launch is lognormal,
and independent between phases: noise that phases share would make the whole easier to judge, not harder.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.comparison.claims import (
    IMPROVEMENT,
    INCONCLUSIVE,
    NO_CHANGE,
    REGRESSION,
    SIZE_UNCERTAIN,
    Floats,
    judge,
    log_margin,
    moments,
)
from scoreprof_nb.comparison.looks import plan
from scoreprof_nb.comparison.verdict import MIXED
from scoreprof_nb.parameters.compare import FIRST_LOOK, MARGIN

Words = NDArray[np.str_]
PHASES = 4
NOISES = (0.01, 0.02, 0.03, 0.05)
CHANGES = (-0.05, 0.05, -0.10, 0.10, -0.15, 0.15, -0.20, 0.20)
ONCE, SEQUENTIAL = FIRST_LOOK, 16
COMPARISONS = 4000


@dataclass(frozen=True)
class Simulated:
    """Of each simulated comparison: the word of each phase, shape (comparisons, phases), the word of the whole,
    the ratios that were seen, and the pairs it took."""

    phases: Words
    whole: Words
    seen: Floats
    pairs: NDArray[np.int64]

    def share(self, word: str) -> float:
        """How often the whole got this word."""
        return float((self.whole == word).mean())

    def share_of_phase(self, word: str, phase: int = 0) -> float:
        """How often a phase got this word."""
        return float((self.phases[:, phase] == word).mean())

    def share_of_any_phase(self, word: str) -> float:
        """How often at least one phase got this word."""
        return float((self.phases == word).any(axis=1).mean())


def simulate(
    ratios: Sequence[float], noise: float, at_most: int, comparisons: int = COMPARISONS, seed: int = 0
) -> Simulated:
    """Comparisons of launches with the true ratios test / control, one of each phase.

    ``noise``: relative standard deviation between launches. ``at_most``: pairs; capture ends earlier when the
    verdict is settled, as ``comparison.verdict.is_settled`` defines it.
    """
    rng = np.random.default_rng(seed)
    truth = np.log(np.asarray(ratios, dtype=np.float64))
    logs = truth[:, None] + rng.normal(0, noise * 2**0.5, (comparisons, len(truth), at_most))
    words = np.full(logs.shape[:2], INCONCLUSIVE, dtype="U32")
    seen = np.ones(logs.shape[:2])
    pairs = np.zeros(comparisons, dtype=np.int64)
    going = np.arange(comparisons)
    for look in plan(min(FIRST_LOOK, at_most), at_most):
        so_far = logs[going, :, : look.pairs]
        words[going] = judge(moments(so_far), log_margin(MARGIN), look.level).verdict
        seen[going] = np.exp(so_far.mean(axis=-1))
        pairs[going] = look.pairs
        going = going[~settled(words[going])]
    return Simulated(words, whole(words, seen), seen, pairs)


def settled(words: Words) -> NDArray[np.bool_]:
    """``comparison.verdict.is_settled`` on arrays: shape (comparisons,)."""
    decided: NDArray[np.bool_] = np.isin(words, [REGRESSION, IMPROVEMENT, NO_CHANGE]).all(axis=1)
    return decided | (words == REGRESSION).any(axis=1)


def whole(words: Words, seen: Floats) -> Words:
    """``comparison.verdict.overall`` on arrays: shape (comparisons,)."""
    regression, improvement, uncertain, open_ = (
        (words == word).any(axis=1) for word in (REGRESSION, IMPROVEMENT, SIZE_UNCERTAIN, INCONCLUSIVE)
    )
    slower = ((words == SIZE_UNCERTAIN) & (seen > 1)).any(axis=1)
    conditions = [regression, improvement & slower, improvement, uncertain, open_]
    names = [REGRESSION, MIXED, IMPROVEMENT, SIZE_UNCERTAIN, INCONCLUSIVE]
    return np.select(conditions, names, NO_CHANGE)


def cases() -> Iterator[tuple[str, list[float]]]:
    """The truths: a name, and the ratio of each phase."""
    yield "A/A", [1.0] * PHASES
    for change in CHANGES:
        yield f"{change:+.0%} in one phase", [1 + change, *[1.0] * (PHASES - 1)]
        yield f"{change:+.0%} in all phases", [1 + change] * PHASES


def table(comparisons: int) -> pd.DataFrame:
    """The shares of the verdicts in per cent, a row per noise, truth and number of pairs."""
    rows = []
    for noise in NOISES:
        for name, ratios in cases():
            for at_most in (ONCE, SEQUENTIAL):
                of = simulate(ratios, noise, at_most, comparisons)
                rows.append(
                    {
                        "noise": f"{noise:.0%}",
                        "truth": name,
                        "pairs at most": at_most,
                        "pairs, mean": f"{of.pairs.mean():.1f}",
                        **{
                            word: f"{100 * of.share(word):.1f}"
                            for word in (
                                *(REGRESSION, IMPROVEMENT, MIXED, NO_CHANGE),
                                *(SIZE_UNCERTAIN, INCONCLUSIVE),
                            )
                        },
                        "first phase better": f"{100 * of.share_of_phase(IMPROVEMENT):.1f}",
                        "first phase worse": f"{100 * of.share_of_phase(REGRESSION):.1f}",
                        "first phase equal": f"{100 * of.share_of_phase(NO_CHANGE):.1f}",
                    }
                )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Target:
    """A promise about the verdicts: the share must be at least, or at most, the bound."""

    name: str
    share: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.share >= self.bound if self.at_least else self.share <= self.bound


def targets(comparisons: int) -> list[Target]:
    """What the verdicts must keep, with what the simulation shows."""
    found = []
    for noise in NOISES:
        for at_most in (ONCE, SEQUENTIAL):
            of = simulate([1.0] * PHASES, noise, at_most, comparisons)
            for word in (REGRESSION, IMPROVEMENT):
                name = f"false {word}s, noise {noise:.0%}, at most {at_most} pairs"
                found.append(Target(name, of.share_of_any_phase(word), 0.025))
            for change in (1 + MARGIN, 1 - MARGIN):
                margin = simulate([change] * PHASES, noise, at_most, comparisons, seed=1)
                wrong = np.isin(margin.phases, [REGRESSION, IMPROVEMENT, NO_CHANGE]).any(axis=1)
                name = f"wrong at a true {change - 1:+.0%} in all phases, noise {noise:.0%}, {at_most} pairs"
                found.append(Target(name, float(wrong.mean()), 0.05))
    equal = simulate([1.0] * PHASES, 0.03, SEQUENTIAL, comparisons)
    better = [0.8, *[1.0] * (PHASES - 1)]
    found.append(Target("A/A at 3 % is no meaningful change, 16 pairs", equal.share(NO_CHANGE), 0.8, True))
    for at_most in (ONCE, SEQUENTIAL):
        of = simulate(better, 0.03, at_most, comparisons)
        name = f"-20 % in one phase at 3 % is an improvement of it, at most {at_most} pairs"
        found.append(Target(name, of.share_of_phase(IMPROVEMENT), 0.8, True))
    return found


def main() -> None:
    """Print the table and the targets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS, help="simulated of each case")
    comparisons = parser.parse_args().comparisons
    print(f"{comparisons} simulated comparisons per row, {PHASES} phases, margin {MARGIN:.0%}; in per cent\n")
    print(table(comparisons).to_string(index=False))
    print()
    for target in targets(comparisons):
        relation = "at least" if target.at_least else "at most"
        print(
            f"{'met' if target.met else 'MISSED':6} {target.share:7.2%} ({relation} {target.bound:.1%})  {target.name}"
        )


if __name__ == "__main__":
    main()
