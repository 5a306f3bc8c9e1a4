"""One word for a phase and for the whole: the worst that was shown; what is open is named, and hides nothing."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.comparison.claims import (
    IMPROVEMENT,
    INCONCLUSIVE,
    INSUFFICIENT,
    NO_CHANGE,
    NOT_KNOWN,
    REGRESSION,
    SIZE_UNCERTAIN,
    SUGGESTIVE,
)
from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.comparison.metrics import METRIC_COLUMNS
from scoreprof_nb.comparison.verdict import BLOCKED, MIXED, PASSES, fails_gate, overall, phase_verdicts
from scoreprof_nb.report.comparison_verdict import changes_text, sentence
from tests.support.compared_runs import BASE, NOISE, phase, report_of, run, side
from tests.support.paths import ROOT

BETTER = (0.8, 0.78, 0.82, IMPROVEMENT)
SAME = (1.0, 0.98, 1.02, NO_CHANGE)
OPEN = (0.99, 0.9, 1.09, INCONCLUSIVE)
WORSE = (1.2, 1.18, 1.22, REGRESSION)


def metrics_of(**phases):
    """The headline of each phase: ratio, low, high, verdict; and further metrics of it, by name."""
    rows = []
    for name, values in phases.items():
        metrics = values if isinstance(values, dict) else {"mean": values}
        for metric, (ratio, low, high, verdict) in metrics.items():
            rows.append(
                {
                    **{
                        "phase": name,
                        "metric": metric,
                        "unit": "ms",
                        "lower_is_better": metric != "throughput",
                    },
                    "role": "headline" if metric.startswith("mean") else "beside",
                    **{"ratio": ratio, "low": low, "high": high, "verdict": verdict},
                    **{"control": 50.0, "test": 50.0 * ratio},
                    **{"detectable": 0.12, "pairs_needed": 14.0, "delta": 0.05, "p": 0.0001},
                    **{"pairs": 6, "agreeing": 6, "not_worse": verdict in (IMPROVEMENT, NO_CHANGE)},
                }
            )
    return pd.DataFrame(rows).reindex(columns=list(METRIC_COLUMNS))


def word_of(**phases):
    metrics = metrics_of(**phases)
    return overall(phase_verdicts(metrics), metrics)


@pytest.mark.parametrize(
    ("large", "expected"),
    [
        (BETTER, IMPROVEMENT),
        (SAME, IMPROVEMENT),
        (OPEN, IMPROVEMENT),
        ((0.93, 0.88, 0.98, SIZE_UNCERTAIN), IMPROVEMENT),
        ((1.03, 1.01, 1.05, SIZE_UNCERTAIN), MIXED),
        (WORSE, REGRESSION),
        ((math.nan, math.nan, math.nan, NOT_KNOWN), IMPROVEMENT),
    ],
)
def test_whole_is_the_worst_that_was_shown(large, expected):
    """Broken: an open phase hides an improvement of another, or an improvement hides a regression."""
    assert word_of(small=BETTER, large=large) == expected


@pytest.mark.parametrize(
    ("large", "expected"),
    [
        (SAME, NO_CHANGE),
        (OPEN, INCONCLUSIVE),
        ((1.03, 1.01, 1.05, SIZE_UNCERTAIN), SIZE_UNCERTAIN),
        ((1.0, 0.9, 1.1, INSUFFICIENT), INSUFFICIENT),
        (WORSE, REGRESSION),
    ],
)
def test_no_change_must_be_shown_in_every_phase(large, expected):
    """Broken: "no meaningful change" is said although a phase is open."""
    assert word_of(small=SAME, large=large) == expected


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"p90": (1.8, 1.4, 2.3, REGRESSION)}, REGRESSION),
        ({"p90": (1.8, 1.4, 2.3, INCONCLUSIVE)}, MIXED),  # the correction may not hide it
        ({"p90": (1.2, 0.9, 1.6, INCONCLUSIVE)}, IMPROVEMENT),
        ({"throughput": (0.8, 0.7, 0.9, INCONCLUSIVE)}, MIXED),
        ({"throughput": (1.2, 1.1, 1.3, INCONCLUSIVE)}, IMPROVEMENT),
        ({"CPU per request": (1.3, 1.2, 1.4, SIZE_UNCERTAIN)}, MIXED),
    ],
)
def test_what_worsens_beside_the_headline_does_not_hide_behind_it(beside, expected):
    """Broken: p50 -10 % with p90 +80 % is an improvement."""
    assert word_of(small={"mean": (0.9, 0.89, 0.91, IMPROVEMENT), **beside}) == expected


def test_every_kind_of_request_of_a_mixed_phase_counts():
    """Broken: the middle kind alone decides about mixed, as p50 does."""
    kinds = {"mean of single": SAME, "mean of small": SAME, "mean of large": WORSE}
    assert word_of(mixed=kinds) == REGRESSION
    assert word_of(mixed={**kinds, "mean of large": OPEN}) == INCONCLUSIVE


def test_one_run_a_side_is_suggestive_at_most():
    """Broken: a single pair gets a firm verdict."""
    better = (*BETTER[:3], SUGGESTIVE + IMPROVEMENT)
    assert word_of(small=better, large=OPEN) == SUGGESTIVE + IMPROVEMENT
    assert word_of(small=better, large=(*WORSE[:3], SUGGESTIVE + REGRESSION)) == SUGGESTIVE + REGRESSION


def test_what_is_open_is_named_with_what_it_could_have_seen():
    """Broken: an open phase is not named, or without what it would take."""
    text = changes_text(metrics_of(small=BETTER, large=OPEN), 6)
    assert text == (
        "better in mean of small -20.0% (50.0 -> 40.0 ms, -22.0% to -18.0%, p < 0.001, all 6 pairs agree); "
        "open: mean of large (smallest detectable change 12.0%; ±5% would take 14 pairs)"
    )


@pytest.mark.parametrize(
    "word",
    [
        *(IMPROVEMENT, REGRESSION, SUGGESTIVE + IMPROVEMENT, SUGGESTIVE + REGRESSION),
        *(SIZE_UNCERTAIN, INCONCLUSIVE, INSUFFICIENT, NOT_KNOWN, NO_CHANGE, BLOCKED),
    ],
)
def test_each_verdict_on_a_headline_is_in_the_sentence(word):
    """Broken: a phase is missing from the sentence."""
    assert "mean of small" in changes_text(metrics_of(small=(0.9, 0.8, 1.1, word)), 6)


def test_other_metrics_of_a_slower_phase_do_not_repeat_it():
    """Broken: five metrics say the same, and the open phase is at the end of a page."""
    worse = {"mean": WORSE, "p50": WORSE, "throughput": (0.8, 0.78, 0.82, REGRESSION)}
    assert "p50" not in changes_text(metrics_of(small=worse), 6)
    hidden = changes_text(metrics_of(small={"mean": SAME, "p90": (1.8, 1.4, 2.3, REGRESSION)}), 6)
    assert hidden.startswith("worse in p90 of small +80.0%")


# ---- out of runs


def sides(test_small, test_large=None, control=lambda number: {}):
    """(control, test): runs of the phases small and large; the test's factors are given for each run."""
    large = test_large or [1.0] * 6
    runs = [[], []]
    for number, noise in enumerate(NOISE):
        start = 1e9 + 100 * number
        runs[0].append(run(phase(factor=noise), phase(factor=noise, name="large"), started_s=start))
        quick, slow = test_small[number] * NOISE[5 - number], large[number] * NOISE[5 - number]
        runs[1].append(run(phase(factor=quick), phase(factor=slow, name="large"), started_s=start + 1))
    return runs


