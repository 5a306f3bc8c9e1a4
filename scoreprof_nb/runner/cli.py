"""The runner: papermill with the same arguments, an orderly stop on signals, and exit codes.

    python -m scoreprof_nb NOTEBOOK OUT [-p NAME VALUE ...] [any other option of papermill]

Exit codes:
  0    the notebook ran to its end
  1    it failed, every request of the run failed, or the results could not be copied to results_dir
  3    the comparison failed its `fail_on` gate
  42   a parameter must be changed; nothing was launched
  130  stopped by Ctrl-C, 143 by SIGTERM, 129 since the terminal was closed: finished phases are safe, and
       the next start with the same run_dir resumes after them

A stop takes less than 8 s; work that takes longer, such as a copy to a slow bucket, is
abandoned. The last line of the output names the report and, in brackets, what went wrong.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import NoReturn

from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.run_folder.plain_text import plain_text
from scoreprof_nb.runner import report_html
from scoreprof_nb.runner.command import Command
from scoreprof_nb.runner.executed_notebook import (
    GATE_ERROR,
    NO_RESPONSE_ERROR,
    PARAMETER_ERROR,
    ExecutedNotebook,
    read_executed_notebook,
)
from scoreprof_nb.runner.finalize import (
    log_end,
    log_error,
    print_summary,
    publish_results,
    publish_stopped,
    results_are_missing,
    write_refusal,
    write_termination_message,
)
from scoreprof_nb.runner.parameter_check import check_parameters
from scoreprof_nb.runner.supervisor import Supervisor
from scoreprof_nb.runner.terminal import outlive_the_terminal

WRONG_PARAMETER = 42
GATE = 3
PAPERMILL_USAGE = 2
PRIVATE = 0o077  # logs, requests, command lines: nobody else reads what this and all it starts writes
REASON_CHARACTERS = 200
HELP = ("-h", "--help")


def main(arguments: Sequence[str]) -> int:
    """Run the notebook; returns the exit code."""
    if any(argument in (*HELP, "--version", "--help-notebook") for argument in arguments):
        return show_help(arguments)
    command = Command.parse(arguments)
    if command is None:
        print(__doc__, file=sys.stderr)
        return WRONG_PARAMETER
    try:
        check_parameters(command)
    except ParameterError as error:
        return refuse(error)
    try:
        return run_notebook(command)
    except OSError as error:  # no place for the notebook or for temporary files
        log_error(f"the run could not go on: {error}")
        return 1


def show_help(arguments: Sequence[str]) -> int:
    """The runner's help before papermill's."""
    if any(argument in HELP for argument in arguments):
        print(__doc__, flush=True)
    return subprocess.run([sys.executable, "-m", "papermill", *arguments]).returncode


def refuse(error: ParameterError) -> int:
    """Report a wrong parameter before anything is launched or written."""
    text = f"{PARAMETER_ERROR}: {error}"
    write_refusal(WRONG_PARAMETER, text)
    log_error(text)
    log_end(WRONG_PARAMETER, None, None)
    return WRONG_PARAMETER


def run_notebook(command: Command) -> int:
    """Execute the notebook, then keep its report and sum it up; returns the exit code."""
    before = _version(command.output)
    os.umask(PRIVATE)
    command.output.parent.mkdir(parents=True, exist_ok=True)
    with Supervisor(command.arguments) as supervisor:
        _prepare_page()
        papermill_code = supervisor.wait()
        executed = _read_output(command.output, before)
        code = exit_code(papermill_code, supervisor.stopped_by, executed)
        failure = _failure(supervisor, papermill_code)
        if executed is None:
            write_termination_message(code, None, None)
            log_end(code, None, None)
            if failure is not None:
                log_error(f"{failure}, and there is no report; finished phases are safe")
            return code
        return _finalize(supervisor, code, executed, failure)


def _prepare_page() -> None:
    """Import meanwhile what report.html needs: a second core is free, and the notebook takes longer."""

    def run() -> None:
        with suppress(
            Exception
        ):  # whatever fails, fails again when the page is written, and is reported then
            report_html.prepare()

    threading.Thread(target=run, daemon=True).start()


def _version(path: Path) -> tuple[int, int] | None:
    """What differs once the file is written again, even if the clock is set meanwhile; None without one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _read_output(path: Path, before: tuple[int, int] | None) -> ExecutedNotebook | None:
    """None if papermill wrote no notebook since it was as ``before``, or none that can be read."""
    if _version(path) in (None, before):
        return None
    try:
        return read_executed_notebook(path)
    except (OSError, ValueError) as error:  # papermill was killed while it wrote
        log_error(f"{path} cannot be read: {error}")
        return None


