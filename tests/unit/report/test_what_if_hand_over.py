"""Calibration finds an error of the request path: the same recordings, with and without its repair.

The path has a rule for hand-overs (``path_causes``, rule 4), and a limit of it. Each is switched off here, on
recordings in which it matters by far more than an interval.
"""

import numpy as np
import pytest

from scoreprof_nb.analysis import path_causes
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.what_if import Delayed
from tests.support.what_if_run import BATCHES, SENDS, TOKENIZES, Served, write_experiment
from tests.support.written_run import reported, write_run

AGREES = "the request path agrees with the what-if experiment"
# A thread that wakes the next one is off the CPU in its last call, until the next one waits.
TOKENIZE = Delayed("tokenize", "m:T._tokenize_one_request", calls=1.0, delay_ns=10_000_000)
BATCH = Delayed("batch", "m:P.calc_priority", calls=1.0, delay_ns=10_000_000)
# The items of a request are sent one after another, and the first is worked at while the others are sent.
ITEMS = 8
SEND = Delayed("ipc", "m:T._send_one_request", calls=ITEMS, delay_ns=6_000_000)
ITEM_SENT_MS, BATCH_MS, ANSWER_MS = 0.25, 3.0, 10.0


def off_the_cpu(delayed):
    tokenized = 20.0 + 10.0 * (delayed == 0)
    sent = tokenized + 2.0
    done = sent + 5.0 + 10.0 * (delayed == 1)
    return Served(
        [(TOKENIZES, 0, tokenized), (SENDS, tokenized, done)], [(BATCHES, sent, done)], done + ANSWER_MS
    )


def beside_its_batches(delayed):
    """The scheduler takes what is there. Its last batch starts when it is free and the last item is sent."""
    each = ITEM_SENT_MS + 6.0 * (delayed == 0)
    arrive, batches, free = [20.0 + each * (item + 1) for item in range(ITEMS)], [], 0.0
    while arrive:
        start = max(arrive[0], free)
        arrive = [ms for ms in arrive if ms > start]
        free = start + BATCH_MS
        batches.append((BATCHES, start, free))
    return Served([(TOKENIZES, 0, 20.0), (SENDS, 20.0, 20.0 + ITEMS * each)], batches, free + ANSWER_MS)


def no_rule(monkeypatch):
    monkeypatch.setattr(path_causes, "_hand_over", lambda thread, limit: np.full(len(thread.works), -1))


def no_limit(monkeypatch):
    monkeypatch.setattr(path_causes, "HAND_OVER_S", 1e3)


CASES = pytest.mark.parametrize(
    ("functions", "serve", "switch_off"),
    [((TOKENIZE, BATCH), off_the_cpu, no_rule), ((SEND,), beside_its_batches, no_limit)],
    ids=["the rule", "its limit"],
)


def analysed(path, functions, serve):
    """The effect of the last function, and whether the check of the path passed."""
    write_run(path, recording="timed")
    write_experiment(RunFolder(path).phase_path("small"), functions, serve)
    report, _ = reported(path)
    phase = report.analysis.phases[0]
    (check,) = [check for check in phase.quality.checks if check.name == AGREES]
    return phase.what_if.effects[-1], check.passed


@CASES
def test_with_the_repair_the_path_agrees_with_the_experiment(tmp_path, functions, serve, switch_off):
    """Broken: the path charges a component with what another one costs; or calibration blames a path that is
    right."""
    effect, agrees = analysed(tmp_path, functions, serve)
    assert effect.sensitivity.value == pytest.approx(1.0, abs=0.1)
    assert effect.path.value == pytest.approx(1.0, abs=0.1), effect
    assert not effect.path_is_wrong
    assert agrees


@CASES
def test_without_the_repair_calibration_finds_the_error(tmp_path, monkeypatch, functions, serve, switch_off):
    """Broken: an error of the path's rules, such as the two that were repaired, goes unnoticed."""
    switch_off(monkeypatch)
    effect, agrees = analysed(tmp_path, functions, serve)
    assert effect.sensitivity.value == pytest.approx(1.0, abs=0.1)
    assert effect.calibrated, "the samples are the same, and right"
    assert effect.path.high < effect.sensitivity.low
    assert effect.path_is_wrong
    assert effect.moved, "what got the time is named"
    assert agrees is False
