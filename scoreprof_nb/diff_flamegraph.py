"""A differential flame graph: the widths of one side, the colours of the change from control to test.

A width that follows one side hides what only the other has, so there are two graphs, one for each
side, and each says how much it cannot show. Stacks are in milliseconds per request, so two runs of
different length are on one scale.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal
from xml.sax.saxutils import escape

from scoreprof_nb.flamegraph import (
    MARGIN_PX,
    ROW_PX,
    FrameNode,
    clip,
    document,
    draw_box,
    lay_out,
    merge_stacks,
    showable,
)

Side = Literal["control", "test"]
# From less (blue) over the same to more (orange): steps of the Okabe-Ito blue and vermilion, told
# apart by the colour-blind too. Beyond: at least twofold.
_COLOURS = ("#0072B2", "#5FA8D3", "#BFDDF0", "#F2F2F2", "#FBD9BF", "#F0A06A", "#D55E00")
_WORDS = ("half or less", "a third less", "less", "the same", "more", "a half more", "double or more")
_BOUNDS = (math.log2(1.1), math.log2(1.4), 1.0)  # of |log2(test / control)|
_SMALLEST = 1e-9  # stands for nothing: a ratio to it is beyond every bound
_UNCHANGED_SHARE = 0.002  # a difference of less than this share of the total has no colour


def diff_flame_graph(
    stacks: Iterable[tuple[Sequence[str], float, float]],
    *,
    widths: Side,
    title: str,
    subtitle: str = "",
    unit: str = "ms per request",
    width: int = 1200,
) -> str:
    """The text of an SVG. Each stack is (labels of its frames, root first; control, test in ``unit``).

    ``widths``: the side whose weight the width of a frame is. The output does not depend on the order
    of the stacks; a negative or unknown weight is a ValueError. ``width`` is in pixels.
    """
    both = [
        (labels, side, weight)
        for labels, control, test in stacks
        for side, weight in (("control", control), ("test", test))
    ]
    frames = merge_stacks(both)
    other: Side = "test" if widths == "control" else "control"
    totals = {side: _of(frames[0], side) for side in ("control", "test")}
    if not totals[widths]:
        missing = f'<text x="10" y="70">No samples in {widths}: nothing to draw.</text>'
        return document(title, subtitle, width, 90, [missing])
    boxes, hidden = lay_out(frames, width - 2 * MARGIN_PX, lambda frame: _of(frame, widths))
    only_other = sum(
        _of(frame, other)
        for frame in frames[1:]
        if not _of(frame, widths) and _of(frames[frame.parent], widths)
    )
    notes = [
        f"control {totals['control']:.3f}, test {totals['test']:.3f} {unit}; widths: share of {widths}",
        f"not shown, only in {other}: {only_other:.3f} {unit}; too narrow to draw: {hidden:.3g} {unit}",
    ]
    legend_y = 46 + 18 * len(notes)
    top = legend_y + 18 + 14
    height = top + (max(box.frame.depth for box in boxes) + 1) * ROW_PX + MARGIN_PX
    largest = max(totals.values())
    body = [
        *(
            f'<text x="10" y="{60 + 18 * row}">{escape(showable(note))}</text>'
            for row, note in enumerate(notes)
        ),
        f'<g class="fg-legend" transform="translate(0 {legend_y})">',
        *_legend(),
        "</g>",
        '<g class="fg-frames">',
    ]
    for box in boxes:
        step = _step(_of(box.frame, "control"), _of(box.frame, "test"), largest)
        text_colour = "#FFFFFF" if step in (0, len(_COLOURS) - 1) else "#000000"
        body.append(draw_box(box, _about(box.frame, unit), _COLOURS[step], text_colour, height))
    return document(title, subtitle, width, height, [*body, "</g>"])


def _of(frame: FrameNode, side: str) -> float:
    return frame.weights.get(side, 0.0)


def _step(control: float, test: float, total: float) -> int:
    """The place in _COLOURS: by the ratio, unless the difference is too small to matter."""
    middle = len(_BOUNDS)
    if abs(test - control) < _UNCHANGED_SHARE * total:
        return middle
    ratio = math.log2(max(test, _SMALLEST)) - math.log2(max(control, _SMALLEST))
    steps = sum(abs(ratio) >= bound for bound in _BOUNDS)
    return middle + steps if ratio > 0 else middle - steps


def _about(frame: FrameNode, unit: str) -> str:
    control, test = _of(frame, "control"), _of(frame, "test")
    if control and test:
        change = f"{test / max(control, _SMALLEST):.2f} times"
    else:
        change = "new in test" if test else "vanished in test"
    return (
        f"{showable(frame.label)}\ncontrol {control:.3f}, test {test:.3f} {unit}: "
        f"{test - control:+.3f}, {change}"
    )


def _legend() -> list[str]:
    entries, x = [], MARGIN_PX
    for colour, word in zip(_COLOURS, _WORDS, strict=True):
        text = f"{word} in test" if word != "the same" else "the same, or less than 0.2 % of the total apart"
        entries.append(
            f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}" stroke="#999999"/>'
            f'<text x="{x + 18}" y="18">{escape(clip(text, 400))}</text>'
        )
        x += math.ceil(18 + len(text) * 6.7 + 12)
    return entries
