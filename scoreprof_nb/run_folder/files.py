"""The names of all files in a run folder and in a comparison's folder."""

# A run folder.
MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
SERVER_LOG = "server.log"
PHASES = "phases"
FLAME_GRAPH = "score_api_profile.svg"
TIMELINE_SUFFIX = ".pftrace"
SUMMARY = "summary.json"
SUMMARY_MARKDOWN = "summary.md"

# A phase's folder, phases/<phase>.
PHASE = "phase.json"
REQUESTS = "requests.parquet"
THREADS = "threads.parquet"
SCHEDSTAT = "schedstat.parquet"
MEMORY = "memory.parquet"
RECORDING_SUFFIX = ".speedscope.json"
DEVICE_TRACE = "device.xplane.pb.gz"  # JAX's trace; XProf and TensorBoard read it unpacked
DEVICE_REQUESTS = "device-requests.parquet"  # the requests of the trace, like requests.parquet
# In its scratch folder, until it is finished.
UNFINISHED = "unfinished.json"  # the record so far, and how many segments it has

# A comparison's folder. Its runs are run folders in runs/.
RUNS = "runs"
PAIRS = "pairs"  # in a results folder: a folder per pair that another node captured
STOPPED = "stopped.tsv"  # a line per run that did not end: its side, when and why
LOOKS_TAKEN = "looks.json"  # after how many pairs a comparison was looked at, and the error each look spent
COMPARISON = "comparison.json"
COMPARISON_MARKDOWN = "comparison.md"
HISTORY = "history.csv"
DIFF_FLAME_GRAPHS = {"test": "diff_test.svg", "control": "diff_control.svg"}

# Both.
REPORT = "report.ipynb"
REPORT_HTML = "report.html"

RUN_MIME = "application/vnd.scoreprof.run+json"  # the notebook's output that names its run folder


def phase_folder(name: str) -> str:
    """The folder of a phase: its name, where ``small@2.5/s`` becomes ``small@2.5-per-s``."""
    return name.replace("/", "-per-")


def scratch_folder(name: str) -> str:
    """The folder of a phase that is being captured; hidden, because it is not whole."""
    return f".{phase_folder(name)}-unfinished"


def segment_name(number: int | str, table: str) -> str:
    """A part of one of a phase's tables, named by its file."""
    return f"segment-{number}-{table}"


def timeline_name(phase: str) -> str:
    """The timeline of a phase, in the run folder."""
    return f"timeline-{phase_folder(phase)}{TIMELINE_SUFFIX}"


def recording_name(block: int, suffix: str) -> str:
    """The file with the recording of a block; ``suffix`` is that of the recorder's format."""
    return f"recording-{block}{suffix}"
