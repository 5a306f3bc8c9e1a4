"""The differential flame graph: widths of one side, colours of the change, and what it cannot show."""

import math
import random
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.flamegraph.differential import _COLOURS, diff_flame_graph
from scoreprof_nb.flamegraph.svg import ROW_PX, showable

SVG = "{http://www.w3.org/2000/svg}"
INNER_PX = 1180  # of a graph of 1200 px, without its margins
SIDES = ("control", "test")
STACKS = [
    (("http", "serve", "tokenize"), 4.0, 8.0),
    (("http", "serve", "old"), 2.0, 0.0),
    (("http", "serve", "new"), 0.0, 3.0),
    (("http", "same"), 10.0, 10.0),
]


def groups_of(svg):
    """The drawn frames, the root first; none of a picture without samples."""
    return ElementTree.fromstring(svg).findall(f"{SVG}g[@class='fg-frames']/{SVG}g")


def texts_of(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def drawn(stacks=STACKS, widths="test", **how):
    """(label without its sign: (tooltip, width px, colour)), and the whole text."""
    text = diff_flame_graph(stacks, widths=widths, title="a & b", **how)
    frames = {}
    for group in groups_of(text):
        label, _, about = group.find(f"{SVG}title").text.partition("\n")
        rect = group.find(f"{SVG}rect")
        frames[label.removeprefix("+ ").removeprefix("- ")] = (
            about,
            float(rect.get("width")),
            rect.get("fill"),
        )
    return frames, text


def test_widths_are_those_of_the_side_that_is_asked_for():
    """Broken: a graph shows the widths of the other side."""
    for widths, tokenize, total in (("test", 8.0, 21.0), ("control", 4.0, 16.0)):
        frames, _ = drawn(widths=widths)
        assert frames["tokenize"][1] == pytest.approx(tokenize / total * 1180, abs=0.01)


def test_what_only_the_other_side_has_is_not_drawn_and_said():
    """Broken: a reader of one graph does not know that the other side has more."""
    frames, text = drawn(widths="test")
    assert "old" not in frames
    assert "new" in frames
    assert "only in control: 2.000" in text
    frames, text = drawn(widths="control")
    assert "old" in frames
    assert "only in test: 3.000" in text


def test_colour_says_how_it_changed():
    """Broken: the colour does not show whether a frame got slower or faster."""
    frames, _ = drawn()
    assert frames["tokenize"][2] == frames["new"][2] == _COLOURS[-1]
    assert frames["same"][2] == _COLOURS[3]
    assert drawn(widths="control")[0]["old"][2] == _COLOURS[0]


def test_a_large_ratio_of_next_to_nothing_has_no_colour():
    """Broken: a large ratio of next to nothing is coloured like a real change."""
    frames, _ = drawn([(("a", "tiny"), 0.01, 0.03), (("a", "rest"), 20.0, 20.0)])
    assert frames["tiny"][2] == _COLOURS[3]


def test_the_direction_is_written_too():
    """Broken: slower and faster are the same grey in print, and a picture has no tooltip."""
    texts = texts_of(drawn()[1])
    assert {"+ tokenize", "+ new", "same"} <= set(texts)
    assert "- old" in texts_of(drawn(widths="control")[1])
    assert any("+ more in test, - less in test" in text for text in texts)


def test_swapped_sides_swap_the_colours():
    """Broken: swapping the sides does not swap the colours."""
    swapped = [(labels, test, control) for labels, control, test in STACKS]
    there, back = drawn(widths="test")[0], drawn(swapped, widths="control")[0]
    mirror = dict(zip(_COLOURS, reversed(_COLOURS), strict=True))
    assert {label: fill for label, (_, _, fill) in back.items()} == {
        label: mirror[fill] for label, (_, _, fill) in there.items()
    }


def test_the_legend_says_each_colour_and_stays_within_the_picture():
    """Broken: the legend leaves the picture or omits a colour."""
    for width in (1200, 600):
        root = ElementTree.fromstring(drawn(width=width)[1])
        legend = root.find(f"{SVG}g[@class='fg-legend']")
        assert [rect.get("fill") for rect in legend.iter(f"{SVG}rect")] == list(_COLOURS)
        for text in legend.iter(f"{SVG}text"):
            assert float(text.get("x")) + 6.7 * len(text.text) <= width
        bottom = max(float(text.get("y")) for text in legend.iter(f"{SVG}text"))
        top = min(
            float(rect.get("y"))
            for rect in (group.find(f"{SVG}rect") for group in groups_of(drawn(width=width)[1]))
        )
        assert float(legend.get("transform").split()[-1].rstrip(")")) + bottom < top


def test_tooltip_has_both_sides_the_difference_and_the_ratio():
    """Broken: a tooltip lacks a side, the difference or the ratio."""
    frames, _ = drawn()
    assert frames["tokenize"][0] == "control 4.000, test 8.000 ms per request: +4.000, 2.00 times"
    assert frames["new"][0].endswith("+3.000, new in test")
    assert drawn(widths="control")[0]["old"][0].endswith("-2.000, absent from test")


@pytest.mark.parametrize("widths", ["control", "test"])
def test_nothing_to_draw_is_said(widths):
    """Broken: a graph with nothing to draw is an empty picture."""
    assert f"No samples in {widths}" in drawn([], widths)[1]
    assert "No samples in test" in drawn([(("a",), 1.0, 0.0)], "test")[1]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_unknown_weight_is_an_error(weight):
    """Broken: an unknown weight is drawn as zero."""
    with pytest.raises(ValueError, match="not a known amount"):
        drawn([(("a",), 1.0, weight)])


LABEL = st.text(st.characters(), max_size=8)
PATH = st.lists(LABEL, min_size=1, max_size=4).map(tuple)
WEIGHT = st.just(0.0) | st.integers(1, 400).map(lambda quarters: quarters / 4)  # exact sums
STACKS_OF_BOTH = st.lists(st.tuples(PATH, WEIGHT, WEIGHT), max_size=12)


@given(STACKS_OF_BOTH, st.sampled_from(SIDES), st.randoms())
def test_the_order_of_the_stacks_does_not_matter(stacks, widths, shuffler):
    """Broken: the same stacks in another order give another picture."""
    shuffled = list(stacks)
    shuffler.shuffle(shuffled)
    assert diff_flame_graph(shuffled, widths=widths, title="t") == diff_flame_graph(
        stacks, widths=widths, title="t"
    )


@given(STACKS_OF_BOTH, st.sampled_from(SIDES))
def test_nothing_of_either_side_is_lost(stacks, widths):
    """Broken: the root lacks a side's total, its children do not fill it, or stacks of one side go
    unmentioned.
    """
    weights = {
        side: {at: stack[1 + place] for at, stack in enumerate(stacks)} for place, side in enumerate(SIDES)
    }
    svg = diff_flame_graph(stacks, widths=widths, title="t")
    if not any(weights[widths].values()):
        assert f"No samples in {widths}: nothing to draw." in texts_of(svg)
        return
    root, *rest = groups_of(svg)
    for side in SIDES:
        total = float(re.search(rf"{side} ([0-9.]+)", root.find(f"{SVG}title").text)[1])
        assert total == pytest.approx(math.fsum(weights[side].values()), abs=0.001)
    above_root = str(int(root.find(f"{SVG}rect").get("y")) - ROW_PX)
    rects = [group.find(f"{SVG}rect") for group in rest]
    first_row = [float(rect.get("width")) for rect in rects if rect.get("y") == above_root]
    assert sum(first_row) == pytest.approx(INNER_PX, abs=0.1)
    (other,) = set(SIDES) - {widths}
    reached = {
        labels[:depth]
        for at, (labels, *_) in enumerate(stacks)
        if weights[widths][at]
        for depth in range(1, len(labels) + 1)
    }
    missing = math.fsum(weights[other][at] for at, (labels, *_) in enumerate(stacks) if labels not in reached)
    assert f"not shown, only in {other}: {missing:.3f} ms" in " ".join(texts_of(svg))


@given(STACKS_OF_BOTH, LABEL)
def test_any_text_gives_well_formed_xml(stacks, text):
    """Broken: a label makes the picture unreadable."""
    for widths in SIDES:
        svg = diff_flame_graph(stacks, widths=widths, title=text, subtitle=text, unit=text)
        assert ElementTree.fromstring(svg).find(f"{SVG}title").text in (showable(text), None)


def test_the_script_cannot_be_left_through_a_label():
    """Broken: a label ends the script and starts another."""
    evil = "]]></script><script>alert(1)</script>"
    svg = diff_flame_graph([((evil,), 1.0, 2.0)], widths="test", title=evil, subtitle=evil, unit=evil)
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}script"))) == 1


def test_deep_stacks_need_no_recursion():
    """Broken: a deep stack ends the report with a RecursionError."""
    deep = tuple(f"f{depth}" for depth in range(3000))
    svg = diff_flame_graph([(deep, 1.0, 1.0), (deep[:2000], 0.0, 0.5)], widths="test", title="t")
    assert len(groups_of(svg)) == 3001


def test_the_same_stacks_on_both_sides_have_no_colour():
    """Broken: two runs of one server look changed."""
    choose = random.Random(0)
    stacks = [(tuple(f"f{choose.randint(0, 3)}" for _ in range(6)), 1.0, 1.0) for _ in range(200)]
    assert {fill for _, _, fill in drawn(stacks)[0].values()} == {_COLOURS[len(_COLOURS) // 2]}
