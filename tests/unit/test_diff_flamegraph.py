"""The differential flame graph: widths of one side, colours of the change, and what it cannot show."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.diff_flamegraph import _COLOURS, diff_flame_graph

SVG = "{http://www.w3.org/2000/svg}"
STACKS = [
    (("http", "serve", "tokenize"), 4.0, 8.0),
    (("http", "serve", "old"), 2.0, 0.0),
    (("http", "serve", "new"), 0.0, 3.0),
    (("http", "same"), 10.0, 10.0),
]


def drawn(stacks=STACKS, widths="test", **how):
    """(label: (tooltip, width px, colour)), and the whole text."""
    text = diff_flame_graph(stacks, widths=widths, title="a & b", **how)
    root = ElementTree.fromstring(text)
    frames = {}
    for g in root.iter(f"{SVG}g"):
        rect, title = g.find(f"{SVG}rect"), g.find(f"{SVG}title")
        if rect is not None and title is not None:
            label, _, about = title.text.partition("\n")
            frames[label] = (about, float(rect.get("width")), rect.get("fill"))
    return frames, text


def test_widths_are_those_of_the_side_that_is_asked_for():
    for widths, tokenize, total in (("test", 8.0, 21.0), ("control", 4.0, 16.0)):
        frames, _ = drawn(widths=widths)
        assert frames["tokenize"][1] == pytest.approx(tokenize / total * 1180, abs=0.01)


def test_what_only_the_other_side_has_is_not_drawn_and_said():
    """A reader of one graph must know that there is something in the other."""
    frames, text = drawn(widths="test")
    assert "old" not in frames
    assert "new" in frames
    assert "only in control: 2.000" in text
    frames, text = drawn(widths="control")
    assert "old" in frames
    assert "only in test: 3.000" in text


def test_colour_says_how_it_changed():
    frames, _ = drawn()
    assert frames["tokenize"][2] == frames["new"][2] == _COLOURS[-1]
    assert frames["same"][2] == _COLOURS[3]
    assert drawn(widths="control")[0]["old"][2] == _COLOURS[0]


def test_a_large_ratio_of_next_to_nothing_has_no_colour():
    frames, _ = drawn([(("a", "tiny"), 0.01, 0.03), (("a", "rest"), 20.0, 20.0)])
    assert frames["tiny"][2] == _COLOURS[3]


def test_tooltip_has_both_sides_the_difference_and_the_ratio():
    frames, _ = drawn()
    assert frames["tokenize"][0] == "control 4.000, test 8.000 ms per request: +4.000, 2.00 times"
    assert frames["new"][0].endswith("+3.000, new in test")
    assert drawn(widths="control")[0]["old"][0].endswith("-2.000, vanished in test")


@pytest.mark.parametrize("widths", ["control", "test"])
def test_nothing_to_draw_is_said(widths):
    assert f"No samples in {widths}" in drawn([], widths)[1]
    assert "No samples in test" in drawn([(("a",), 1.0, 0.0)], "test")[1]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_unknown_weight_is_an_error(weight):
    with pytest.raises(ValueError, match="not a known amount"):
        drawn([(("a",), 1.0, weight)])


@given(
    st.lists(
        st.tuples(
            st.lists(st.text(max_size=8), min_size=1, max_size=4).map(tuple),
            st.floats(0, 100),
            st.floats(0, 100),
        ),
        max_size=12,
    ),
    st.randoms(),
)
def test_any_labels_make_a_whole_picture_that_does_not_depend_on_their_order(stacks, random):
    shuffled = list(stacks)
    random.shuffle(shuffled)
    whole = diff_flame_graph(stacks, widths="test", title="t")
    ElementTree.fromstring(whole)
    if len({labels for labels, *_ in stacks}) == len(stacks):
        assert diff_flame_graph(shuffled, widths="test", title="t") == whole
