"""Several flame graphs on a page: complete, self-contained, and safe within an attribute."""

from html.parser import HTMLParser

from scoreprof_nb.flamegraph.page import View, flame_frame, flame_page
from scoreprof_nb.flamegraph.svg import flame_graph

HOSTILE = 'a"><script>alert(1)</script>'


def view(name, label="work (a.py)"):
    svg = flame_graph([(["http / main", label], "http", 1.0)], title=name)
    return View(name, svg, ["http / main"], ["http"])


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(html):
    parser = Elements()
    parser.feed(html)
    return parser.found


def test_every_view_is_on_the_page():
    page = flame_page([view("all"), view("large")])
    assert [attrs["data-view"] for _, attrs in elements(page) if "data-view" in attrs] == ["all", "large"]


def test_nothing_is_loaded_from_elsewhere():
    assert not [attrs for _, attrs in elements(flame_page([view("all")])) if {"src", "href"} & set(attrs)]


def test_names_from_outside_end_no_attribute():
    """Broken: a label of a run becomes a script of the report."""
    safe, hostile = (flame_page([view(name, name)]) for name in ("x", HOSTILE))
    assert [tag for tag, _ in elements(safe)] == [tag for tag, _ in elements(hostile)]


def test_frame_holds_the_whole_page():
    views = [view("all")]
    (frame,) = [attrs for tag, attrs in elements(flame_frame(views)) if tag == "iframe"]
    assert frame["srcdoc"] == flame_page(views)
