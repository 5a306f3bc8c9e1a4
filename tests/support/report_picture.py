"""The picture of a report for the README, from a real run.

``python -m tests.support.report_picture RUN_DIR`` writes docs/report.png: the top of the run's report.html.
"""

import sys
from pathlib import Path

from tests.support.browser import visit
from tests.support.paths import ROOT

WIDTH = 1100


def take_picture(report: Path, picture: Path) -> None:
    """From the title to the end of the first table."""
    with visit(report, WIDTH) as visited:
        table = visited.page.locator("table.sp-table").first.bounding_box()
        height = table["y"] + table["height"] + 20
        visited.page.evaluate("document.querySelector('.sp-code-button').remove()")
        visited.page.set_viewport_size({"width": WIDTH, "height": round(height)})
        visited.page.screenshot(path=picture)


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]).resolve() / "report.html", ROOT / "docs" / "report.png")
