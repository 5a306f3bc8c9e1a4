"""Figures of a comparison: what is drawn is what the tables say, and what is not drawn is said."""

import math
import re
from collections import defaultdict
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from scoreprof_nb import plots
from scoreprof_nb.comparison import claims, component_verdicts, history, launches, metrics, verdict
from scoreprof_nb.components.catalog import CATALOG
from tests.support.figures import assert_fits, segments_of

NAN = math.nan
PATH_MS = {"http": 5.0, "tokenize": 11.0, "dispatch": 9.0, "device_wait": 69.0, "ipc_and_wakeup": 11.0}
CHANGE_MS = {"http": 0.1, "tokenize": 9.8, "dispatch": 1.2, "device_wait": -0.9, "ipc_and_wakeup": -3.3}
P50_MS = {"single": 105.0, "large": 590.0}


def table(columns, rows):
    """All the columns that the analysis gives; those that no row has are NaN."""
    return pd.DataFrame(rows).reindex(columns=list(columns))


METRICS = table(
    metrics.METRIC_COLUMNS,
    [
        {
            "phase": phase,
            "metric": metric,
            "ratio": ratio,
            "low": low,
            "high": high,
            "pairs": 6,
            "delta": delta,
            "verdict": verdict,
        }
        for phase, metric, ratio, low, high, delta, verdict in (
            ("single", "p50", 0.91, 0.887, 0.937, 0.05, "improvement"),
            ("single", "throughput", 0.88, 0.86, 0.90, 0.05, "regression"),
            ("large", "p50", 1.01, 0.985, 1.04, 0.12, "no meaningful change"),
            ("large", "CPU per request", 1.08, NAN, NAN, 0.12, "not known"),
        )
    ],
)
CHANGES = table(
    component_verdicts.COMPONENT_COLUMNS,
    [
        {
            "phase": phase,
            "component": component,
            "control_ms": ms,
            "test_ms": ms + CHANGE_MS[component],
            "change_ms": CHANGE_MS[component],
            "low": CHANGE_MS[component] - 0.5,
            "high": CHANGE_MS[component] + 0.5,
        }
        for phase in P50_MS
        for component, ms in PATH_MS.items()
    ],
)
LAUNCHES = table(
    launches.LAUNCH_COLUMNS,
    [
        {
            "phase": phase,
            "metric": "mean",
            "side": side,
            "pair": pair,
            "launch": 2 * pair - 1 + later,
            "run_id": f"{side}-{pair}",
            "value": ms + 3 * pair + 4 * later,
        }
        for phase, ms in P50_MS.items()
        for side, later in (("control", 0), ("test", 1))
        for pair in (1, 2, 3)
    ],
)
VERDICTS = [
    *(claims.IMPROVEMENT, claims.REGRESSION, claims.NO_CHANGE, claims.SIZE_UNCERTAIN, claims.INCONCLUSIVE),
    *(claims.INSUFFICIENT, claims.NOT_KNOWN, verdict.BLOCKED),
    *(claims.SUGGESTIVE + word for word in (claims.IMPROVEMENT, claims.REGRESSION)),
]
TIMES = pd.to_datetime(["2026-11-20T10:00Z", "2026-11-21T03:00Z", "2026-11-22T09:30Z"])
HISTORY = table(
    history.RUN_COLUMNS,
    [
        {"label": label, "started_at": at, "run_id": f"run-{label}", "phase": phase, "p50_ms": ms}
        for phase, ms in P50_MS.items()
        for label, at in zip(("main", "fixes", "main2"), TIMES, strict=True)
    ],
)
PATHS = table(
    history.PATH_COLUMNS,
    [
        {
            "label": label,
            "started_at": at,
            "run_id": f"run-{label}",
            "phase": phase,
            "component": component,
            "mean_ms": ms,
        }
        for phase in P50_MS
        for label, at in zip(("main", "fixes", "main2"), TIMES, strict=True)
        for component, ms in PATH_MS.items()
    ],
)


def plot_history(runs):
    """With the paths of those runs, so that every figure below takes one table."""
    return plots.plot_history(runs, PATHS if len(runs) else PATHS.iloc[:0])


