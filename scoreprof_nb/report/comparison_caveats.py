"""The limits of a comparison's numbers, as plain-text sentences."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.conditions import warm_up_sufficient
from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.parameters.compare import CONTROL, SIDES, TEST
from scoreprof_nb.report.format import p_value, percent, percent_change
from scoreprof_nb.report.what_if_marks import mark

_SUSPICIOUS = 0.01  # p-value of a drift, an effect of the order or of py-spy: many are looked at
_SMALL_EFFECT = 0.01  # relative: it matters to no verdict
_SMALL_DRIFT = 0.001  # relative, per launch
_NOISIER = 2.0  # times the noise of the A/A comparison


def caveats(comparison: Comparison, missing: str | None = None) -> list[str]:
    """All caveats. ``missing``: why pairs of runs were not captured."""
    return [
        *([f"some pairs were not captured: {missing}"] if missing else []),
        *(f"{side} did not finish: {text}" for side in SIDES for text in comparison.stopped[side]),
        *_design_caveats(comparison),
        *_launch_caveats(comparison),
        *_rate_caveats(comparison),
        *_noise_caveats(comparison),
        *_run_caveats((*comparison.control, *comparison.test)),
        *_what_if_caveats(comparison),
    ]


def _design_caveats(comparison: Comparison) -> list[str]:
    """The caveats that follow from how the runs were made and analysed."""
    sentences = []
    if comparison.pairs > 1 and not _alternated(comparison):
        sentences.append("the sides were not measured alternately: drift of the machine looks like a change")
    marginal = comparison.components.query("method == 'marginal'")["phase"].unique()
    if len(marginal):
        sentences.append(
            f"the request path of {', '.join(marginal)} is marginal on both sides: it chains the shares of "
            "the threads and cannot show what overlaps"
        )
    if comparison.pairs == 1:
        sentences.append(
            "one run per side: intervals cover the variation within a run only; two launches differ by more"
        )
    return sentences


def _alternated(comparison: Comparison) -> bool:
    """Whether the start times of the two sides interleave."""
    started = {side: [run.run.manifest.started_s for run in runs] for side, runs in comparison.sides.items()}
    first, second = started[CONTROL], started[TEST]
    return max(first) >= min(second) and max(second) >= min(first)


def _launch_caveats(comparison: Comparison) -> list[str]:
    """What the launches show one by one, and a difference of py-spy's effect between the sides."""
    rows = comparison.launches.stability.to_dict("records")
    return [
        *(text for row in rows for text in _stability_caveats(row)),
        *(
            f"py-spy slows {row['phase']} of test by {percent_change(row['ratio'])} against control: its "
            "request paths differ for that reason too"
            for row in comparison.launches.observer.to_dict("records")
            if row["p"] < _SUSPICIOUS and abs(row["ratio"] - 1) > _SMALL_EFFECT
        ),
    ]


def _stability_caveats(row: Mapping[Any, Any]) -> list[str]:
    """``row``: columns STABILITY_COLUMNS."""
    name = f"{row['metric']} of {row['phase']}"
    sentences = [
        f"{name} changes by {percent_change(1 + row[effect])} {where} (p {p_value(row[p])})"
        for effect, p, where, smallest in (
            ("drift", "drift_p", "from launch to launch", _SMALL_DRIFT),
            ("order_effect", "order_p", "in the second launch of a pair", _SMALL_EFFECT),
        )
        if row[p] < _SUSPICIOUS and abs(row[effect]) > smallest
    ]
    sentences += [
        f"{name}: the launches of {side} have two levels, so that more pairs do not help; see Launches"
        for side in row["two_levels"]
    ]
    if pd.notna(row["odd_pair"]):
        changes = [percent_change(row[ratio]) for ratio in ("ratio", "ratio_without")]
        sentences.append(
            f"{name}: pair {row['odd_pair']:.0f} is an outlier; {changes[0]} with it, {changes[1]} without"
        )
    return sentences


def _rate_caveats(comparison: Comparison) -> list[str]:
    """Rates of compiles and splits that differ: results of their own."""
    words = {"compile_hit": "hit by a compile", "split": "split over batches"}
    return [
        f"requests of {row['phase']} {words[row['what']]}: test {row['test']} of {row['test_of']}, "
        f"control {row['control']} of {row['control_of']} (p {p_value(row['p'])})"
        for row in comparison.correctness.counts.to_dict("records")
        if row["what"] in words and row["changed"]
    ]


def _noise_caveats(comparison: Comparison) -> list[str]:
    """How the noise between launches compares with that of the A/A comparison."""
    noise = comparison.noise
    if noise is None:
        return []
    sentences = []
    for row in comparison.metrics[comparison.metrics["role"] == HEADLINE].to_dict("records"):
        usual = noise.launch_noise.get((row["phase"], row["metric"]))
        if usual is not None and row["launch_noise"] > _NOISIER * usual:
            sentences.append(
                f"{row['metric']} of {row['phase']} varies by {percent(row['launch_noise'])} between "
                f"launches, and by {percent(usual)} in the A/A comparison"
            )
    if noise.biased:
        sentences.append(f"the A/A comparison was biased: {', '.join(noise.biased)}")
    return sentences


def _run_caveats(runs: Sequence[RunAnalysis]) -> list[str]:
    """The caveats about the runs themselves."""
    sentences = []
    statuses = {run.status() for run in runs}
    if statuses - {"complete"}:
        sentences.append(f"not all runs are complete: {', '.join(sorted(statuses))}")
    phases = [phase for run in runs for phase in run.phases]
    cold = [phase.name for phase in phases if warm_up_sufficient(phase.phase.record.warmup) is False]
    if cold:
        names = ", ".join(dict.fromkeys(cold))
        sentences.append(
            f"the warm-up did not suffice in {len(cold)} of {len(phases)} phases of runs: {names}"
        )
    failed = Counter(
        check.name for phase in phases for check in phase.quality.checks if check.passed is False
    )
    if failed:
        names = ", ".join(f"{name} ({times})" for name, times in failed.most_common())
        sentences.append(f"checks failed in these runs: {names}; see summary.md of each run")
    return sentences


def _what_if_caveats(comparison: Comparison) -> list[str]:
    """What the what-if experiments of the runs say against components, one sentence for each."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in comparison.phases:
        for phase in comparison.of_phase(name):
            effects = phase.what_if.effects if phase.what_if is not None else ()
            for component in dict.fromkeys(effect.delayed.component for effect in effects):
                text = mark(phase.what_if, component)
                if text:
                    found.setdefault((name, component), []).append(text)
    return [
        f"{component} of {name} ({len(texts)} of {2 * comparison.pairs} runs): {texts[0]}"
        for (name, component), texts in found.items()
    ]
