"""Several flame graphs on one self-contained page: a reader switches between them, zooms, searches, and marks
a component. It is meant for an iframe's ``srcdoc``, so that its styles and scripts stay apart from the
report's.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from scoreprof_nb.flamegraph.svg import showable

_HEIGHT = re.compile(r'<svg [^>]*?height="(\d+)"')
_CONTROLS_PX, _MOST_PX = 50, 900
_PAGE = (files(__package__) / "page.html").read_text(encoding="utf-8")


@dataclass(frozen=True)
class View:
    """``svg``: by ``flame_graph``; ``threads``: the labels of the frames above the root; ``components``:
    those that occur."""

    name: str
    svg: str
    threads: Sequence[str]
    components: Sequence[str]


def flame_page(views: Sequence[View]) -> str:
    """The text of the page. The first view is shown first."""
    return _PAGE.replace("@VIEWS@", "\n".join(map(_view, views)))


def flame_frame(views: Sequence[View]) -> str:
    """The page within an iframe, as HTML. It is as high as the highest graph, within bounds."""
    heights = [int(match[1]) for view in views if (match := _HEIGHT.search(view.svg))]
    height_px = min(max(heights, default=0) + _CONTROLS_PX, _MOST_PX)
    page = escape(flame_page(views))
    return (
        f'<div class="sp-flame"><iframe title="flame graph" style="height: {height_px}px" '
        f'srcdoc="{page}"></iframe></div>'
    )


def _view(view: View) -> str:
    data: Mapping[str, str] = {
        "view": showable(view.name),
        "threads": json.dumps(list(map(showable, view.threads))),  # as in the picture
        "components": json.dumps(list(view.components)),
    }
    attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return f"<div {attributes} hidden>{view.svg}</div>"
