"""The comparison's report.html in a browser: the answer first, every link leads somewhere, offline."""

import pytest

from tests.support.browser import visit
from tests.support.executed_report import executed_comparison


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with visit(executed_comparison(tmp_path_factory.mktemp("comparison")), 1280) as visited:
        yield visited


def test_the_answer_is_first_and_nothing_fails(opened):
    """Broken: the page asks a question where it has the answer, or shows a failed gate as a red error."""
    page = opened.page
    assert page.locator("h1").all_inner_texts() == ["main against main: insufficient"]
    assert page.locator("#answer").is_visible()
    assert "The gate fails." in page.locator("body").inner_text()
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    assert opened.console == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:", "about:"))] == []


def test_every_link_of_the_contents_leads_to_a_section(opened):
    """Broken: a section of the contents is not on the page."""
    page = opened.page
    links = page.locator("nav a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
    assert len(links) >= 6
    for link in links:
        assert page.locator(f"h2{link}").is_visible(), link


def test_figures_are_drawn_within_the_page_and_texts_have_enough_contrast(opened):
    from axe_playwright_python.sync_playwright import Axe

    page = opened.page
    images = page.evaluate(
        "[...document.images].map(i => [i.complete && i.naturalWidth > 100, i.getBoundingClientRect().right])"
    )
    assert len(images) >= 3
    assert all(complete and right <= 1280 for complete, right in images), images
    violations = Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
    assert violations == [], [node["html"] for rule in violations for node in rule["nodes"]][:5]
