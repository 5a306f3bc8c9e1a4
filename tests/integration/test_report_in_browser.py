"""report.html in a browser: complete, offline, and its tables and flame graph work."""

import re

import pytest

from tests.support.browser import visit
from tests.support.executed_report import LABEL

WIDTHS = (1280, 768)
ANCHORS = ("findings", "latency", "request-path", "flame-graph", "hot-functions", "cpu", "threads", "quality")


@pytest.fixture(scope="module", params=WIDTHS)
def opened(synthetic_report, request):
    """The report, open in a window of this width."""
    with visit(synthetic_report, request.param) as visited:
        yield visited


def flame_frame(page):
    return page.frame_locator(".sp-flame iframe")


def test_nothing_fails_and_nothing_is_loaded_from_elsewhere(opened):
    """Broken: a report in a mail asks another host for a script, or shows an error."""
    assert opened.console == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:", "about:"))] == []


def test_title_has_the_label_and_every_section_is_there(opened):
    page = opened.page
    assert LABEL in page.title()
    assert page.locator("#answer").inner_text()
    for anchor in ANCHORS:
        assert page.locator(f"h2#{anchor}").is_visible(), anchor
        assert page.locator(f'nav a[href="#{anchor}"]').count() == 1, anchor


def test_every_figure_is_drawn_and_no_section_is_squeezed(opened):
    """Broken: a tag without its end puts the sections side by side, or a figure leaves the page."""
    page = opened.page
    images = page.evaluate(
        "[...document.images].map(i => [i.complete && i.naturalWidth > 100, i.getBoundingClientRect().right])"
    )
    width = page.viewport_size["width"]
    assert len(images) >= 6
    assert all(complete and right <= width for complete, right in images), images
    headings = page.evaluate("[...document.querySelectorAll('h2')].map(h => h.getBoundingClientRect().width)")
    assert min(headings) > 0.6 * width


def test_code_is_hidden_and_one_click_away(opened):
    page = opened.page
    code = page.locator("text=sections.show_head(report)").first
    assert not code.is_visible()
    page.get_by_role("button", name="show code").click()
    assert code.is_visible()
    page.get_by_role("button", name="show code").click()
    assert not code.is_visible()


def test_a_table_sorts_by_its_numbers_and_keeps_its_sums_last(opened):
    """Broken: 100 comes before 20, or the total is sorted into the middle."""
    page = opened.page
    table = page.locator("table.sp-table").first
    table.locator("th").nth(1).click()
    page.wait_for_timeout(100)
    cells = table.locator("tbody tr td:nth-child(2)").all_inner_texts()
    numbers = [float(re.match(r"[\d.]+", cell.replace(",", ""))[0]) for cell in cells if cell != "none"]
    assert len(numbers) > 2
    assert numbers == sorted(numbers, reverse=True)
    assert "without py-spy" in table.locator("tfoot tr").last.inner_text()


def test_a_long_table_filters(opened):
    page = opened.page
    fold = page.locator("details.sp-fold", has=page.locator(".sp-filter-box")).first
    fold.locator("summary").first.click()
    rows = fold.locator("tbody tr")
    before = rows.count()
    words = rows.nth(before - 1).locator("td").first.inner_text()
    fold.locator(".sp-filter-box").fill("no such text")
    assert fold.locator("tbody tr:visible").count() == 0
    fold.locator(".sp-filter-box").fill(words)
    assert 0 < fold.locator("tbody tr:visible").count() <= before


def test_flame_graph_zooms_and_finds_a_function_and_changes_the_phase(opened):
    """Broken: the picture is there, but a reader cannot look into it."""
    frame = flame_frame(opened.page)
    visible = frame.locator("[data-view]:not([hidden])")
    assert visible.get_attribute("data-view") == "all phases"
    frame.locator("#search").fill("calc_priority")
    assert "found in" in visible.locator(".fg-found").text_content()
    assert visible.locator("g.fg-hit").count() > 0
    boxes = visible.locator(".fg-frames > g")
    scheduler = boxes.filter(has_text="calc_priority").first
    narrow = scheduler.locator("rect").bounding_box()["width"]
    scheduler.locator("rect").click()
    assert scheduler.locator("rect").bounding_box()["width"] > narrow
    frame.locator("#view").select_option("large")
    assert visible.get_attribute("data-view") == "large"
    frame.locator("#component").select_option("tokenize")
    assert visible.locator("g.fg-hit").count() > 0


def test_a_link_to_a_finding_leads_to_it(opened):
    page = opened.page
    page.locator('a[href="#finding-batch"]').first.click()
    assert page.locator("#finding-batch").is_visible()


def test_texts_have_enough_contrast(opened):
    """Broken: small print that a reader with weak eyes cannot read. The rule is WCAG's, checked by axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(opened.page, options={"runOnly": ["color-contrast"]})
    violations = results.response["violations"]
    assert violations == [], [node["html"] for rule in violations for node in rule["nodes"]][:5]
