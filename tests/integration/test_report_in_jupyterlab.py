"""report.ipynb in JupyterLab, as it comes in a mail (not trusted) and as who ran it sees it (trusted)."""

import shutil

import pytest

from tests.support.browser import visit
from tests.support.jupyterlab import jupyterlab, trust

CELLS_S = 60
FIGURES = 6


@pytest.fixture(scope="module")
def lab(synthetic_report, tmp_path_factory):
    """JupyterLab's address; it has ``mailed.ipynb`` and ``own.ipynb``, of which only the second is trusted."""
    folder, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("jupyter")
    for name in ("mailed", "own"):
        shutil.copy(synthetic_report.with_suffix(".ipynb"), folder / f"{name}.ipynb")
    # Signatures are of the content: both are alike, so one of them is given another title.
    own = folder / "own.ipynb"
    own.write_text(own.read_text().replace('"nbformat_minor"', '"x_own": 1, "nbformat_minor"', 1))
    trust(own, home)
    with jupyterlab(folder, home) as url:
        yield url


@pytest.fixture(
    scope="module", params=[("mailed", 1280), ("own", 768)], ids=lambda pair: f"{pair[0]}-{pair[1]}"
)
def opened(lab, request):
    """(the page, whether it is trusted), when its last cell is there."""
    name, width = request.param
    with visit(f"{lab}/lab/tree/{name}.ipynb", width) as visited:
        visited.page.wait_for_selector("text=run folder:", timeout=CELLS_S * 1000, state="attached")
        yield visited, name == "own"


def test_every_figure_and_table_is_there(opened):
    """Broken: a viewer of the notebook sees empty cells where the HTML page has figures."""
    page = opened[0].page
    assert page.locator(".jp-OutputArea-output h1").first.is_visible()
    images = page.evaluate(
        "[...document.querySelectorAll('.jp-OutputArea-output img')].map(i => [i.complete, i.naturalWidth])"
    )
    assert len(images) >= FIGURES
    assert all(complete and width > 100 for complete, width in images), images
    first = page.locator(".jp-OutputArea-output table").first
    assert first.is_visible()
    assert "mean latency, with py-spy" in first.inner_text()


def test_nothing_fails_and_nothing_is_loaded_from_elsewhere(opened, lab):
    """Broken: a report in JupyterLab asks another host for a script, or shows an error."""
    visited = opened[0]
    elsewhere = [
        url
        for url in visited.requests
        if not url.startswith((lab, lab.replace("http", "ws"), "data:", "blob:"))
    ]
    assert [url for url in elsewhere if not url.startswith("about:")] == []
    assert [text for text in visited.console if "report" in text or "sp-" in text] == []


def test_flame_graph_is_a_picture_or_one_that_zooms(opened):
    """Broken: JupyterLab shows neither the picture nor the graph to zoom in."""
    visited, trusted = opened
    page = visited.page
    if not trusted:
        assert page.locator(".sp-flame iframe").count() == 0
        heading = page.locator(".jp-OutputArea-output h2", has_text="Flame graph")
        cell = page.locator(".jp-Cell", has=heading)
        assert cell.locator("img").first.is_visible()
        return
    frame = page.frame_locator(".sp-flame iframe")
    frame.locator("#search").fill("calc_priority")
    assert "found in" in frame.locator("[data-view]:not([hidden]) .fg-found").text_content()
