"""Figures: what is drawn is what the data say, in colours that mean the same everywhere."""

import itertools
import math
import re
from collections import defaultdict
from functools import cache

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from scoreprof_nb import plots
from scoreprof_nb.components import palette
from scoreprof_nb.components.catalog import CATALOG
from tests.support.figures import ALL_COMPONENTS, assert_fits, segments_of

NAN = math.nan


def table(columns, *rows):
    return pd.DataFrame(list(rows), columns=columns.split())


LATENCY = table(
    "phase requests mean_ms p50_ms p50_low p50_high p90_ms p90_low p90_high p95_ms p99_ms",
    ("single", 120, 105.2, 104.0, 102.0, 106.0, 118.0, 115.0, 122.0, 125.0, 149.0),
    ("large", 60, 231.0, 229.0, 220.0, 238.0, 260.0, NAN, NAN, 275.0, NAN),
)
REQUESTS = table(
    "phase time_s latency_ms block profiled compile_hit split failed",
    ("single", 0.0, 1500.0, 0, False, True, False, False),
    ("single", 1.6, 105.0, 1, True, False, True, False),
    ("single", 1.8, NAN, 1, True, False, False, True),
    ("large", 0.0, 231.0, 0, False, False, False, False),
)
PATH = table(
    "phase component mean_ms low high requests latency_ms",
    ("single", "device_wait", 60.0, 57.0, 62.0, 120, 105.0),
    ("single", "http", 5.0, NAN, NAN, 120, 105.0),
    ("single", "ipc_and_wakeup", 10.0, 9.0, 11.0, 120, 105.0),
    ("single", "dispatch", 30.0, 28.0, 31.0, 120, 105.0),
    ("large", "device_wait", 180.0, 170.0, 190.0, 60, 231.0),
    ("large", "unclassified", 50.0, 40.0, 55.0, 60, 231.0),
)
CPU = table(
    "phase component cpu_ms low high requests",
    ("single", "dispatch", 12.0, 11.0, 13.0, 120),
    ("single", "idle_poll", 300.0, NAN, NAN, 120),
    ("single", "native_threads", 400.0, 380.0, 420.0, 120),
    ("single", "client", 2.0, 1.0, 3.0, 120),
)
THREADS = table(
    "phase process thread component share ticks",
    ("single", "http server", "MainThread", "await_request", 0.9, 6012),
    ("single", "http server", "MainThread", "http", 0.1, 6012),
    ("single", "scheduler", "forward", "device_wait", 1.0, 5990),
)
HOT = table(
    "phase function file component self_ms cumulative_ms",
    ("single", "forward", "sgl_jax/model_runner.py", "dispatch", 12.0, 70.0),
    ("single", "Scheduler.$batch$", "sgl_jax/scheduler.py", "batch", 3.0, NAN),
    ("single", "poll", "sgl_jax/scheduler.py", "idle_poll", 300.0, 300.0),
)
BATCHES = table("phase new_sequences batches", ("single", 1, 120), ("large", 16, 40), ("large", 32, 58))
EFFECT = table("phase mean_ratio low high", ("single", 1.012, 0.99, 1.034), ("large", 1.05, NAN, NAN))
UTILISATION = table(
    "phase process thread busy_share low high",
    ("conc4", "scheduler", "MainThread", 0.61, 0.58, 0.64),
    ("conc4", "scheduler", "forward", 0.97, NAN, NAN),
)

CURVE = table(
    "kind rate_per_s p50_ms p90_ms p99_ms knee_per_s capacity_per_s",
    ("small", 10.0, 20.0, 25.0, 40.0, 20.0, 40.0),
    ("small", 20.0, 25.0, 40.0, NAN, 20.0, 40.0),
    ("small", 44.0, NAN, NAN, NAN, 20.0, 40.0),
    ("large$", 1.0, 200.0, 250.0, NAN, NAN, NAN),
)

MEMORY = table(
    "phase process pid time_s rss_mb",
    ("single", "http server", 10, 0.0, 900.0),
    ("single", "http server", 10, 1.0, 910.0),
    ("single", "scheduler$", 11, 0.0, 4000.0),
    ("large", "scheduler$", 11, 0.0, NAN),
    ("large", "scheduler$", 11, 1.0, 4100.0),
)

