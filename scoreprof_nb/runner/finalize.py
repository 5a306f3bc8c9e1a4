"""What the runner does when the notebook has ended: keep the report, copy the results, sum up the run."""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scoreprof_nb.run_folder.event_log import print_event
from scoreprof_nb.run_folder.files import COMPARISON, COMPARISON_MARKDOWN, SUMMARY, SUMMARY_MARKDOWN
from scoreprof_nb.run_folder.folder import RunFolder, read_json_if_valid
from scoreprof_nb.run_folder.plain_text import plain_text
from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.sync import copy_results
from scoreprof_nb.runner.executed_notebook import ExecutedNotebook

TERMINATION_LOG = "SCOREPROF_TERMINATION_LOG"
MESSAGE_BYTES = 4096  # Kubernetes keeps no more of a termination message
_ERROR_CHARACTERS = 600


def publish_results(executed: ExecutedNotebook) -> Path:
    """Keep the report in the run folder and in the results folder; returns where to look for it."""
    return _copied(executed, executed.keep())


def publish_stopped(executed: ExecutedNotebook) -> Path:
    """The same for a notebook that was stopped, quickly: without report.html, which would show little."""
    return _copied(executed, executed.keep_notebook())


def _copied(executed: ExecutedNotebook, report: Path) -> Path:
    run_dir = executed.executed_run_dir
    if executed.results_dir is None or run_dir is None:
        return report
    try:
        copy_results(run_dir, executed.results_dir)
    except (OSError, RunFolderError) as error:
        log_error(f"could not copy to {executed.results_dir}: {error}")
        return report
    return executed.results_dir / report.name


def results_are_missing(executed: ExecutedNotebook, report: Path | None) -> bool:
    """Whether a results folder was asked for and lacks the report: the run is lost with its machine."""
    if executed.results_dir is None or executed.executed_run_dir is None:
        return False
    return report is None or not report.is_relative_to(executed.results_dir)


def log_error(text: str) -> None:
    """Print the error on stderr, and as an event."""
    text = plain_text(text)
    print(f"scoreprof-nb: {text}", file=sys.stderr, flush=True)
    print_event("ERROR", "error", text)


def log_end(code: int, executed: ExecutedNotebook | None, report: Path | None) -> None:
    """The end of the run as an event, with the fields of the termination message."""
    message = _message(code, executed, report)
    status = message["status"] or ("complete" if code == 0 else "failed")
    print_event("INFO" if code == 0 else "ERROR", "end", f"{status}, exit code {code}", **message)


def print_summary(executed: ExecutedNotebook) -> None:
    """Print the summary of the run or the comparison, so that the log alone answers the question."""
    run_dir = executed.executed_run_dir
    if run_dir is None:
        return
    for name in (SUMMARY_MARKDOWN, COMPARISON_MARKDOWN):
        path = run_dir / name
        if path.exists():
            print(
                f"\n{plain_text(path.read_text(encoding='utf-8', errors='replace')).rstrip()}\n", flush=True
            )


def write_termination_message(code: int, executed: ExecutedNotebook | None, report: Path | None) -> None:
    """Write one short JSON object to the file named by $SCOREPROF_TERMINATION_LOG, if it is set.

    Keys: exit_code, status, run_id, error, report, p50_ms (by phase), top_finding, verdict (of a
    comparison, one sentence); null where not known.
    """
    _write_message(_message(code, executed, report))


def _message(code: int, executed: ExecutedNotebook | None, report: Path | None) -> dict[str, Any]:
    summary = _summary(executed)
    return {
        "exit_code": code,
        "status": summary.get("status"),
        "run_id": summary.get("run_id"),
        "error": executed.error if executed is not None else None,
        "report": str(report) if report is not None else None,
        "p50_ms": _p50_ms(summary),
        "top_finding": _top_finding(summary),
        "verdict": summary.get("sentence"),
    }


def _p50_ms(summary: Mapping[str, Any]) -> dict[str, Any]:
    """By phase; empty for a summary of another version or a damaged one."""
    with suppress(AttributeError, KeyError, TypeError):
        return {name: phase["latency_ms"]["p50"] for name, phase in summary.get("phases", {}).items()}
    return {}


def _top_finding(summary: Mapping[str, Any]) -> str | None:
    with suppress(KeyError, TypeError):
        return next((str(finding["text"]) for finding in summary.get("findings", [])), None)
    return None


def write_refusal(code: int, error: str) -> None:
    """Write the termination message of a command that was refused before anything was launched."""
    unknown = dict.fromkeys(("status", "run_id", "error", "report", "p50_ms", "top_finding", "verdict"))
    _write_message({"exit_code": code, **unknown, "error": error, "p50_ms": {}})


def _write_message(message: dict[str, Any]) -> None:
    path = os.environ.get(TERMINATION_LOG)
    if not path:
        return
    error = message["error"]
    try:
        Path(path).write_bytes(_bounded({**message, "error": error and error[:_ERROR_CHARACTERS]}))
    except OSError as failure:
        log_error(f"cannot write {path}: {failure}")


def _bounded(message: dict[str, Any]) -> bytes:
    """The message as JSON; if it is too long, the least important parts are left out."""
    for name in ("top_finding", "p50_ms", "verdict", "report", "error", None):
        text = json.dumps(message, ensure_ascii=False).encode()
        if len(text) <= MESSAGE_BYTES or name is None:
            break
        message[name] = None
    return text


def _summary(executed: ExecutedNotebook | None) -> Mapping[str, Any]:
    """The run's summary.json, or its manifest's status if there is none yet; of a comparison its verdict."""
    folder = executed.executed_run_dir if executed is not None else None
    if folder is None:
        return {}
    try:
        manifest = RunFolder(folder).read_manifest()
    except RunFolderError:
        comparison = read_json_if_valid(folder / COMPARISON)
        return {name: value for name, value in comparison.items() if name == "sentence"}
    known = {"status": manifest.status, "run_id": manifest.run_id}
    summary = read_json_if_valid(folder / SUMMARY)
    if summary.get("run_id") != manifest.run_id or not isinstance(summary.get("phases"), dict):
        return known
    return {**summary, **known} if manifest.status != "complete" else summary
