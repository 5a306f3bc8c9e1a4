"""The request path of a recording with fewer ticks, as at a lower rate."""

import numpy as np
import pytest

from scoreprof_nb.run_folder.store import load_run
from tests.support.paths import ROOT
from tests.support.thinned import recorded, thinned_path

RUN = ROOT / "tests" / "captures" / "run-main-single"
REPEATS = 24


@pytest.mark.parametrize("share", [0.6, 0.25])
def test_path_at_a_lower_rate_is_the_same_but_for_chance(share):
    """Broken: a rule of the path takes it for granted that ticks are 10 ms apart, so a lower rate moves time from one
    component to another."""
    run = load_run(RUN)
    phase = run.phases["single"]
    blocks = recorded(phase)
    whole = thinned_path(run, phase, blocks, 1.0, np.random.default_rng(0))
    paths = [thinned_path(run, phase, blocks, share, np.random.default_rng(seed)) for seed in range(REPEATS)]
    assert {path.method for path in paths} == {whole.method} == {"joint"}
    latency_ms = whole.table["mean_ms"].sum()
    assert all(path.table["mean_ms"].sum() == pytest.approx(latency_ms) for path in paths)
    for name, whole_ms in whole.component_ms().items():
        means_ms = [path.component_ms().get(name, 0.0) for path in paths]
        chance_ms = 3 * np.std(means_ms, ddof=1) / REPEATS**0.5
        assert abs(np.mean(means_ms) - whole_ms) < 0.005 * latency_ms + chance_ms, name