# function, its data, the values that may be unknown, the value without which there is nothing to draw
FIGURES = [
    (plots.plot_latency, LATENCY, ["p50_low", "p50_high", "p90_low", "p90_high", "requests"], "p50_ms"),
    (plots.plot_latency_timeline, REQUESTS, ["latency_ms"], "time_s"),
    (plots.plot_request_path, PATH, ["low", "high", "requests", "latency_ms"], "mean_ms"),
    (plots.plot_cpu, CPU, ["low", "high", "requests"], "cpu_ms"),
    (plots.plot_threads, THREADS, ["ticks"], "share"),
    (plots.plot_hot_functions, HOT, ["cumulative_ms"], "self_ms"),
    (plots.plot_batching, BATCHES, [], "batches"),
    (plots.plot_observer_effect, EFFECT, ["low", "high"], "mean_ratio"),
    (plots.plot_utilisation, UTILISATION, ["low", "high"], "busy_share"),
    (plots.plot_memory, MEMORY, [], "rss_mb"),
    (plots.plot_latency_over_rate, CURVE, ["p99_ms", "knee_per_s", "capacity_per_s"], "rate_per_s"),
]
BY_NAME = pytest.mark.parametrize(
    ("plot", "data", "optional", "needed"), FIGURES, ids=[figure[0].__name__ for figure in FIGURES]
)


@cache
def drawn(plot):
    """The figure of a plot's data above, drawn once for all tests that only look at it."""
    (data,) = [data for other, data, *_ in FIGURES if other is plot]
    return plot(data)


def drawn_axes(figure):
    return [axes for axes in figure.axes if axes.axison]


def texts_of(figure):
    """Everything that is written in the figure."""
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    return "\n".join(
        [
            figure.get_suptitle(),
            figure.get_supxlabel(),
            *(text.get_text() for axes in figure.axes for text in axes.texts),
            *(axes.get_title(loc="left") for axes in figure.axes),
            *(label.get_text() for axes in figure.axes for label in axes.get_yticklabels()),
            *(text.get_text() for legend in legends for text in legend.get_texts()),
        ]
    )


@BY_NAME
def test_names_from_outside_are_inert_and_no_mathematics(plot, data, optional, needed):
    """Broken: a name reads otherwise than what it says, or a figure fails at two dollar signs."""
    hostile = "\u202e$\\frac$\x1b[2Jevil\u2066\x07"
    names = [name for name in ("phase", "process", "thread", "function", "file", "kind") if name in data]
    figure = plot(
        data.assign(**{name: data[name] + hostile for name in names}, **dict.fromkeys(optional, NAN))
    )
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any("evil" in text for text in texts)
    marks = ("\u202e", "\x1b", "\u2066", "\x07")
    assert not [text for text in texts if any(mark in text for mark in marks)]


@BY_NAME
def test_title_axis_units_and_denominator(plot, data, optional, needed):
    figure = drawn(plot)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    denominator = figure.get_supxlabel()
    assert any(word in denominator for word in ("n = ", "per request"))
    units = ("milliseconds", "ms", "seconds", "%", "number", "ratio")
    x_labels = [axes.get_xlabel() for axes in drawn_axes(figure) if axes.get_xlabel()]
    assert x_labels
    assert all(any(unit in label for unit in units) for label in x_labels)
    assert figure.get_figwidth() * figure.dpi == 1000


@BY_NAME
def test_legend_covers_no_panel_and_nothing_leaves_the_figure(plot, data, optional, needed):
    figure = drawn(plot)
    assert_fits(figure, drawn_axes(figure))


@BY_NAME
def test_no_rows_are_said_in_words(plot, data, optional, needed):
    for empty in (data.iloc[:0], pd.DataFrame()):
        assert "Not shown: no" in texts_of(plot(empty))


@BY_NAME
def test_unknown_values_are_said_in_words(plot, data, optional, needed):
    values = [column for column in data.columns if column.startswith(("mean", "p50", "p90", "p95", "p99"))]
    assert "Not shown: no" in texts_of(plot(data.assign(**dict.fromkeys((needed, *values), NAN))))


@BY_NAME
@pytest.mark.parametrize("unknown", [NAN, math.inf])
def test_unknown_intervals_and_counts_never_fail(plot, data, optional, needed, unknown):
    figure = plot(data.assign(**dict.fromkeys(optional, unknown)))
    figure.draw_without_rendering()
    assert not re.search(r"\b(nan|inf)\b", texts_of(figure))


@BY_NAME
def test_data_are_not_changed_and_no_window_is_opened(plot, data, optional, needed):
    before = data.copy(deep=True)
    plot(data)
    pd.testing.assert_frame_equal(data, before)
    assert plt.get_fignums() == []


