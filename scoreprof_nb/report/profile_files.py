"""The files of a run's report: summary.json, summary.md, the flame graph and the timelines."""

import pandas as pd

from scoreprof_nb.report.flame_views import run_flame_graph
from scoreprof_nb.report.format import NOT_KNOWN
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.summary import summary
from scoreprof_nb.report.summary_markdown import summary_markdown
from scoreprof_nb.run_folder.files import (
    FLAME_GRAPH,
    MANIFEST,
    PROVENANCE,
    RECORDING_SUFFIX,
    REPORT,
    REPORT_HTML,
    SERVER_LOG,
    SUMMARY,
    SUMMARY_MARKDOWN,
    TIMED_SUFFIX,
    TIMELINE_SUFFIX,
    timed_recording_name,
    timeline_name,
)
from scoreprof_nb.run_folder.folder import write_bytes, write_text
from scoreprof_nb.run_folder.seal import KEY, sealed_json
from scoreprof_nb.run_folder.sync import published_path
from scoreprof_nb.timeline.timed_recording import timed_recording
from scoreprof_nb.timeline.timeline import phase_timeline

_LATER = (REPORT, REPORT_HTML)  # the runner writes them when the notebook has ended
_MEANING = {
    REPORT: "this report",
    REPORT_HTML: "this report for a browser",
    FLAME_GRAPH: "flame graph of all phases; open it in a browser",
    SUMMARY: "every number, for tools",
    SUMMARY_MARKDOWN: "summary as plain text",
    SERVER_LOG: "server log, with the time at which each line was read",
    MANIFEST: "parameters, status, checksums",
    PROVENANCE: "versions, host, limits",
}
_TIMED = "the recordings of a phase with true times and pauses, for speedscope"
_RECORDING = "py-spy recording, for speedscope"
_TIMELINE = "a phase on one clock: requests, threads, batches, compiles; open it in ui.perfetto.dev"


def write_files(report: Report) -> None:
    """Write summary.json, summary.md, the flame graph, and per phase a timeline and its recordings with true
    times."""
    folder = report.folder
    published = published_path(folder / REPORT, folder, report.parameters.results_dir)
    numbers = summary(report.analysis, report.findings).model_dump(mode="json", exclude={KEY})
    write_text(folder / SUMMARY, sealed_json(numbers))
    write_text(folder / SUMMARY_MARKDOWN, summary_markdown(report, str(published)))
    write_text(folder / FLAME_GRAPH, run_flame_graph(report))
    for phase in report.analysis.phases:
        timeline = phase_timeline(phase, report.analysis.run.log)
        write_bytes(folder / timeline_name(phase.name), timeline.trace)
        write_text(folder / timed_recording_name(phase.name), timed_recording(phase.ticks))


def files_table(report: Report) -> pd.DataFrame:
    """The files of the run folder once the notebook has ended. Columns: file (in the folder), kB, what.

    The notebook that papermill is still writing becomes ``report.ipynb``, and ``report.html`` is made of it:
    both are listed, with a size that is not known yet, and the notebook's present name is not.
    """
    folder = report.folder
    sizes = {
        str(path.relative_to(folder)): f"{path.stat().st_size / 1000:,.1f}"
        for path in folder.rglob("*")
        if path.is_file() and not _is_scratch(path.relative_to(folder).parts)
    }
    sizes |= dict.fromkeys(_LATER, NOT_KNOWN)
    rows = [(name, sizes[name], _meaning(name)) for name in sorted(sizes)]
    return pd.DataFrame(rows, columns=["file", "kB", "what"])


def _is_scratch(parts: tuple[str, ...]) -> bool:
    """Whether the runner renames or replaces a file: a notebook in the folder itself, or a hidden file."""
    return any(part.startswith(".") for part in parts) or (len(parts) == 1 and parts[0].endswith(".ipynb"))


def _meaning(name: str) -> str:
    base = name.rpartition("/")[2]
    by_suffix = {TIMED_SUFFIX: _TIMED, RECORDING_SUFFIX: _RECORDING, TIMELINE_SUFFIX: _TIMELINE}
    of_kind = [what for suffix, what in by_suffix.items() if base.endswith(suffix)]
    return of_kind[0] if of_kind else _MEANING.get(base, "")
