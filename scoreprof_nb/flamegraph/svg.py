"""A flame graph as one self-contained SVG: root at the bottom, coloured by component.

The picture is complete without its script, so it can be shown as an image. In a browser, a click zooms and a
search marks frames.
"""

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import accumulate
from operator import attrgetter
from xml.sax.saxutils import escape, quoteattr

from scoreprof_nb.components import palette
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.run_folder.plain_text import plain_text

_ROOT = "all"
MARGIN_PX = 10
ROW_PX = 17
_CHARACTER_PX = 6.7  # of the 11 px monospace font
_MIN_WIDTH_PX = 0.1  # narrower frames are not drawn; a note says how much they hold
_BORDERED_PX = 3  # wide enough for a white border that tells it from its neighbours
_MIN_CHARACTERS = 3  # of a label; fewer are not readable
_NOT_ON_A_LINE = re.compile("[\x00-\x1f\x85\u2028\u2029\ufffe\uffff]")  # the last two: not in XML
_FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
_TITLE_FONT = "DejaVu Sans, Helvetica, Arial, sans-serif"
_HATCH = (
    '<defs><pattern id="fg-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#FFFFFF"/>'
    '<rect width="1" height="6" fill="#999999"/></pattern></defs>'
)
_FILES = files(__package__)
_SCRIPT = (_FILES / "flamegraph.js").read_text(encoding="utf-8")
_STYLE = (_FILES / "flamegraph.css").read_text(encoding="utf-8")


@dataclass(slots=True)
class FrameNode:
    """A frame of the merged stacks; its weight by component includes that of its children."""

    label: str
    depth: int
    parent: int
    children: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        return sum(self.weights.values())

    def main_component(self, catalog: Catalog) -> str:
        """The component with the largest weight; of equals, the first in the catalog's order."""
        return max(self.weights, key=lambda name: (self.weights[name], -catalog.index[name]))


@dataclass(frozen=True, slots=True)
class Box:
    """A frame that is wide enough to draw; ``x`` and ``width`` in pixels."""

    frame: FrameNode
    x: float
    width: float


def flame_graph(
    stacks: Iterable[tuple[Sequence[str], str, float]],
    *,
    title: str,
    subtitle: str = "",
    unit: str = "ms per request",
    width: int = 1200,
    catalog: Catalog = CATALOG,
) -> str:
    """The text of an SVG with the flame graph of ``stacks``.

    Each stack is (labels of its frames, root first; component of the stack; weight in ``unit``).
    Stacks of weight 0 are ignored. The output does not depend on the order of the stacks. ``width`` is in
    pixels. Raises ValueError for a weight that is negative or not finite.
    """
    unit = showable(unit)
    frames = merge_stacks(stacks)
    total = frames[0].weight
    if not total:
        return document(
            title, subtitle, width, 90, ['<text x="10" y="70">No samples: nothing to draw.</text>']
        )
    boxes, hidden = lay_out(frames, width - 2 * MARGIN_PX)
    notes = [f"total {total:.3f} {unit}; width of a frame = its share of the total"]
    if hidden:
        notes.append(
            f"not drawn, narrower than {_MIN_WIDTH_PX} px: {hidden:.3g} {unit} ({100 * hidden / total:.2g} %)"
        )
    weights = frames[0].weights
    legend, legend_rows = draw_legend(
        (
            (_fill(name, catalog), f"{name} {100 * weights[name] / total:.1f} %")
            for name in sorted(weights, key=catalog.index.__getitem__)
        ),
        width,
    )
    legend_y = 46 + 18 * len(notes)
    top = legend_y + 18 * legend_rows + 14
    depth = max(box.frame.depth for box in boxes)
    height = top + (depth + 1) * ROW_PX + MARGIN_PX
    body = [
        *(f'<text x="10" y="{60 + 18 * row}">{escape(note)}</text>' for row, note in enumerate(notes)),
        f'<g class="fg-legend" transform="translate(0 {legend_y})">',
        *legend,
        "</g>",
        '<g class="fg-frames">',
        *(_draw(box, total, unit, height, catalog) for box in boxes),
        "</g>",
    ]
    return document(title, subtitle, width, height, body)


def merge_stacks(stacks: Iterable[tuple[Sequence[str], str, float]]) -> list[FrameNode]:
    """The tree of frames, the root first and each parent before its children."""
    frames = [FrameNode(_ROOT, 0, -1)]
    for labels, component, weight in sorted((tuple(labels), name, weight) for labels, name, weight in stacks):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight {weight} of a stack of {component}: not a known amount")
        if weight == 0:
            continue
        at = 0
        for label in labels:
            child = frames[at].children.get(label)
            if child is None:
                child = len(frames)
                frames[at].children[label] = child
                frames.append(FrameNode(label, frames[at].depth + 1, at))
            at = child
        weights = frames[at].weights
        weights[component] = weights.get(component, 0.0) + weight
    for frame in reversed(frames[1:]):
        upwards = frames[frame.parent].weights
        for component, weight in frame.weights.items():
            upwards[component] = upwards.get(component, 0.0) + weight
    return frames