def test_request_path_segments_add_up_to_the_data():
    axes, _ = drawn_axes(drawn(plots.plot_request_path))
    bars = defaultdict(list)
    for component, y, left, width, _ in segments_of(axes):
        bars[y].append((component, left, width))
    assert [component for component, _, _ in bars[0]] == ["http", "dispatch", "device_wait", "ipc_and_wakeup"]
    for y, phase in enumerate(("single", "large")):
        rows = PATH[PATH["phase"] == phase].set_index("component")["mean_ms"]
        assert {component: width for component, _, width in bars[y]} == rows.to_dict()
        ends = itertools.accumulate((width for _, _, width in bars[y]), initial=0.0)
        assert [left for _, left, _ in bars[y]] == pytest.approx(list(ends)[:-1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["single", "large"]


def test_the_hosts_part_has_a_panel_of_its_own_without_the_device():
    """Broken: the device leaves four per cent of the chart for everything that a reader came for."""
    _, host = drawn_axes(plots.plot_request_path(PATH[PATH["phase"] == "single"]))
    components = {component for component, *_ in segments_of(host)}
    assert components == {"http", "dispatch", "ipc_and_wakeup"}
    assert host.get_xlim()[1] < 60.0


def test_legend_names_only_what_can_be_seen():
    """Broken: a reader looks for a colour that is a hair wide, among twenty entries."""
    sliver = PATH.copy()
    sliver.loc[1, "mean_ms"] = 0.01
    figure = plots.plot_request_path(sliver[sliver["phase"] == "single"])
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    names = {text.get_text() for text in legend.get_texts()}
    assert "http" not in names
    assert "device_wait" in names


def test_request_path_says_numbers_intervals_totals_and_n():
    text = texts_of(drawn(plots.plot_request_path))
    assert "device_wait\n60.0\n57.0–62.0" in text
    assert "total 105.0 ms\nlatency 105.0 ms" in text
    assert "n = 120 (single), n = 60 (large)" in text


def test_request_path_marks_the_marginal_method():
    """Broken: a figure that cannot show what overlaps looks like one that can."""
    figure = plots.plot_request_path(PATH.assign(method=["marginal"] * 4 + ["joint"] * (len(PATH) - 4)))
    assert "(marginal method: single)" in figure.get_suptitle()
    assert "cannot show what overlaps" in figure.get_supxlabel()
    assert "marginal" not in plots.plot_request_path(PATH.assign(method="joint")).get_suptitle()


def test_request_path_names_what_is_not_known():
    unknown = PATH.copy()
    unknown.loc[1, "mean_ms"] = NAN
    assert "not known, not drawn: single: http" in plots.plot_request_path(unknown).get_supxlabel()


def test_a_negative_rest_is_drawn_left_of_zero():
    negative = PATH.copy()
    negative.loc[2, "mean_ms"] = -4.0
    axes, _ = drawn_axes(plots.plot_request_path(negative))
    (rest,) = [segment for segment in segments_of(axes) if segment[0] == "ipc_and_wakeup"]
    assert rest[2:4] == (0.0, -4.0)
    assert axes.get_xlim()[0] < 0


def test_same_n_in_all_phases_is_said_once():
    same = PATH.assign(requests=120)
    assert "n = 120 profiled requests in each phase" in plots.plot_request_path(same).get_supxlabel()


def test_cpu_keeps_polling_apart_from_work():
    work, rest = drawn_axes(drawn(plots.plot_cpu))
    assert {segment[0]: segment[3] for segment in segments_of(work)} == {"dispatch": 12.0, "client": 2.0}
    assert {segment[0]: segment[3] for segment in segments_of(rest)} == {
        "idle_poll": 300.0,
        "native_threads": 400.0,
    }
    assert work.get_xlim()[1] < 20 < rest.get_xlim()[1]


def test_thread_bars_are_whole_and_say_their_ticks():
    (axes,) = drawn_axes(drawn(plots.plot_threads))
    totals = defaultdict(float)
    for _, y, _, width, _ in segments_of(axes):
        totals[y] += width
    assert totals == {0: pytest.approx(100), 1: pytest.approx(100)}
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["http server / MainThread (n = 6,012)", "scheduler / forward (n = 5,990)"]


def test_hot_functions_are_work_only_and_sorted():
    (axes,) = drawn_axes(drawn(plots.plot_hot_functions))
    assert [(segment[0], segment[3]) for segment in segments_of(axes)] == [("dispatch", 12.0), ("batch", 3.0)]
    figure = plots.plot_hot_functions(HOT, top=1)
    assert "1 of 2 (single)" in figure.get_supxlabel()
    assert "70.0" in texts_of(figure)


def test_latency_marks_statistics_that_need_more_requests():
    figure = drawn(plots.plot_latency)
    assert "not shown, too few requests: p99 (large)" in figure.get_supxlabel()
    assert "p50 104.0" in texts_of(figure)


def test_timeline_counts_what_it_marks():
    figure = drawn(plots.plot_latency_timeline)
    assert "4 requests: 2 in profiled blocks, 1 compile hits, 1 split, 1 failed" in " ".join(
        figure.get_supxlabel().split()
    )
    single, large = drawn_axes(figure)
    assert single.get_yscale() == "log"
    assert large.get_yscale() == "linear"


def test_batching_counts_batches_and_sequences():
    text = texts_of(drawn(plots.plot_batching))
    assert "large (n = 98 batches, 2,496 sequences)" in text


def test_observer_effect_says_when_an_interval_is_not_known():
    text = texts_of(drawn(plots.plot_observer_effect))
    assert "1.012  (0.990–1.034)" in text
    assert "1.050  (interval not known)" in text


def test_a_component_has_one_colour_in_every_figure():
    seen = defaultdict(set)
    figures = [
        drawn(plots.plot_request_path),
        drawn(plots.plot_cpu),
        drawn(plots.plot_threads),
        drawn(plots.plot_hot_functions),
    ]
    for axes in itertools.chain.from_iterable(map(drawn_axes, figures)):
        for component, _, _, _, colour in segments_of(axes):
            seen[component].add(colour)
    assert len(seen) >= 8
    assert seen == {component: {CATALOG[component].colour} for component in seen}


def test_no_colour_is_used_twice_and_none_is_a_default_one():
    """Broken: two components look the same, or a user's component looks like a built-in one."""
    colours = [CATALOG[component].colour for component in ALL_COMPONENTS]
    assert len({*colours, *palette.DEFAULT_COLOURS}) == len(ALL_COMPONENTS) + len(palette.DEFAULT_COLOURS)


def test_only_unclassified_is_hatched():
    assert [component for component in ALL_COMPONENTS if palette.hatch(component)] == ["unclassified"]


def test_waiting_is_grey():
    waiting = [component for component in CATALOG.components if component.group == "waiting"]
    assert waiting
    for component in waiting:
        assert len({component.colour[start : start + 2] for start in (1, 3, 5)}) == 1


# Machado, Oliveira and Fernandes 2009, full severity; they apply to linear RGB.
SIGHT = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
}


def lab(colour, sight):
    """CIELAB of a hex colour as a reader with this sight sees it."""
    rgb = [(int(colour[start : start + 2], 16) / 255) ** 2.2 for start in (1, 3, 5)]
    seen = [min(1, max(0, sum(a * b for a, b in zip(row, rgb, strict=True)))) for row in sight]
    rows = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8730))
    x, y, z = (
        value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116
        for value in (sum(a * b for a, b in zip(row, seen, strict=True)) for row in rows)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


LEADING = (  # the component of each group whose colour the others of the group are shades of
    *("http", "tokenize", "ipc", "batch", "dispatch", "logprobs", "detokenize", "idle_poll", "gc"),
    *("native_threads", "client"),
)


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
def test_groups_differ_also_for_colour_blind_readers(sight):
    assert {CATALOG[name].group for name in LEADING} == {component.group for component in CATALOG.components}
    seen = {name: lab(CATALOG[name].colour, sight) for name in LEADING}
    close = [(a, b) for a, b in itertools.combinations(seen, 2) if math.dist(seen[a], seen[b]) < 12]
    assert close == []


# ---- latency over the rate


def test_latency_over_rate_draws_what_is_known_and_marks_what_is_not():
    """Broken: a rate without percentiles looks like one that was not measured, or is drawn as zero."""
    small, large = drawn_axes(plots.plot_latency_over_rate(CURVE, slo_ms=100))
    lines = {line.get_color(): line for line in small.lines if line.get_marker() == "o"}
    assert [len(line.get_xdata()) for line in lines.values()] == [2, 2, 1]  # p50, p90, p99
    (crosses,) = [line for line in small.lines if line.get_marker() == "x"]
    assert list(crosses.get_xdata()) == [44]
    upright = sorted(line.get_xdata()[0] for line in small.lines if line.get_linestyle() in ("--", ":"))
    assert upright == [20, 40]  # knee and capacity
    assert [line.get_ydata()[0] for line in large.lines if line.get_linestyle() == "-."] == [100]
