"""What the runner does when the notebook has ended: keep the report, copy the results, say how it went."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scoreprof_nb.run_folder.store import RunFolder, RunFolderError
from scoreprof_nb.run_folder.sync import copy_results
from scoreprof_nb.runner.executed_notebook import ExecutedNotebook

TERMINATION_LOG = "SCOREPROF_TERMINATION_LOG"
TEXTS = ("summary.md", "comparison.md")
MESSAGE_BYTES = 4096  # the most that Kubernetes keeps of a termination message
_ERROR_CHARACTERS = 600


def publish_results(executed: ExecutedNotebook) -> Path:
    """Keep the report in the run folder and in the results folder; gives where to look for it."""
    return _copied(executed, executed.keep())


def publish_stopped(executed: ExecutedNotebook) -> Path:
    """The same in haste, of a notebook that was stopped: without report.html, which would show little."""
    return _copied(executed, executed.keep_notebook())


def _copied(executed: ExecutedNotebook, report: Path) -> Path:
    if executed.results_dir is None or executed.run_dir is None or executed.error_name == "ParameterError":
        return report
    try:
        copy_results(executed.run_dir, executed.results_dir)
    except (OSError, RunFolderError) as error:
        print(f"scoreprof-nb: could not copy to {executed.results_dir}: {error}", file=sys.stderr, flush=True)
        return report
    return executed.results_dir / report.name


def print_summary(executed: ExecutedNotebook) -> None:
    """Print the run's or the comparison's text, so that a log alone answers the question. It is bounded."""
    if executed.run_dir is None or executed.error_name == "ParameterError":
        return
    for name in TEXTS:
        text = executed.run_dir / name
        if text.exists():
            print(f"\n{text.read_text(encoding='utf-8').rstrip()}\n", flush=True)


def write_termination_message(code: int, executed: ExecutedNotebook | None, report: Path | None) -> None:
    """Write one short JSON object to the file that $SCOREPROF_TERMINATION_LOG names, if it names one.

    Keys: exit_code, status, run_id, error, report, p50_ms (by phase), top_finding, verdict (of a
    comparison, in one sentence); null where not known.
    """
    path = os.environ.get(TERMINATION_LOG)
    if not path:
        return
    summary = _summary(executed)
    message: dict[str, Any] = {
        "exit_code": code,
        "status": summary.get("status"),
        "run_id": summary.get("run_id"),
        "error": executed.error[:_ERROR_CHARACTERS] if executed is not None and executed.error else None,
        "report": str(report) if report is not None else None,
        "p50_ms": {name: phase["latency_ms"]["p50"] for name, phase in summary.get("phases", {}).items()},
        "top_finding": next((finding["text"] for finding in summary.get("findings", [])), None),
        "verdict": summary.get("sentence"),
    }
    try:
        Path(path).write_bytes(_bounded(message))
    except OSError as error:
        print(f"scoreprof-nb: cannot write {path}: {error}", file=sys.stderr, flush=True)


def _bounded(message: dict[str, Any]) -> bytes:
    """The message as JSON; what makes it too long is left out, the least important first."""
    for name in ("top_finding", "p50_ms", "verdict", "report", "error", None):
        text = json.dumps(message, ensure_ascii=False).encode()
        if len(text) <= MESSAGE_BYTES or name is None:
            break
        message[name] = None
    return text


def _summary(executed: ExecutedNotebook | None) -> Mapping[str, Any]:
    """summary.json of the run, or what its manifest says where there is none yet; comparison.json of a
    comparison."""
    if executed is None or executed.run_dir is None or executed.error_name == "ParameterError":
        return {}
    folder = executed.run_dir
    try:
        manifest = RunFolder(folder).read_manifest()
    except RunFolderError:
        return {
            name: value for name, value in _read(folder / "comparison.json").items() if name == "sentence"
        }
    found = {"status": manifest.status, "run_id": manifest.run_id}
    summary = _read(folder / "summary.json")
    if summary.get("run_id") != manifest.run_id or not isinstance(summary.get("phases"), dict):
        return found
    return {**summary, **found} if manifest.status != "complete" else summary


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
