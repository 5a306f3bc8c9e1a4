"""Sections ``parameter`` and ``reanalysis``: what the kit itself takes before and after a capture."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scoreprof_nb.report.markdown import markdown_table
from tests.bench.commands import median_run, profile
from tests.bench.long_run import PHASES, TRACED, write_long_run

ROUNDS = 3
WRONG = 42
WRONG_PARAMETERS = {
    "a word for a number": ("-p", "phase_s", "long"),
    "a misspelt name": ("-p", "fase_s", "8"),
    "a model that is not there": ("-p", "model_path", "/no/such/model", "-p", "device", "tpu"),
    "a rules file that is not there": ("-p", "rules_file", "/no/such/rules.toml"),
}
LENGTHS_S = (40, 600)


def wrong_parameter() -> str:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, parameters in WRONG_PARAMETERS.items():
            run = median_run([profile(Path(folder, "out.ipynb"), *parameters) for _ in range(ROUNDS)], WRONG)
            rows.append({"wrong": what, "wall s": f"{run.wall_s:.2f}", "CPU s": f"{run.cpu_s:.2f}"})
    lines = [f"From the command to its refusal with exit code {WRONG}, medians of {ROUNDS}:", ""]
    return "\n".join([*lines, *markdown_table(rows)])


def reanalysis() -> str:
    rows = []
    for phase_s in LENGTHS_S:
        with tempfile.TemporaryDirectory() as folder:
            run_dir = write_long_run(Path(folder, "run"), phase_s)
            output = run_dir / "out.ipynb"
            run = median_run([profile(output, "-p", "run_dir", str(run_dir)) for _ in range(ROUNDS)])
            cells = _cells_s(json.loads((run_dir / "report.ipynb").read_text(encoding="utf-8")))
            parts = {name: f"{seconds:.1f}" for name, seconds in cells.items()}
            rows.append(
                {
                    "made-up run": f"{len(PHASES)} phases x {phase_s} s",
                    "wall s": f"{run.wall_s:.1f}",
                    "CPU s": f"{run.cpu_s:.1f}",
                    **parts,
                    "start, HTML": f"{run.wall_s - sum(cells.values()):.1f}",
                }
            )
    text = (
        "`make report` on a finished run: notebook, HTML, summary, flame graph and timelines anew. The runs are made up; "
        f"each phase has a stored device trace of {TRACED} requests, a third of a demo's (which section `own` "
        "analyses again). Medians of "
        f"{ROUNDS}; the last columns are parts of the wall time, of the last of them: the cells that import and check, "
        "the cell that analyses and writes files, and those that draw; the rest is papermill, the kernel's start and "
        "the HTML page."
    )
    return "\n".join([text, "", *markdown_table(rows)])


def _cells_s(notebook: Mapping[str, list[Mapping[str, object]]]) -> dict[str, float]:
    """Seconds of the notebook's cells, by papermill's record: imports, analysis, figures."""
    seconds = {"imports": 0.0, "analysis, files": 0.0, "figures": 0.0}
    for cell in notebook["cells"]:
        duration = cell["metadata"].get("papermill", {}).get("duration") or 0.0
        source = "".join(cell["source"])
        part = "analysis, files" if "write_files(report)" in source else "figures"
        seconds["imports" if "start(globals())" in source else part] += duration
    return seconds
