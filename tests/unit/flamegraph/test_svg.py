"""The flame graph: well-formed, complete by width, coloured by component, whatever the labels hold."""

import random
import time
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.flamegraph.svg import flame_graph

SVG = "{http://www.w3.org/2000/svg}"
INNER_PX = 1180  # of a graph of 1200 px, without its margins

STACKS = [
    (["main", "loop", "forward"], "device_wait", 60.0),
    (["main", "loop", "forward", "launch"], "dispatch", 20.0),
    (["main", "loop"], "batch", 15.0),
    (["serve"], "http", 5.0),
]


def frames_of(svg):
    """(label, what its hover text says, x, y, width, fill, written text) of every drawn frame."""
    groups = ElementTree.fromstring(svg).find(f"{SVG}g[@class='fg-frames']")
    drawn = []
    for group in groups:
        label, about = group.find(f"{SVG}title").text.split("\n")
        rect, text = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        x, y, width = (float(rect.get(name)) for name in ("x", "y", "width"))
        drawn.append((label, about, x, y, width, rect.get("fill"), "" if text is None else text.text))
    return drawn


def texts_of(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_frames_are_merged_by_path_and_wide_as_their_weight():
    """Broken: the same path is drawn twice, or its width is not its weight."""
    frames = frames_of(flame_graph(STACKS, title="t"))
    widths = {label: width for label, _, _, _, width, _, _ in frames}
    assert len(frames) == 6  # main, loop and forward once each, though three stacks hold them
    expected = {"all": 100, "main": 95, "loop": 95, "forward": 80, "launch": 20, "serve": 5}
    assert widths == {label: pytest.approx(weight / 100 * INNER_PX) for label, weight in expected.items()}


def test_root_is_at_the_bottom_and_children_lie_on_their_parent():
    """Broken: frames do not lie on the frame that called them."""
    place = {
        label: (x, y, width) for label, _, x, y, width, _, _ in frames_of(flame_graph(STACKS, title="t"))
    }
    assert place["all"][1] > place["main"][1] > place["loop"][1] > place["forward"][1]
    assert place["main"][0] < place["serve"][0], "siblings are sorted by label"
    assert place["serve"][0] + place["serve"][2] == pytest.approx(place["all"][0] + place["all"][2])


def test_a_frame_has_the_colour_of_the_component_with_most_of_its_weight():
    """Broken: a frame has the colour of a component that has little of its weight."""
    fills = {label: fill for label, _, _, _, _, fill, _ in frames_of(flame_graph(STACKS, title="t"))}
    assert fills["main"] == fills["forward"] == CATALOG["device_wait"].colour
    assert fills["launch"] == CATALOG["dispatch"].colour
    assert fills["serve"] == CATALOG["http"].colour


def test_unclassified_is_hatched():
    """Broken: unclassified frames cannot be distinguished from others."""
    svg = flame_graph([(["f"], "unclassified", 1)], title="t")
    assert frames_of(svg)[1][5] == "url(#fg-hatch)"
    assert ElementTree.fromstring(svg).find(f".//{SVG}pattern[@id='fg-hatch']") is not None


def test_hover_text_gives_weight_unit_and_share():
    """Broken: hovering over a frame does not show its weight, unit and share."""
    svg = flame_graph(STACKS, title="t", unit="CPU ms per request")
    about = {label: about for label, about, *_ in frames_of(svg)}
    assert about["launch"] == "20.000 CPU ms per request, 20.00 %, mostly dispatch"


def test_title_subtitle_total_and_legend_are_written():
    """Broken: the picture lacks its title, total or legend."""
    texts = texts_of(flame_graph(STACKS, title="Score <request>", subtitle="n = 120 & more"))
    assert "Score <request>" in texts
    assert "n = 120 & more" in texts
    assert any("total 100.000 ms per request" in text for text in texts)
    legend = [text for text in texts if text.endswith(" %")]
    assert legend == ["http 5.0 %", "batch 15.0 %", "dispatch 20.0 %", "device_wait 60.0 %"]


def test_text_is_clipped_to_its_frame():
    """Broken: a label runs over the neighbouring frame."""
    svg = flame_graph([(["long_name" * 9], "batch", 1.0), (["z"], "http", 9.0)], title="t")
    text = next(written for label, *_, written in frames_of(svg) if label.startswith("long"))
    assert text.startswith("long_name")
    assert text.endswith("…")
    assert len(text) * 6.7 <= INNER_PX / 10


def test_what_is_too_narrow_to_draw_is_said():
    """Broken: frames too narrow to draw vanish without a word."""
    svg = flame_graph([(["wide"], "batch", 100_000.0), (["thin", "child"], "http", 2.0)], title="t")
    assert [label for label, *_ in frames_of(svg)] == ["all", "wide"]
    assert any("not drawn" in text and "2 ms per request" in text for text in texts_of(svg))
    assert not any("not drawn" in text for text in texts_of(flame_graph(STACKS, title="t")))


@pytest.mark.parametrize("stacks", [[], [(["f"], "batch", 0.0)]])
def test_no_samples_are_said(stacks):
    """Broken: a graph without samples is an empty picture."""
    svg = flame_graph(stacks, title="Phase small")
    assert any("No samples" in text for text in texts_of(svg))
    assert "Phase small" in texts_of(svg)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_amount_is_refused(weight):
    """Broken: a weight that is not an amount is drawn."""
    with pytest.raises(ValueError, match="weight"):
        flame_graph([(["f"], "batch", weight)], title="t")


def test_a_stack_without_frames_counts_in_the_total():
    """Broken: a stack without frames is missing from the total."""
    frames = frames_of(flame_graph([([], "gc", 1.0), (["f"], "batch", 3.0)], title="t"))
    assert [(label, width) for label, _, _, _, width, _, _ in frames] == [
        ("all", INNER_PX),
        ("f", pytest.approx(0.75 * INNER_PX)),
    ]


def test_the_order_of_the_stacks_does_not_matter():
    """Broken: the same stacks in another order give another picture."""
    shuffled = STACKS * 7
    random.Random(1).shuffle(shuffled)
    assert flame_graph(shuffled, title="t") == flame_graph(STACKS * 7, title="t")


LABELS = st.lists(st.text(st.characters(), max_size=12), min_size=1, max_size=4)


@given(st.lists(st.tuples(LABELS, st.sampled_from(CATALOG.names), st.floats(1, 2)), min_size=1, max_size=6))
def test_any_text_in_labels_gives_well_formed_xml_with_nothing_lost(stacks):
    """Broken: a label makes the picture unreadable, or is shown in part."""
    svg = flame_graph(stacks, title=stacks[0][0][0], subtitle=stacks[0][0][-1])
    frames = frames_of(svg)
    assert svg.isprintable() or all(
        letter.isprintable() or letter.isspace() for letter in svg if letter < "\x7f"
    )
    first_row = [width for _, _, _, y, width, _, _ in frames if y == frames[0][3] - 17]
    assert sum(first_row) == pytest.approx(frames[0][4], abs=0.01)
    for labels, _, _ in stacks:
        if all(letter.isascii() and letter.isprintable() for letter in labels[0]):
            assert labels[0] in [label for label, *_ in frames]


def test_control_characters_are_replaced():
    """Broken: a control character in a label makes the picture unreadable."""
    svg = flame_graph([(["a\nb\x00\x1b[31mc\ud800\u202e\u200f"], "batch", 1.0)], title="t")
    assert frames_of(svg)[1][0] == "a�b�c���"


def test_the_script_cannot_be_left_through_a_label():
    """Broken: a label ends the script and starts another."""
    evil = "]]></script><script>alert(1)</script>"
    svg = flame_graph([([evil], "batch", 1.0)], title=evil, subtitle=evil, unit=evil)
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}script"))) == 1


def test_deep_stacks_need_no_recursion():
    """Broken: a deep stack ends the report with a RecursionError."""
    deep = [f"f{depth}" for depth in range(3000)]
    frames = frames_of(flame_graph([(deep, "batch", 1.0), (deep[:2000], "gc", 0.5)], title="t"))
    assert len(frames) == 3001


def test_cost_of_drawing_grows_with_the_stacks_and_no_faster():
    """Broken: the report of a long run hangs at its flame graph."""
    choose = random.Random(0)
    stacks = [([f"f{choose.randint(0, 2)}" for _ in range(12)], "dispatch", 1.0) for _ in range(10_000)]

    def once_s(number):
        start_s = time.process_time()
        flame_graph(stacks[:number], title="t")
        return time.process_time() - start_s

    def cpu_s(number):  # the least of some: what else runs on the machine only adds to it
        return min(once_s(number) for _ in range(3))

    assert cpu_s(10_000) < 10 * cpu_s(1_000)
    svg = flame_graph(stacks, title="t")
    assert frames_of(svg)[0][4] == pytest.approx(INNER_PX)
