"""A headless Chromium for tests: Debian's, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Visit:
    """A page that is open. ``console``: errors and warnings; ``requests``: addresses asked for, but data."""

    page: object
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def chromium_path() -> str:
    """The program; skips the test on a machine without it, and fails in CI, which installs it."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None and os.environ.get("CI"):
        pytest.fail("CI must have Chromium: apt-get install chromium")
    if path is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(NAMES)})")
    return path


@contextmanager
def visit(file: Path | str, width: int, height: int = 900) -> Iterator[Visit]:
    """Open a file or an address in a new browser."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright  # only now: a machine without Chromium needs none

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            visited = Visit(page)
            page.on(
                "console", lambda m: visited.console.append(m.text) if m.type in ("error", "warning") else 0
            )
            page.on("pageerror", lambda error: visited.console.append(str(error)))
            page.on("request", lambda r: visited.requests.append(r.url))
            page.goto(file if isinstance(file, str) else file.as_uri(), wait_until="load")
            yield visited
        finally:
            browser.close()
