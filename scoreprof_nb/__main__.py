"""``python -m scoreprof_nb``: see ``runner/cli.py``."""

from scoreprof_nb.runner.cli import run_and_exit

run_and_exit()
