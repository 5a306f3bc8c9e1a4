"""The flame graph as a picture: its boxes are the time of the stacks."""

import pandas as pd
import pytest
from matplotlib.collections import PatchCollection

from scoreprof_nb import plots
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.report.flame_views import flame_boxes
from tests.support.figures import assert_fits

ROOT = ("main (server.py)", "loop (server.py)")
STACKS = [
    (("http / main", *ROOT, "tokenize (t.py)"), "tokenize", 6.0),
    (("http / main", *ROOT, "softmax (s.py)"), "softmax", 2.0),
    (("scheduler / main", "run (sched.py)"), "batch", 4.0),
]


@pytest.fixture
def boxes():
    return flame_boxes(STACKS, CATALOG)


def test_widths_are_shares_of_the_process(boxes):
    """Broken: a process with little time hides behind one with much."""
    found = boxes.set_index("label")
    assert found.loc["tokenize (t.py)", ["width", "ms"]].tolist() == [0.75, 6.0]
    assert found.loc["http", ["width", "ms"]].tolist() == [1.0, 8.0]
    assert found.loc["scheduler", "ms"] == 4.0


def test_frames_that_all_stacks_share_are_left_out(boxes):
    assert not set(ROOT) & set(boxes["label"])
    assert set(boxes["label"]) >= {"http / main", "softmax (s.py)"}


def test_a_frame_has_a_components_colour_only_if_it_is_mostly_that(boxes):
    """Broken: the event loop looks like softmax, since softmax is the largest of ten parts."""
    found = boxes.set_index("label")["component"]
    assert found["http / main"] == "tokenize"  # 75 %
    mixed = flame_boxes([*STACKS, (("http / main", *ROOT, "x (x.py)"), "http", 3.0)], CATALOG)
    assert mixed.set_index("label").loc["http / main", "component"] == ""


def test_children_lie_within_their_parents(boxes):
    http = boxes[boxes["process"] == "http"]
    for _, box in http[http["depth"] > 0].iterrows():
        parents = http[http["depth"] == box["depth"] - 1]
        inside = (parents["x"] <= box["x"] + 1e-9) & (
            parents["x"] + parents["width"] >= box["x"] + box["width"] - 1e-9
        )
        assert inside.any(), box["label"]


def test_picture_has_a_panel_per_process_and_fits(boxes):
    figure = plots.plot_flame(boxes)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "http: 8.0 ms per request",
        "scheduler: 4.0 ms per request",
    ]
    assert_fits(figure, panels)
    drawn = [c for axes in panels for c in axes.collections if isinstance(c, PatchCollection)]
    assert sum(len(c.get_paths()) for c in drawn) == len(boxes)


def test_nothing_recorded_is_said():
    figure = plots.plot_flame(pd.DataFrame(columns=["process"]))
    assert "no stacks of working threads" in figure.axes[0].texts[0].get_text()
