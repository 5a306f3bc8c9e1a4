"""The figure of all threads on one clock: what is drawn is what the tables say."""

import math

import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from scoreprof_nb import plots
from scoreprof_nb.components.catalog import CATALOG
from tests.support.figures import assert_fits

ACTIVITY = pd.DataFrame(
    [
        ("single", "http", "main", 1.0, 1.0, "http", 0.25, 100),
        ("single", "http", "main", 1.0, 1.0, "await_request", 0.75, 100),
        ("single", "http", "main", 2.0, 1.0, "http", 1.0, 100),
        ("single", "scheduler", "watchdog", 1.0, 1.0, "idle_wait", 1.0, 100),
        (
            "large",
            "scheduler",
            "a_$very$_long_thread_name_that_has_no_end",
            0.0,
            0.5,
            "unclassified",
            1.0,
            50,
        ),
    ],
    columns=["phase", "process", "thread", "start_s", "width_s", "component", "share", "ticks"],
)
BLOCKS = pd.DataFrame(
    [("single", 0, 0.0, 1.0, False), ("single", 1, 1.0, 3.0, True), ("large", 0, 0.0, 0.5, True)],
    columns=["phase", "number", "start_s", "stop_s", "profiled"],
)
REQUESTS = pd.DataFrame(
    [("single", 0.1, 100.0), ("single", 1.2, 50.0), ("single", 2.0, math.nan), ("large", 0.1, 200.0)],
    columns=["phase", "time_s", "latency_ms"],
)
COMPILES = pd.DataFrame([("single", 1.5)], columns=["phase", "time_s"])


@pytest.fixture(scope="module")
def figure():
    return plots.plot_timeline(ACTIVITY, BLOCKS, REQUESTS, COMPILES)


def panels(figure):
    return [axes for axes in figure.axes if not axes.get_legend()]


def boxes(axes):
    """(component, row, left, width, share of the row's height) of every box."""
    found = []
    for collection in axes.collections:
        if collection.get_label() in CATALOG:
            for path in collection.get_paths():
                (x0, y0), (x1, y1) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                share = round(float(y1 - y0) / 0.86, 3)
                found.append((collection.get_label(), round(float(y0 + y1) / 2), x0, x1 - x0, share))
    return found


def test_each_second_is_a_stack_of_its_shares(figure):
    """Broken: a share is drawn in another second, row or height."""
    single, large = panels(figure)
    assert sorted(boxes(single)) == [
        ("await_request", 1, 1.0, 1.0, 0.75),
        ("http", 1, 1.0, 1.0, 0.25),
        ("http", 1, 2.0, 1.0, 1.0),
    ]
    assert boxes(large) == [("unclassified", 1, 0.0, 0.5, 1.0)]


def test_colours_are_the_catalogs(figure):
    for axes in panels(figure):
        for collection in axes.collections:
            if collection.get_label() in CATALOG:
                colour = to_hex(collection.get_facecolor()[0]).upper()
                assert colour == CATALOG[collection.get_label()].colour


def test_requests_are_at_their_time_and_latency(figure):
    """Broken: the slowest request is not the highest dot, or one without an answer gets a latency."""
    single = panels(figure)[0]
    (dots,) = [one for one in single.collections if isinstance(one, PathCollection)]
    (first, slowest), (second, half) = dots.get_offsets().tolist()
    assert (first, second) == (0.1, 1.2)
    assert slowest == pytest.approx(-0.43)
    assert half == pytest.approx(0.0)


def test_idle_threads_are_counted_and_not_drawn(figure):
    labels = [label.get_text() for label in panels(figure)[0].get_yticklabels()]
    assert labels == ["requests", "http / main"]
    assert "not drawn: 1" in figure.get_supxlabel()
    assert "n = 3 answered requests" in figure.get_supxlabel()


def test_everything_fits(figure):
    assert_fits(figure, panels(figure))


def test_without_samples_the_figure_says_so():
    empty = plots.plot_timeline(ACTIVITY[:0], BLOCKS, REQUESTS, COMPILES)
    assert any("no thread has samples" in text.get_text() for axes in empty.axes for text in axes.texts)
