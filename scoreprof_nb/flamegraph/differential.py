"""A differential flame graph: widths by one side, colours by the change from control to test.

Widths by one side hide what only the other side has. So there are two graphs, one per side, and each states
how much it cannot show. Weights are milliseconds per request, so that runs of different length have the same
scale.
"""

from collections.abc import Iterable, Sequence
from typing import Literal
from xml.sax.saxutils import escape

from scoreprof_nb.flamegraph.svg import (
    MARGIN_PX,
    ROW_PX,
    FrameNode,
    document,
    draw_box,
    draw_legend,
    lay_out,
    merge_stacks,
    showable,
)

Side = Literal["control", "test"]
# From less in test (blue) to more (orange): steps of the Okabe-Ito blue and vermilion, which colour-blind
# readers can tell apart. In greyscale nobody can, so the label also starts with a sign.
_COLOURS = ("#0072B2", "#5FA8D3", "#BFDDF0", "#F2F2F2", "#FBD9BF", "#F0A06A", "#D55E00")
_BOUNDS = (1.1, 1.4, 2.0)  # of the larger side / the smaller side
_SAME = len(_BOUNDS)  # index of the middle of _COLOURS
_SMALLEST = 1e-9  # in place of 0, so that a ratio to it is beyond every bound
_UNCHANGED_SHARE = 0.002  # a difference of less than this share of the larger total has no colour


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

    ``widths``: the side whose weights the widths show. The output does not depend on the order of the stacks.
    ``width`` is in pixels. Raises ValueError for a weight that is negative or not finite.
    """
    unit = showable(unit)
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
        "colour: test / control of the frame; before the label: + more in test, - less in test",
    ]
    legend, legend_rows = draw_legend(_legend(), width)
    legend_y = 46 + 18 * len(notes)
    top = legend_y + 18 * legend_rows + 14
    height = top + (max(box.frame.depth for box in boxes) + 1) * ROW_PX + MARGIN_PX
    largest = max(totals.values())
    body = [
        *(f'<text x="10" y="{60 + 18 * row}">{escape(note)}</text>' for row, note in enumerate(notes)),
        f'<g class="fg-legend" transform="translate(0 {legend_y})">',
        *legend,
        "</g>",
        '<g class="fg-frames">',
    ]
    for box in boxes:
        step = _step(_of(box.frame, "control"), _of(box.frame, "test"), largest)
        text_colour = "#FFFFFF" if step in (0, len(_COLOURS) - 1) else "#000000"
        body.append(draw_box(box, _about(box.frame, step, unit), _COLOURS[step], text_colour, height))
    return document(title, subtitle, width, height, [*body, "</g>"])


def _of(frame: FrameNode, side: str) -> float:
    return frame.weights.get(side, 0.0)


def _step(control: float, test: float, total: float) -> int:
    """Index into _COLOURS: by the ratio, unless the difference is too small to matter."""
    if abs(test - control) < _UNCHANGED_SHARE * total:
        return _SAME
    ratio = max(test, _SMALLEST) / max(control, _SMALLEST)
    steps = sum(max(ratio, 1 / ratio) >= bound for bound in _BOUNDS)
    return _SAME + steps if ratio > 1 else _SAME - steps


def _about(frame: FrameNode, step: int, unit: str) -> str:
    control, test = _of(frame, "control"), _of(frame, "test")
    if control and test:
        change = f"{test / max(control, _SMALLEST):.2f} times"
    else:
        change = "new in test" if test else "absent from test"
    sign = "" if step == _SAME else "+ " if step > _SAME else "- "
    return (
        f"{sign}{showable(frame.label)}\ncontrol {control:.3f}, test {test:.3f} {unit}: "
        f"{test - control:+.3f}, {change}"
    )


def _legend() -> list[tuple[str, str]]:
    """Each colour with the ratios that it represents."""
    texts = (
        *(f"≤ {1 / bound:.2f}" for bound in reversed(_BOUNDS)),
        f"in between, or a difference below {100 * _UNCHANGED_SHARE:g} % of the total",
        *(f"≥ {bound:.2f}" for bound in _BOUNDS),
    )
    return list(zip(_COLOURS, texts, strict=True))
