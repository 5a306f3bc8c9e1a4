"""The sentence about what an item adds to a request."""

from types import SimpleNamespace

import pandas as pd
import pytest

from scoreprof_nb.analysis.cost_per_item import COLUMNS
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.report import leads
from tests.support.synthetic import measured


@pytest.fixture
def lead(monkeypatch):
    """A function from (component, ms per item, low) to the sentence."""

    def of(*slopes):
        rows = [(name, 1.0, 0.5, 1.5, ms, low, 2 * ms - low, "single, large") for name, ms, low in slopes]
        costs = pd.DataFrame(rows, columns=list(COLUMNS))
        monkeypatch.setattr(leads, "run_cost_per_item", lambda analysis: costs)
        monkeypatch.setattr(leads, "request_cost_per_item", lambda analysis: costs.head(0))
        phase = SimpleNamespace(requests=measured({"at_ms": 0, "latency_ms": 1, "items": 32}))
        return leads.cost_lead(SimpleNamespace(analysis=SimpleNamespace(phases=[phase], catalog=CATALOG)))

    return of


def test_the_largest_of_all_and_of_the_host_are_named(lead):
    text = lead(("tokenize", 0.2, 0.1), ("device_wait", 5.0, 4.0), ("softmax", 0.3, 0.2))
    assert "Most of what an item adds is device_wait: 5.00 ms; on the host it is softmax: 0.30 ms." in text
    assert lead(("softmax", 0.3, 0.2)).endswith("Most of what an item adds is softmax: 0.30 ms.")


def test_a_slope_within_its_interval_of_0_is_not_said_to_cost_anything(lead):
    """Broken: the report names dispatch as what items cost, and its own table shows an interval around 0."""
    text = lead(("dispatch", 0.9, -0.1), ("device_wait", 5.0, 4.0))
    assert "dispatch" not in text
    assert text.endswith("no component of the host was shown to cost more per item.")
    assert lead(("dispatch", 0.9, float("nan"))).endswith("No component was shown to cost more per item.")