def test_largest_component_is_the_cause_and_the_difference_is_named():
    """Broken: the headline says "slower", and not why, nor what was compared."""
    control, test = side(), side(path={**BASE, "tokenize": 14.0}, at=1, parameters={"server_flags": "--x 1"})
    text = sentence(report_of(compare(control, test)))
    assert "Largest cause: tokenize +10." in text
    assert "The sides differ in server_flags (none -> --x 1)" in text
    assert text.index("worse in mean of small") < text.index("Largest cause")


def test_noisy_phase_is_open_and_named_beside_an_improvement():
    """Broken: one noisy phase makes a clear improvement inconclusive."""
    noisy = [0.7, 1.4, 0.8, 1.3, 0.75, 1.35]
    comparison = compare(*sides([0.8] * 6, noisy))
    assert comparison.verdict == IMPROVEMENT
    assert "open: mean of large" in sentence(report_of(comparison))
    assert dict(comparison.phase_verdicts[["phase", "verdict"]].to_numpy()) == {
        "small": IMPROVEMENT,
        "large": INCONCLUSIVE,
    }
    assert not comparison.settled, "further pairs may decide about large"


def test_mean_sees_what_the_median_does_not():
    """Broken: requests that split over batches take 133 ms instead of 75 in a third of the cases, and p50 is the
    same."""
    control, test = side(), side(at=1)
    for one in test:
        table = one.phases[0].requests.table
        table.loc[table.index % 3 == 0, "latency_ms"] *= 133 / 75
    rows = compare(control, test).metrics.set_index("metric")
    assert rows.loc["mean", "verdict"] == REGRESSION
    assert rows.loc["mean", "ratio"] == pytest.approx(1 + (133 / 75 - 1) * 14 / 40, rel=0.03)


