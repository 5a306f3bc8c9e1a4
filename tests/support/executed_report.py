"""A report made of a synthetic run, for the tests that open it."""

import subprocess
import sys

from tests.support.paths import COMPARE_NOTEBOOK, PROFILE_NOTEBOOK, ROOT
from tests.support.written_run import GOOD, START_S, write_run

LABEL = "main"


def log_lines():
    """A prefill batch with all items in the middle of each request."""
    for request in GOOD:
        at_s = request["sent_ns"] / 1e9 + 0.05
        yield f"{at_s:.6f} Prefill batch. #new-seq: 4, #new-token: 4, #cached-token: 60, token usage: 0\n"


def executed_report(folder):
    """report.html of a synthetic run: the notebook is executed as ``make report`` does, without a server."""
    write_run(folder, recording="timed", phases=2, log="".join(log_lines()))
    command = [sys.executable, "-m", "scoreprof_nb", str(PROFILE_NOTEBOOK), str(folder / "out.ipynb")]
    done = subprocess.run(
        [*command, "-p", "run_dir", str(folder), "-p", "label", LABEL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder / "report.html"


def executed_comparison(folder):
    """report.html of a comparison of two synthetic runs with themselves, and its failed gate."""
    for side in ("control", "test"):
        for pair in range(2):
            run = folder / "runs" / f"{side}-{pair}"
            write_run(run, recording="timed", log="".join(log_lines()), started_s=START_S + pair)
    command = [sys.executable, "-m", "scoreprof_nb", str(COMPARE_NOTEBOOK), str(folder / "out.ipynb")]
    parameters = {
        "control": folder / "runs" / "control-*",
        "test": folder / "runs" / "test-*",
        "compare_dir": folder / "comparison",
        "fail_on": "not_improved",
    }
    for name, value in parameters.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    return folder / "comparison" / "report.html"
