"""One word and one sentence for the whole: what is open in one phase is not hidden by another."""

import json
import math
from itertools import product

import pandas as pd
import pytest

from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.comparison.metrics import METRIC_COLUMNS
from scoreprof_nb.comparison.paired import (
    IMPROVEMENT,
    INCONCLUSIVE,
    INSUFFICIENT,
    NO_CHANGE,
    NOT_KNOWN,
    REGRESSION,
    SIZE_UNCERTAIN,
    SUGGESTIVE,
)
from scoreprof_nb.comparison.verdict import MIXED, overall
from scoreprof_nb.report.comparison_files import as_json
from scoreprof_nb.report.comparison_verdict import changes_text, sentence
from tests.support.compared_runs import NOISE, phase, report_of, side

BETTER = (0.5, 0.48, 0.52, IMPROVEMENT)


def metrics_of(**phases):
    """p50 of each phase: ratio, low, high, verdict."""
    rows = [
        {
            "phase": name,
            "metric": "p50",
            "ratio": ratio,
            "low": low,
            "high": high,
            "detectable": 0.76 if verdict == INCONCLUSIVE else math.nan,
            "delta": 0.05,
            "verdict": verdict,
        }
        for name, (ratio, low, high, verdict) in phases.items()
    ]
    return pd.DataFrame(rows).reindex(columns=list(METRIC_COLUMNS))


@pytest.mark.parametrize(
    ("large", "expected"),
    [
        ((0.9, 0.88, 0.92, IMPROVEMENT), IMPROVEMENT),
        ((1.0, 0.98, 1.02, NO_CHANGE), IMPROVEMENT),
        ((0.99, 0.93, 1.049, INCONCLUSIVE), IMPROVEMENT),  # it could not be worse by more than the margin
        ((0.93, 0.88, 0.98, SIZE_UNCERTAIN), IMPROVEMENT),
        ((1.105, 0.63, 1.95, INCONCLUSIVE), INCONCLUSIVE),
        ((0.95, 0.8, 1.06, INCONCLUSIVE), INCONCLUSIVE),
        ((1.03, 1.01, 1.05, SIZE_UNCERTAIN), MIXED),
        ((1.2, 1.1, 1.3, REGRESSION), MIXED),
        ((math.nan, math.nan, math.nan, NOT_KNOWN), NOT_KNOWN),
        ((1.0, 0.9, 1.1, INSUFFICIENT), INSUFFICIENT),
    ],
)
def test_an_improvement_only_where_no_other_phase_could_be_worse(large, expected):
    """Broken: faster in one phase, perhaps twice as slow in another, is an improvement."""
    assert overall(metrics_of(small=BETTER, large=large)) == expected


def test_one_run_a_side_is_an_improvement_only_where_no_other_phase_could_be_worse():
    """Broken: a single pair is called an improvement while another phase may be worse."""
    better = (*BETTER[:3], SUGGESTIVE + IMPROVEMENT)
    assert overall(metrics_of(small=better, large=(1, 0.97, 1.04, INCONCLUSIVE))) == SUGGESTIVE + IMPROVEMENT
    assert overall(metrics_of(small=better, large=(1, 0.9, 1.1, INCONCLUSIVE))) == INCONCLUSIVE


def test_what_is_open_is_named_with_what_it_could_have_seen():
    """Broken: an inconclusive phase is not named, or without the effect that it could have shown."""
    text = changes_text(metrics_of(small=BETTER, large=(1.105, 0.63, 1.95, INCONCLUSIVE)), 6)
    assert (
        text == "better in p50 of small -50.0%; inconclusive: p50 of large (minimum detectable effect 76.0%)"
    )


def test_each_verdict_of_a_p50_is_in_the_sentence_but_for_no_change():
    """Broken: a change is missing from the sentence."""
    for word, prefix in product((IMPROVEMENT, REGRESSION), ("", SUGGESTIVE)):
        assert "p50 of small" in changes_text(metrics_of(small=(0.5, 0.4, 0.6, prefix + word)), 6)
    for word in (SIZE_UNCERTAIN, INCONCLUSIVE, INSUFFICIENT, NOT_KNOWN):
        assert "p50 of small" in changes_text(metrics_of(small=(1.0, 0.9, 1.1, word)), 6)
    assert changes_text(metrics_of(small=(1.0, 0.99, 1.01, NO_CHANGE)), 6) == ""


def sides(factors, requests=40):
    """Test: p50 of small is half, of large it is as given for each run."""
    runs = side(at=1)
    for run_, factor in zip(runs, factors, strict=True):
        run_.phases = (phase(factor=0.5), phase(factor=factor, name="large", requests=requests))
    return runs


def against_control(test, **parameters):
    control = sides(NOISE)
    for run_ in control:
        run_.phases = (phase(), run_.phases[1])
    return report_of(compare(control, test, 0), **parameters)


def test_a_phase_that_is_worse_or_not_known_is_no_improvement():
    """Broken: the verdict is of the phase that became faster."""
    worse = against_control(sides([1.04, 1.05, 1.06, 1.08, 1.1, 1.03]), fail_on="regression")
    assert worse.verdict == MIXED
    assert "size uncertain: p50 of large" in sentence(worse)
    assert worse.gate_fails
    unknown = against_control(sides(NOISE, requests=5))
    assert unknown.verdict == NOT_KNOWN
    assert sentence(unknown).endswith("; not known: p50 of large.")
    assert "p50 of phase large is not known: 6 of 12 runs have none" in unknown.comparison.excluded[0]


def test_gate_does_not_pass_an_improvement_with_an_open_phase():
    """Broken: fail_on=not_improved passes while the p50 of another phase may have doubled."""
    report = against_control(sides([0.6, 1.9, 0.7, 1.7, 1.0, 1.2]), fail_on="not_improved")
    assert report.verdict == INCONCLUSIVE
    assert "better in p50 of small -50" in sentence(report)
    assert "inconclusive: p50 of large (minimum detectable effect " in sentence(report)
    assert report.gate_fails
    assert json.dumps(as_json(report))