def test_compiles_are_apart_from_the_headline():
    """Broken: one request of 8 s during which a program was compiled is the mean."""
    control, test = side(), side(at=1)
    for one in test:
        table = one.phases[0].requests.table
        table.loc[0, "latency_ms"] = 8000.0
        table.loc[0, "compile_hit"] = True
    comparison = compare(control, test)
    assert comparison.metrics.set_index("metric").loc["mean", "verdict"] == NO_CHANGE


# ---- the gate

WORDS = (
    *(IMPROVEMENT, NO_CHANGE, SIZE_UNCERTAIN, INCONCLUSIVE, MIXED, REGRESSION, BLOCKED, INSUFFICIENT),
    *(NOT_KNOWN, SUGGESTIVE + IMPROVEMENT, SUGGESTIVE + REGRESSION),
)


def documented_gates():
    """{verdict: {gate: passes}} of the table in docs/comparison.md; "if shown" is of not_shown_equal."""
    text = (ROOT / "docs" / "comparison.md").read_text()
    lines = text.partition("| verdict | `regression`")[2].splitlines()[2:]
    gates = {}
    for line in lines:
        if not line.startswith("|"):
            break
        word, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for one in re.sub(r"\*", "", word).split(", or "):
            gates[one] = dict(zip(("regression", "not_improved", "not_shown_equal"), cells, strict=True))
    return gates


def test_gate_table_of_the_documentation_is_what_the_gate_does():
    """Broken: a verdict passes a gate that the documentation says stops it."""
    documented = documented_gates()
    assert documented.keys() == set(WORDS)
    for word, gates in documented.items():
        for gate, cell in gates.items():
            passes = {shown: not fails_gate(word, shown, gate) for shown in (True, False)}
            expected = {"passes": (True, True), "fails": (False, False), "if shown": (True, False)}[cell]
            assert (passes[True], passes[False]) == expected, (word, gate)


def test_never_passes_everything():
    """Broken: a comparison without a gate ends with exit code 3."""
    assert PASSES["never"] == set(WORDS)


def test_not_shown_equal_needs_every_phase_to_be_shown():
    """Broken: an improvement of one phase passes a branch whose other phase may be much worse."""
    open_ = compare(*sides([0.8] * 6, [0.7, 1.4, 0.8, 1.3, 0.75, 1.35]))
    assert not report_of(open_, fail_on="not_improved").gate_fails
    assert report_of(open_, fail_on="not_shown_equal").gate_fails
    shown = compare(*sides([0.8] * 6))
    assert not report_of(shown, fail_on="not_shown_equal").gate_fails
    faster = compare(*sides([0.9 + 0.06 * (number % 2) for number in range(6)]))
    assert not report_of(faster, fail_on="not_shown_equal").gate_fails, "it may be open how much faster it is"
    rng = np.random.default_rng(1)
    slightly = compare(*sides(list(1.06 * np.exp(rng.normal(0, 0.03, 6)))))
    assert report_of(slightly, fail_on="not_shown_equal").gate_fails
