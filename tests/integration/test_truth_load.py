"""A known cost in the real server under the loads of production: an open loop, and long prompts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scoreprof_nb.parameters import load
from tests.truth.truth import TOKENIZE, InjectedRun, measure

pytestmark = [pytest.mark.server, pytest.mark.slow]
COMPONENT = "tokenize"
COST_MS = 10.0
HALF = 0.5  # of the capacity that was measured with the cost
PER_CHARACTER_MS = 0.02
TOKENS = 300
PHASE_S = 8.0  # half of it with py-spy
WIDE = 2.0  # half widths of a 95 % interval: hardly ever missed
QUICK = {"device_trace_s": 0.0, "warmup_s": 20.0}
OF_ITS_OWN_MS = 1.5  # what tokenising takes without the cost, at most


@dataclass(frozen=True)
class Paid:
    """The cost in ms per profiled request, by the calls' own clock.

    ``own``: paid for it; ``before``: paid for others until its own was paid; ``others``: paid for others in
    all of its time in flight. What it waits for tokenising of others lies between the last two: once its batch
    is done, its answer may wait for them too, but not while its batch runs.
    """

    own: float
    before: float
    others: float


def paid(run: InjectedRun) -> Paid:
    """Requests are tokenised in the order of sending: each call is that of the first request without one."""
    starts, durations = np.array(sorted(run.calls_ns), dtype=np.int64).T
    ends = starts + durations
    profiled = set(run.phase.requests.profiled()["request"])
    own, before, others, taken = [], [], [], -1
    for request in run.phase.phase.requests.sort_values("sent_ns").itertuples():
        taken = max(taken + 1, int(np.searchsorted(starts, request.sent_ns)))
        if request.request not in profiled:
            continue
        assert starts[taken] <= request.done_ns
        own.append(durations[taken])
        before.append(_paid(starts, ends, request.intended_ns, starts[taken]))
        others.append(_paid(starts, ends, request.intended_ns, request.done_ns) - durations[taken])
    return Paid(*(float(np.mean(part)) / 1e6 for part in (own, before, others)))


def _paid(starts: NDArray[np.int64], ends: NDArray[np.int64], first: int, last: int) -> int:
    return int(np.clip(np.minimum(ends, last) - np.maximum(starts, first), 0, None).sum())


def test_open_loop_at_half_capacity(
    server_python: str, may_trace: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken: under the arrivals of production, a cost is multiplied by the queue or disappears in it."""
    monkeypatch.setattr(load, "LADDER", (HALF,))
    run = measure(tmp_path / "run", "single", PHASE_S, f"{TOKENIZE}:spin:{COST_MS}", rates="auto", **QUICK)
    phase = run.phase
    assert phase.load.loop == "open"
    assert phase.path.method == "joint", phase.path.reason
    truth = paid(run)
    assert truth.own >= COST_MS
    found, low, high = phase.path.as_mapping()[COMPONENT]
    assert abs(found - truth.own) <= WIDE * (high - low) / 2 + OF_ITS_OWN_MS, (found, low, high, truth)
    assert truth.before > 0
    queued, low, high = phase.path.queued_mapping()[COMPONENT]
    half = WIDE * (high - low) / 2 + OF_ITS_OWN_MS
    assert truth.before - half <= queued <= truth.others + half, (queued, low, high, truth)


def test_long_prompt_shows_tokenising_per_token(server_python: str, may_trace: None, tmp_path: Path) -> None:
    """Broken: what grows with the length of a prompt is hidden in the fixed cost of a request."""
    run = measure(
        tmp_path / "run",
        "single",
        PHASE_S,
        f"{TOKENIZE}:spin:{PER_CHARACTER_MS}:per_character",
        query_tokens=str(TOKENS - 20),
        item_tokens="20",
        server_flags="--context-length 512",
        **QUICK,
    )
    phase = run.phase
    tokens = phase.prefix_cache.prompt_tokens_per_request
    assert tokens is not None
    assert abs(tokens - TOKENS) <= 0.05 * TOKENS
    assert phase.path.method == "joint", phase.path.reason
    truth_ms = run.spent_ms
    assert truth_ms >= PER_CHARACTER_MS * tokens, "a token has at least one character"
    found, low, high = phase.path.as_mapping()[COMPONENT]
    assert abs(found - truth_ms) <= WIDE * (high - low) / 2 + OF_ITS_OWN_MS, (found, low, high, truth_ms)
