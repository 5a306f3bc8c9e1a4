"""How long speedscope itself takes to open a recording: its npm package, in a headless Chromium.

The package is the application as its users run it, not a library for node. It times its own import
(``console.time("import")``), which is what is read here; nothing is drawn before that ends.
"""

import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.support.browser import NAMES

PACKAGE = "speedscope@1.25.0"
LIMIT_S = 120
_TIMED = re.compile(r"import: ([\d.]+) ?(ms|s)\b")


def import_s(file: Path) -> float | str:
    """Seconds; or why they are not known, in words."""
    npm, browser = shutil.which("npm"), next(filter(None, map(shutil.which, NAMES)), None)
    if npm is None or browser is None:
        return f"not measured: no {'npm' if npm is None else 'Chromium'} on this machine"
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            [npm, "pack", "--silent", PACKAGE],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        if packed.returncode != 0:
            return f"not measured: npm has no {PACKAGE}"
        with tarfile.open(Path(folder, packed.stdout.split()[-1])) as archive:
            archive.extractall(folder, filter="data")
        return _timed_by_itself(browser, Path(folder, "package/dist/release/index.html"), file)


def _timed_by_itself(browser: str, application: Path, file: Path) -> float | str:
    from playwright.sync_api import Error, sync_playwright  # only now: needs a browser's driver

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        try:
            page = chromium.new_page()
            page.goto(application.as_uri(), wait_until="load")
            with page.expect_console_message(
                lambda message: _TIMED.search(message.text) is not None, timeout=LIMIT_S * 1e3
            ) as message:
                page.set_input_files("input[type=file]", str(file))
            match = _TIMED.search(message.value.text)
            return float(match[1]) / (1e3 if match[2] == "ms" else 1.0)
        except Error as error:
            return f"not measured: {str(error).splitlines()[0]}"
        finally:
            chromium.close()
