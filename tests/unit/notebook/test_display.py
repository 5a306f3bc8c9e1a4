"""What the notebook's cells show."""

import pandas as pd
import pytest

from scoreprof_nb.notebook import display as notebook


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, as text."""
    texts = []
    monkeypatch.setattr(notebook, "display", lambda what: texts.append(what.data))
    return texts


def test_function_in_angle_brackets_is_no_tag(shown):
    """Broken: ``run.<locals>.wrapper`` loses its middle, or a log line becomes a script."""
    notebook.show(pd.DataFrame({"function": ["run.<locals>.wrapper"], "ms": [1.0]}))
    assert "run.&lt;locals&gt;.wrapper" in shown[0].replace("<wbr>", "")


def test_number_that_is_not_known_is_said(shown):
    """Broken: an unknown number is shown as nan."""
    notebook.show(pd.DataFrame({"ms": [None, float("nan"), 0.5, 1234.5]}))
    assert shown[0].count("n/a") == 2
    assert "0.500" in shown[0]
    assert "1,234.5" in shown[0]


def test_empty_table_is_said(shown):
    """Broken: an empty table is shown as a bare header."""
    notebook.show(pd.DataFrame({"ms": []}))
    assert shown == ["*No data.*"]
