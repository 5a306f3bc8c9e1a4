"""Figures of a comparison: every row is drawn, what is missing is said, and odd tables break nothing."""

import io
import math

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb import palette, plots
from scoreprof_nb.analysis.paired import VERDICTS
from scoreprof_nb.plots.sides import _VERDICT_MARKS


def metrics(n=4, **changes):
    rows = [
        {
            "phase": f"phase {i}",
            "metric": "p50",
            "ratio": 1 + 0.1 * i,
            "low": 0.9 + 0.1 * i,
            "high": 1.1 + 0.1 * i,
            "pairs": 6,
            "delta": 0.05,
            "verdict": "inconclusive",
        }
        for i in range(n)
    ]
    return pd.DataFrame(rows).assign(**changes)


def changes(**columns):
    return pd.DataFrame(
        {
            "phase": ["single", "single", "large"],
            "component": ["tokenize", "device_wait", "tokenize"],
            "control_ms": [4.0, 30.0, 70.0],
            "test_ms": [14.0, 29.0, 80.0],
            "change_ms": [10.0, -1.0, 10.0],
            "low": [8.0, -3.0, math.nan],
            "high": [12.0, 1.0, math.nan],
        }
    ).assign(**columns)


def run_values():
    return pd.DataFrame(
        {
            "phase": "single",
            "side": ["control", "test"] * 3,
            "pair": [1, 1, 2, 2, 3, 3],
            "p50_ms": [40.0, 44, 41, 45, math.nan, 43],
        }
    )


def history(n=3, label="main"):
    started = pd.date_range("2026-11-20", periods=n, tz="UTC")
    runs = pd.DataFrame(
        {
            "label": label,
            "started_at": started,
            "run_id": [f"r{i}" for i in range(n)],
            "phase": "single",
            "p50_ms": 40.0,
        }
    )
    return runs, runs.assign(component="tokenize", mean_ms=4.0)


def drawn(figure):
    """The figure as a file, and all texts in it."""
    figure.savefig(io.BytesIO(), format="png")
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_every_verdict_has_a_mark():
    """A verdict without one would end the report with an error."""
    assert set(VERDICTS) | {"blocked"} <= set(_VERDICT_MARKS)
    for name in _VERDICT_MARKS:
        assert name in drawn(plots.plot_verdicts(metrics(1, verdict=name)))


def test_better_and_worse_are_told_apart_without_colour():
    shapes = [_VERDICT_MARKS[name][1] for name in ("regression", "improvement", "blocked", "inconclusive")]
    assert len(set(shapes)) == len(shapes)


def test_every_metric_has_a_row_with_its_ratio():
    texts = drawn(plots.plot_verdicts(metrics(40)))
    assert {"phase 0: p50", "phase 39: p50", "1.000", "4.900"} <= set(texts)


@pytest.mark.parametrize("column", ["low", "high"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_interval_that_is_not_known(column, value):
    drawn(plots.plot_verdicts(metrics(**{column: value})))


def test_path_change_has_both_sides_and_each_change():
    texts = drawn(plots.plot_path_change(changes()))
    assert {"control", "test", "+10.0", "-1.0", "single", "large"} <= set(texts)


def test_components_have_the_colours_they_have_everywhere():
    figure = plots.plot_path_change(changes())
    colours = {
        patch.get_label(): patch.get_facecolor()
        for legend in figure.findobj(lambda a: hasattr(a, "get_patches"))
        for patch in legend.get_patches()
    }
    assert colours
    for name, colour in colours.items():
        assert palette.colour(name) == "#" + "".join(f"{round(part * 255):02X}" for part in colour[:3])


def test_marked_figures_say_so():
    for figure in (
        plots.plot_verdicts(metrics(), "UNLIKE CAPTURES: "),
        plots.plot_path_change(changes(), "UNLIKE CAPTURES: "),
        plots.plot_run_values(run_values(), "UNLIKE CAPTURES: "),
    ):
        assert figure.get_suptitle().startswith("UNLIKE CAPTURES")


def test_runs_of_both_sides():
    assert {"control", "test", "single"} <= set(drawn(plots.plot_run_values(run_values())))


@pytest.mark.parametrize("n", [1, 3, 40])
def test_history_of_few_and_many_runs(n):
    texts = drawn(plots.plot_history(*history(n)))
    assert any(text.startswith("main\n11-20") for text in texts)


def test_names_are_shown_as_they_are():
    """A dollar sign is no mathematics, a long label does not cover its neighbour."""
    texts = drawn(plots.plot_history(*history(label="a$b$ " + "x" * 80)))
    assert max(map(len, texts)) < 90


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plots.plot_verdicts(metrics(0)),
        lambda: plots.plot_verdicts(metrics(ratio=np.nan)),
        lambda: plots.plot_path_change(changes().iloc[:0]),
        lambda: plots.plot_run_values(run_values().iloc[:0]),
        lambda: plots.plot_history(*(table.iloc[:0] for table in history())),
    ],
)
def test_nothing_to_draw_is_said(figure):
    assert any("Not shown" in text for text in drawn(figure()))
