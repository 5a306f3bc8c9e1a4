"""What Jupyter's packages import is not what makes the runner slow."""

import subprocess
import sys

import pytest

IMPORTS = {
    "papermill": "import papermill.cli",
    "nbconvert": "import nbformat; from nbconvert import HTMLExporter",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_no_grammar_is_built_to_run_or_to_render_a_notebook(name):
    """Broken: every run and every report takes a second longer, for a format that no notebook uses."""
    code = (
        "from scoreprof_nb.runner.jupyter_imports import leave_out_grammar; leave_out_grammar(); "
        f"{IMPORTS[name]}; import sys; print('lark' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