def exit_code(papermill_code: int, signum: int | None, executed: ExecutedNotebook | None) -> int:
    """The runner's exit code."""
    if signum is not None:
        return 128 + signum
    if papermill_code == 0:
        return 0
    error_name = executed.error_name if executed is not None else None
    if papermill_code == PAPERMILL_USAGE or error_name == PARAMETER_ERROR:
        return WRONG_PARAMETER
    return GATE if error_name == GATE_ERROR else 1


def _failure(supervisor: Supervisor, papermill_code: int) -> str | None:
    """What ended the notebook, other than an error in a cell of it; None if it ran to its end."""
    if supervisor.stopped_by is not None:
        return f"stopped by {signal.Signals(supervisor.stopped_by).name}"
    if supervisor.failure is not None or papermill_code == 0:
        return supervisor.failure
    number = -papermill_code if papermill_code < 0 else papermill_code - 128  # the guard: 128 + signal
    if number in signal.valid_signals():
        return f"{'papermill' if papermill_code > 0 else 'its guard'} was killed by {_signal_name(number)}"
    return f"papermill failed: {supervisor.last_error or f'exit code {papermill_code}'}"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _finalize(supervisor: Supervisor, code: int, executed: ExecutedNotebook, failure: str | None) -> int:
    """Keep and copy the report, and say how the run ended; returns the final exit code."""
    stopped_by = supervisor.stopped_by
    if failure is not None and (executed.error is None or stopped_by or supervisor.failure):
        executed = replace(executed, error=failure)
    # Written before anything that may take long, and again when it is done.
    write_termination_message(code, executed, None)
    report, unwritten = _publish(supervisor, executed)
    if unwritten is not None:
        code = code or 1
        executed = replace(executed, error="; ".join(filter(None, (executed.error, unwritten))))
    elif report is None and supervisor.stopped_by is not None:
        code = 128 + supervisor.stopped_by
        log_error("stopped before all files were copied")
    elif code == 0 and results_are_missing(executed, report):
        code = 1
        executed = replace(executed, error=f"the results could not be copied to {executed.results_dir}")
    write_termination_message(code, executed, report)
    print_summary(executed)
    log_end(code, executed, report)
    if executed.error is not None and (stopped_by is None or report is None):
        log_error(executed.error)
    if report is not None:
        print(_last_line(code, executed, report), flush=True)
    if executed.hold_s and supervisor.stopped_by is None:
        supervisor.hold(executed.hold_s)
    return code


def _publish(supervisor: Supervisor, executed: ExecutedNotebook) -> tuple[Path | None, str | None]:
    """Where the report is, None if it was not written in time; and why it could not be written at all."""
    publish = publish_results if supervisor.stopped_by is None else publish_stopped
    try:
        return supervisor.finish(partial(publish, executed)), None
    except OSError as error:
        return None, f"the report could not be written: {error}"


def _last_line(code: int, executed: ExecutedNotebook, report: Path) -> str:
    """Where the report is, and what happened if the run did not end well."""
    if code in (0, GATE) or executed.error is None:
        return f"report: {report}"
    reason = "every request failed" if executed.error_name == NO_RESPONSE_ERROR else executed.error
    return f"report: {report} ({shorten(plain_text(reason), REASON_CHARACTERS, placeholder=' ...')})"


def run_and_exit() -> NoReturn:
    """Run the notebook named on the command line, and exit without the interpreter's cleanup, which takes
    a second that a stop does not have."""
    outlive_the_terminal()
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
