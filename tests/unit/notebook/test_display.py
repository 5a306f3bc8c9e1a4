"""What the notebook's cells show."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

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


class _CountedLine(Line2D):
    drawn = 0

    def draw(self, renderer):
        self.drawn += 1
        super().draw(renderer)


@pytest.fixture
def figure():
    made = Figure(figsize=(4, 2), layout="constrained")
    axes = made.add_subplot()
    axes.set_ylabel("a label that the layout makes room for")
    made.counted = axes.add_line(_CountedLine([0, 1], [0, 1]))
    return made


def test_figure_is_drawn_once(figure):
    """Broken: each figure of a report would take twice the time."""
    notebook.png(figure)
    assert figure.counted.drawn == 1


def test_picture_has_the_whole_figure_and_narrow_margins(figure):
    """Broken: labels would be cut off, or the page would have empty stripes."""
    pixels = imread(io.BytesIO(notebook.png(figure)))[..., :3]
    inked = (pixels < 1).any(axis=2)
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    margins = (rows[0], columns[0], inked.shape[0] - 1 - rows[-1], inked.shape[1] - 1 - columns[-1])
    for margin in margins:
        assert 1 <= margin <= 2 * notebook.MARGIN_IN * notebook.DPI