# function, its data, the values that may be unknown, those without which there is nothing to draw
FIGURES = [
    (plots.plot_verdicts, METRICS, ["low", "high"], ["ratio"]),
    (plots.plot_path_change, CHANGES, ["low", "high"], ["control_ms", "test_ms"]),
    (plots.plot_launches, LAUNCHES, [], ["value"]),
    (plot_history, HISTORY, [], ["p50_ms"]),
]
BY_NAME = pytest.mark.parametrize(
    ("plot", "data", "optional", "needed"), FIGURES, ids=[figure[0].__name__ for figure in FIGURES]
)


@cache
def drawn(plot):
    """The figure of a plot's data above, drawn once for all tests that only look at it."""
    (data,) = [data for other, data, *_ in FIGURES if other is plot]
    return plot(data)


def panels_of(figure):
    """Every axes that is seen, those within another one too."""
    return [axes for axes in figure.findobj(Axes) if axes.axison]


def texts_of(figure):
    """Everything that is written in the figure, without the mark-up of a dollar sign."""
    figure.draw_without_rendering()
    return [text.get_text().replace(r"\$", "$") for text in figure.findobj(Text) if text.get_text()]


def overlapping(texts):
    """Pairs of texts of which one lies on the other, by more than a rounding error."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]
    return [
        (name, other)
        for at, (name, box) in enumerate(boxes)
        for other, second in boxes[at + 1 :]
        if min(box.x1, second.x1) - max(box.x0, second.x0) > 1
        and min(box.y1, second.y1) - max(box.y0, second.y0) > 1
    ]


def bars_of(axes):
    """Component by colour, and its height, of every standing bar."""
    by_colour = {CATALOG[component].colour: component for component in PATH_MS}
    return [
        (by_colour[to_hex(patch.get_facecolor()).upper()], patch.get_y(), patch.get_height())
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    ]


def many_metrics(count):
    rows = pd.concat([METRICS] * (count // len(METRICS)), ignore_index=True)
    return rows.assign(phase=[f"{phase}{at // 4}" for at, phase in enumerate(rows["phase"])])


def many_launches(count):
    rows = [
        {
            **{"phase": phase, "metric": "mean", "side": side, "pair": pair},
            **{"launch": 2 * pair - 1 + later, "value": 100.0 + pair % 7},
        }
        for pair in range(1, count + 1)
        for later, side in enumerate(("control", "test"))
        for phase in P50_MS
    ]
    return table(launches.LAUNCH_COLUMNS, rows)


def long_history(count):
    rows = [
        {
            "label": f"feature/a-long-name-of-a-branch-${at}$",
            "started_at": TIMES[0] + pd.Timedelta(hours=7 * at),
            "run_id": f"run-{at}",
            "phase": "single",
            "p50_ms": 100.0 + at % 5,
        }
        for at in range(count)
    ]
    return table(history.RUN_COLUMNS, rows)


@BY_NAME
def test_title_units_and_denominator(plot, data, optional, needed):
    figure = drawn(plot)
    assert figure.get_suptitle()
    assert re.search(r"n = |per request|per profiled request", figure.get_supxlabel())
    labels = [text for axes in panels_of(figure) for text in (axes.get_xlabel(), axes.get_ylabel())]
    labels += [axes.get_title(loc="left") for axes in panels_of(figure)]
    assert any(
        "ms" in text.split() or "test / control" in text
        for text in (text.replace(",", "") for text in labels)
    )


@BY_NAME
@pytest.mark.parametrize("rows", [None, 1])
def test_nothing_leaves_the_figure_or_lies_under_the_legend(plot, data, optional, needed, rows):
    figure = plot(data.head(rows)) if rows else drawn(plot)
    assert_fits(figure, panels_of(figure))


@BY_NAME
def test_no_rows_are_said_in_words(plot, data, optional, needed):
    for empty in (data.iloc[:0], pd.DataFrame()):
        assert any("Not shown: no" in text for text in texts_of(plot(empty)))


@BY_NAME
@pytest.mark.parametrize("unknown", [NAN, math.inf])
def test_unknown_values_are_said_in_words(plot, data, optional, needed, unknown):
    figure = plot(data.assign(**dict.fromkeys(needed, unknown)))
    assert any("Not shown: no" in text for text in texts_of(figure))


@BY_NAME
@pytest.mark.parametrize("unknown", [NAN, math.inf])
def test_unknown_intervals_never_fail(plot, data, optional, needed, unknown):
    figure = plot(data.assign(**dict.fromkeys(optional, unknown)))
    assert not re.search(r"\b(nan|inf)\b", " ".join(texts_of(figure)))


@BY_NAME
def test_data_are_not_changed_and_no_window_is_opened(plot, data, optional, needed):
    before = data.copy(deep=True)
    plot(data)
    pd.testing.assert_frame_equal(data, before)
    assert plt.get_fignums() == []


@BY_NAME
def test_dollar_signs_are_text_and_no_mathematics(plot, data, optional, needed):
    figure = plot(data.assign(phase="$\\frac{$"))
    assert any("$\\frac{$" in text for text in texts_of(figure))


@pytest.mark.parametrize("plot", [plots.plot_verdicts, plots.plot_path_change, plots.plot_launches])
def test_unlike_captures_are_marked(plot):
    data = {"plot_verdicts": METRICS, "plot_path_change": CHANGES, "plot_launches": LAUNCHES}[plot.__name__]
    assert plot(data, "UNLIKE CAPTURES: ").get_suptitle().startswith("UNLIKE CAPTURES: ")
    assert plot(data.iloc[:0], "UNLIKE CAPTURES: ").get_suptitle().startswith("UNLIKE CAPTURES: ")


@pytest.mark.parametrize("word", VERDICTS)
def test_every_verdict_of_the_analysis_can_be_drawn(word):
    """Broken: a verdict without a mark ends the report."""
    figure = plots.plot_verdicts(METRICS.assign(verdict=word))
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == [word, "not meaningful"]


def test_verdicts_differ_by_shape_not_by_colour_alone():
    names = VERDICTS
    figure = plots.plot_verdicts(
        pd.concat([METRICS.head(1)] * len(names)).assign(verdict=names).reset_index()
    )
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    shapes = [
        (line.get_marker(), line.get_markerfacecolor() == line.get_color()) for line in legend.get_lines()
    ]
    assert len(set(shapes)) == len(names)


def test_verdict_marks_intervals_and_margins_are_where_the_table_says():
    (axes,) = panels_of(drawn(plots.plot_verdicts))
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "single: p50",
        "single: throughput",
        "large: p50",
        "large: CPU per request",
    ]
    marks = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if line.get_marker() != "None"}
    assert marks == dict(enumerate(METRICS["ratio"]))
    intervals = {
        line.get_ydata()[0]: tuple(line.get_xdata())
        for line in axes.lines
        if line.get_marker() == "None"
        and np.isfinite(line.get_xdata()).all()
        and line.get_ydata()[0] == line.get_ydata()[1]
    }
    assert intervals == {0: (0.887, 0.937), 1: (0.86, 0.90), 2: (0.985, 1.04)}
    margins = [band.get_paths()[0].get_extents() for band in axes.findobj(PolyCollection)]
    assert [(band.x0, band.x1) for band in margins] == [
        (pytest.approx(1 - delta), pytest.approx(1 + delta)) for delta in METRICS["delta"]
    ]
    assert axes.get_xscale() == "log"


def test_forty_rows_do_not_overlap():
    (axes,) = panels_of(figure := plots.plot_verdicts(many_metrics(40)))
    figure.draw_without_rendering()
    assert len(axes.get_yticklabels()) == 40
    assert overlapping(axes.get_yticklabels()) == []
    assert overlapping(axes.texts) == []


def test_both_request_paths_add_up_and_are_told_in_ms():
    figure = drawn(plots.plot_path_change)
    left, right, *_ = panels_of(figure)
    widths = defaultdict(dict)
    for component, y, _, width, colour in segments_of(left):
        widths[y][component] = width
        assert colour == CATALOG[component].colour
    assert widths[0] == PATH_MS
    assert widths[1] == {name: pytest.approx(ms + CHANGE_MS[name]) for name, ms in PATH_MS.items()}
    assert {"105.0 ms", "111.9 ms"} <= set(texts_of(figure))
    changes = [(patch.get_width(), to_hex(patch.get_facecolor()).upper()) for patch in right.patches]
    assert changes == [
        (CHANGE_MS[name], CATALOG[name].colour)
        for name in ("tokenize", "ipc_and_wakeup", "dispatch", "device_wait")
    ]
    assert [label.get_text() for label in right.get_yticklabels()][:2] == ["tokenize", "ipc_and_wakeup"]
    intervals = [
        tuple(line.get_xdata()) for line in right.lines if line.get_ydata()[0] == line.get_ydata()[1]
    ]
    assert intervals[0] == (pytest.approx(9.3), pytest.approx(10.3))


def test_no_change_is_said():
    figure = plots.plot_path_change(CHANGES.assign(change_ms=0.0))
    assert "no change to show" in texts_of(figure)


def test_the_runs_of_a_pair_are_joined():
    """Broken: no line joins the control and the test of a pair."""
    single, large = panels_of(drawn(plots.plot_launches))
    for axes, ms in ((single, 105.0), (large, 590.0)):
        joined = [tuple(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "-"]
        assert joined == [(ms + 3 * pair, ms + 3 * pair + 4) for pair in (1, 2, 3)]
        shapes = {line.get_marker() for line in axes.lines if line.get_linestyle() == "None"}
        assert len(shapes) == 2, "sides are told apart by shape"
    assert "n = 3 pairs" in drawn(plots.plot_launches).get_supxlabel()


def test_history_has_a_bar_and_a_mark_for_each_run_in_the_order_of_time():
    backwards = HISTORY.iloc[::-1]
    large, single = panels_of(plots.plot_history(backwards, PATHS))
    for axes, ms in ((large, P50_MS["large"]), (single, P50_MS["single"])):
        (p50,) = axes.lines
        assert sorted(zip(p50.get_xdata(), p50.get_ydata(), strict=True)) == [(0, ms), (1, ms), (2, ms)]
        heights = defaultdict(list)
        for component, _, height in bars_of(axes):
            heights[component].append(height)
        assert heights == {component: [ms] * 3 for component, ms in PATH_MS.items()}
        assert [label.get_text() for label in axes.get_xticklabels()] == [
            "main\n11-20 10:00",
            "fixes\n11-21 03:00",
            "main2\n11-22 09:30",
        ]


def test_labels_of_many_runs_do_not_overlap():
    runs = long_history(40)
    (axes,) = panels_of(figure := plots.plot_history(runs, PATHS.iloc[:0]))
    figure.draw_without_rendering()
    assert len(axes.lines[0].get_xdata()) == 40
    assert overlapping(axes.get_xticklabels()) == []


def test_the_interval_is_written_beside_the_ratio():
    text = " ".join(texts_of(drawn(plots.plot_verdicts)))
    assert "0.910  0.887–0.937" in text
    assert "1.080  not known" in text


def test_one_is_in_the_middle_and_a_tick_is_on_each_side():
    for ratio in (1.0, 1.12, 30.0):
        (axes,) = panels_of(
            plots.plot_verdicts(METRICS.assign(ratio=ratio, low=ratio / 1.02, high=ratio * 1.02))
        )
        low, high = axes.get_xlim()
        assert low * high == pytest.approx(1)
        ticks = axes.get_xticks()
        assert min(ticks) < 1 < max(ticks)


def test_numbers_lie_on_no_mark_however_long_the_names_are():
    long = METRICS.assign(phase=METRICS["phase"] + "_of_a_requests_file_with_a_long_name" * 3)
    (axes,) = panels_of(figure := plots.plot_verdicts(long))
    figure.draw_without_rendering()
    panel = axes.get_window_extent()
    assert panel.width > 300
    assert all(text.get_window_extent().x0 >= panel.x1 for text in axes.texts)


def test_a_metric_without_a_ratio_is_named():
    unknown = METRICS.assign(ratio=[NAN, *METRICS["ratio"][1:]])
    assert "ratio not known: single: p50" in plots.plot_verdicts(unknown).get_supxlabel()


def test_both_axes_of_the_request_path_have_a_unit():
    labels = [axes.get_xlabel() for axes in panels_of(drawn(plots.plot_path_change))]
    assert labels == ["ms per request", "change, ms per request"] * 2


def test_a_component_that_is_not_known_is_named():
    """Broken: bars with a missing component look complete, and their sums are too small."""
    unknown = CHANGES.assign(test_ms=[NAN, *CHANGES["test_ms"][1:]])
    assert "not known, not drawn: single: http" in plots.plot_path_change(unknown).get_supxlabel()


def test_a_change_without_an_interval_is_marked():
    assert "+9.8 (±?)" in texts_of(plots.plot_path_change(CHANGES.assign(low=NAN, high=NAN)))
    assert "+9.8" in texts_of(drawn(plots.plot_path_change))


def test_a_negative_rest_is_drawn_left_of_zero():
    negative = CHANGES.assign(
        control_ms=[-4.0 if name == "ipc_and_wakeup" else 20.0 for name in CHANGES["component"]]
    )
    left, *_ = panels_of(figure := plots.plot_path_change(negative))
    assert left.get_xlim()[0] < -4
    total = next(text for text in left.texts if text.get_text() == "76.0 ms")
    assert total.xy == (80.0, 0)
    figure.draw_without_rendering()


def test_pair_numbers_of_forty_pairs_do_not_overlap():
    figure = plots.plot_launches(many_launches(40))
    figure.draw_without_rendering()
    panels = panels_of(figure)
    assert len(panels) >= 1
    for axes in panels:
        assert len(axes.get_xticklabels()) >= 2
        assert overlapping(axes.get_xticklabels()) == []


def test_a_run_without_a_p50_is_named():
    runs = LAUNCHES.assign(value=[NAN, *LAUNCHES["value"][1:]])
    assert "not known: single: control 1" in plots.plot_launches(runs).get_supxlabel()
    runs = HISTORY.assign(p50_ms=[NAN, *HISTORY["p50_ms"][1:]])
    figure = plots.plot_history(runs, PATHS)
    assert "p50 not known: single: run-main" in figure.get_supxlabel()
    assert len(bars_of(panels_of(figure)[0])) == 3 * len(PATH_MS), "its request path is known and drawn"


def test_a_component_unknown_in_one_run_takes_no_other_with_it():
    paths = PATHS.assign(mean_ms=[NAN, *PATHS["mean_ms"][1:]])
    figure = plots.plot_history(HISTORY, paths)
    bars = bars_of(panels_of(figure)[0])
    assert len(bars) == 3 * len(PATH_MS) - 1
    assert all(math.isfinite(bottom) for _, bottom, _ in bars)
    assert "not known, not drawn: single: http" in figure.get_supxlabel()


def test_a_negative_rest_of_a_run_is_drawn_below_zero():
    paths = PATHS.assign(
        mean_ms=[
            -6.0 if name == "ipc_and_wakeup" else ms
            for name, ms in zip(PATHS["component"], PATHS["mean_ms"], strict=True)
        ]
    )
    rests = [
        bar for bar in bars_of(panels_of(plots.plot_history(HISTORY, paths))[0]) if bar[0] == "ipc_and_wakeup"
    ]
    assert rests == [("ipc_and_wakeup", 0.0, -6.0)] * 3


def test_history_without_any_request_path_says_so():
    for none in (PATHS.iloc[:0], pd.DataFrame()):
        assert "no request path is known" in plots.plot_history(HISTORY, none).get_supxlabel()


def test_runs_without_a_label_are_counted():
    assert "one run in 4 is labelled" in plots.plot_history(long_history(40), PATHS).get_supxlabel()


def test_unclassified_is_hatched_to_be_seen():
    paths = PATHS.replace({"component": {"http": "unclassified"}})
    axes = panels_of(plots.plot_history(HISTORY, paths))[0]
    assert {to_hex(patch.get_hatchcolor()) for patch in axes.patches if patch.get_hatch()} == {"#777777"}
