"""Section ``history``: ten thousand runs, from their summaries alone."""

import json
import tempfile
import time
from pathlib import Path

from scoreprof_nb.comparison.history import read_history
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.plots.history import plot_history
from scoreprof_nb.report import profile_files
from scoreprof_nb.report.markdown import markdown_table
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.run_folder.files import SUMMARY
from tests.bench.long_run import write_long_run

COUNTS = (1_000, 10_000)
SHOWN = 60  # as the comparing notebook draws
KB = 1e3


def measure() -> str:
    with tempfile.TemporaryDirectory() as folder:
        run = write_long_run(Path(folder, "run"), 40)
        profile_files.write_files(make_report(Parameters(run_dir=str(run))))
        summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
        rows = [_row(Path(folder, str(count)), summary, count) for count in COUNTS]
    text = (
        "All runs below a folder, each with a `summary.json` of four phases: read into the table of all, and drawn as "
        f"the figure of the latest {SHOWN}, as the comparing notebook does. The files were just written, so they come from the page cache, not from a bucket."
    )
    return "\n".join([text, "", *markdown_table(rows)])


def _row(folder: Path, summary: dict[str, object], count: int) -> dict[str, str]:
    size = 0
    for number in range(count):
        run = folder / f"{number % 100:02}" / f"run-{number}"
        run.mkdir(parents=True)
        started_at = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T{number % 24:02}:00:00+00:00"
        size = (run / SUMMARY).write_text(
            json.dumps({**summary, "run_id": run.name, "started_at": started_at})
        )
    before_s = time.process_time()
    started_s = time.monotonic()
    history = read_history(folder)
    read_s = time.monotonic() - started_s
    table = history.table()
    latest = history.latest(SHOWN)
    plot_history(latest.runs, latest.paths)
    wall_s = time.monotonic() - started_s
    if table["run_id"].nunique() != count:
        raise RuntimeError(f"{table['run_id'].nunique()} runs in the table, not {count}")
    return {
        "runs": f"{count:,}",
        "KB each": f"{size / KB:.0f}",
        "wall s": f"{wall_s:.1f}",
        "of which reading": f"{read_s:.1f}",
        "CPU s": f"{time.process_time() - before_s:.1f}",
        "ms per run": f"{wall_s * 1e3 / count:.2f}",
    }
