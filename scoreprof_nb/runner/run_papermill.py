"""papermill's command line, started without the slow part of its imports.

python -m scoreprof_nb.runner.run_papermill NOTEBOOK OUT [any option of papermill]
"""

from scoreprof_nb.runner.jupyter_imports import leave_out_grammar


def main() -> None:
    leave_out_grammar()
    from papermill.cli import papermill

    papermill()


if __name__ == "__main__":
    main()