def lay_out(
    frames: Sequence[FrameNode], width_px: float, weight: Callable[[FrameNode], float] = attrgetter("weight")
) -> tuple[list[Box], float]:
    """The boxes that are wide enough to draw, and the weight of the frames that are not.

    ``weight``: gives the weight that a frame's width shows; the root's must be above 0.
    """
    scale = width_px / weight(frames[0])
    boxes, hidden = [], 0.0
    pending = [(0, float(MARGIN_PX))]
    while pending:
        index, x = pending.pop()
        frame = frames[index]
        box_px = weight(frame) * scale
        if box_px < _MIN_WIDTH_PX:
            hidden += weight(frame)
            continue
        boxes.append(Box(frame, x, box_px))
        for label in sorted(frame.children):
            child = frame.children[label]
            pending.append((child, x))
            x += weight(frames[child]) * scale
    return boxes, hidden


def _draw(box: Box, total: float, unit: str, height: int, catalog: Catalog) -> str:
    frame, label = box.frame, showable(box.frame.label)
    component = frame.main_component(catalog)
    about = f"{label}\n{frame.weight:.3f} {unit}, {100 * frame.weight / total:.2f} %, mostly {component}"
    text_colour = palette.text_colour(catalog[component].colour)
    return draw_box(box, about, _fill(component, catalog), text_colour, height, component)


def draw_box(box: Box, about: str, fill: str, text_colour: str, height: int, component: str = "") -> str:
    """A frame as SVG, with ``about`` as its tooltip. ``height``: of the picture, in pixels; ``component``:
    the frame's, by which a page can mark it.

    The first line of ``about`` is the text in the frame, here and when the script zooms.
    """
    y = height - MARGIN_PX - (box.frame.depth + 1) * ROW_PX
    clipped = clip(about.partition("\n")[0], box.width - 4)
    text = f'<text x="{box.x + 3:.3f}" y="{y + 12}">{escape(clipped)}</text>' if clipped else ""
    marked = f" data-component={_quoted(component)}" if component else ""
    border = ' stroke="#FFFFFF" stroke-width="0.6"' if box.width >= _BORDERED_PX else ""
    return (
        f'<g fill="{text_colour}"{marked}><title>{escape(about)}</title>'
        f'<rect x="{box.x:.3f}" y="{y}" width="{box.width:.3f}" height="{ROW_PX - 1}" '
        f'fill="{fill}"{border}/>{text}</g>'
    )


def _fill(component: str, catalog: Catalog) -> str:
    return "url(#fg-hatch)" if palette.hatch(component) else catalog[component].colour


@cache
def _quoted(component: str) -> str:
    return quoteattr(component)


def showable(text: str) -> str:
    """The text as plain text in one line, with a replacement character for what XML cannot hold."""
    return _NOT_ON_A_LINE.sub("\N{REPLACEMENT CHARACTER}", plain_text(text))


def clip(text: str, room_px: float) -> str:
    """The text, cut to the room by the width of a monospace character; empty if too little would be left."""
    if len(text) * _CHARACTER_PX <= room_px and text.isascii():
        return text
    room = int(min(room_px / _CHARACTER_PX, 2 * len(text)))
    if room < _MIN_CHARACTERS:
        return ""
    columns = list(accumulate(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text))
    if columns and columns[-1] > room:
        return text[: bisect_right(columns, room - 1)] + "…"
    return text


def draw_legend(entries: Iterable[tuple[str, str]], width: int) -> tuple[list[str], int]:
    """A swatch for each (fill, text), as many per row as fit, and the number of rows."""
    drawn, x, row = [], MARGIN_PX, 1
    for fill, text in entries:
        entry_px = math.ceil(18 + len(text) * _CHARACTER_PX + 14)
        if x + entry_px > width and x > MARGIN_PX:
            x, row = MARGIN_PX, row + 1
        y = 18 * row
        drawn.append(
            f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{fill}" stroke="#999999" '
            f'stroke-width="0.5"/><text x="{x + 18}" y="{y}">{escape(text)}</text>'
        )
        x += entry_px
    return drawn, row


def document(title: str, subtitle: str, width: int, height: int, body: Iterable[str]) -> str:
    """The text of the whole SVG: title, subtitle, ``body`` (elements) and script; sizes in pixels."""
    # Hidden until the script shows them: without the script they would do nothing.
    controls = (
        f'<g class="fg-controls" visibility="hidden" text-anchor="end" fill="#0072B2">'
        f'<text class="fg-reset" x="{width - 80}" y="22">reset zoom</text>'
        f'<text class="fg-search" x="{width - MARGIN_PX}" y="22">search</text>'
        f'<text class="fg-found" x="{width - MARGIN_PX}" y="42" fill="#000000"></text></g>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="fg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{_FONT}" font-size="11" '
            f'data-character-px="{_CHARACTER_PX}" data-min-characters="{_MIN_CHARACTERS}">',
            f"<title>{escape(showable(title))}</title>",
            f"<style>{_STYLE}</style>",
            _HATCH,
            f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>',
            f'<text x="10" y="24" font-size="16" font-weight="bold" font-family="{_TITLE_FONT}">'
            f"{escape(clip(showable(title), (width - 180) * _CHARACTER_PX / 9.5))}</text>",
            f'<text x="10" y="42" font-size="12" font-family="{_TITLE_FONT}" fill="#444444">'
            f"{escape(clip(showable(subtitle), width - 180))}</text>",
            *body,
            controls,
            f"<script><![CDATA[{_SCRIPT}]]></script>",
            "</svg>\n",
        ]
    )
