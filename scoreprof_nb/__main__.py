"""``python -m scoreprof_nb``: see ``runner/cli.py``."""

from scoreprof_nb.runner.stops import exit_before_the_run, handle_stops

handle_stops(exit_before_the_run)  # the imports below take a while

from scoreprof_nb.runner.cli import run_and_exit  # noqa: E402

run_and_exit()
