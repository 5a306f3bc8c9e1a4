"""Measure the sections of docs/performance.md, print them, and write each as soon as it is known.

python -m tests.bench.bench [--only import,history]        (make bench, ONLY)
"""

import argparse
import sys
import time

from tests.bench.machine import measured_on
from tests.bench.page import read_bodies, render, stamped
from tests.bench.sections import SECTIONS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "performance.md"


def main() -> int:
    """Returns 1 if a measurement failed; the other sections are measured all the same."""
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(names), help="names of sections, separated by commas")
    wanted = parser.parse_args().only.split(",")
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}; there are {', '.join(names)}")
    failed = 0
    for section in SECTIONS:
        if section.name not in wanted:
            continue
        started_s = time.monotonic()
        try:
            text = section.measure()
        except Exception as error:
            print(f"## {section.title}\n\nfailed: {type(error).__name__}: {error}\n", flush=True)
            failed += 1
            continue
        bodies = read_bodies(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
        bodies[section.name] = stamped(section, text, measured_on())
        PAGE.write_text(render(SECTIONS, bodies), encoding="utf-8")
        print(f"## {section.title} ({time.monotonic() - started_s:.0f} s)\n\n{text.strip()}\n", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
