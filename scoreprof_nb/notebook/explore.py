"""What the cells of the exploring notebooks call."""

from pathlib import Path

from scoreprof_nb import plots
from scoreprof_nb.components.rules import RulesError
from scoreprof_nb.explore import Recording
from scoreprof_nb.notebook.display import show
from scoreprof_nb.notebook.head import page_assets
from scoreprof_nb.notebook.profile import absolute, publish_run_metadata
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.blocks import Html, Table
from scoreprof_nb.report.format import escape_html, escape_markdown
from scoreprof_nb.stacks.table import ImportFailed

SHOWN_FUNCTIONS = 40


def open_recording(recording: str, rules_file: str, output_dir: str) -> Recording:
    """Read a recording, and say what it is and what it cannot tell. Raises ParameterError."""
    if not recording:
        raise ParameterError("recording", recording, "name a file that py-spy recorded")
    try:
        opened = Recording.load(recording, rules_file)
    except ImportFailed as error:
        raise ParameterError("recording", recording, str(error)) from error
    except RulesError as error:
        raise ParameterError("rules_file", rules_file, str(error)) from error
    folder = Path(absolute(output_dir))
    folder.mkdir(parents=True, exist_ok=True)
    publish_run_metadata(str(folder), "", 0.0, f"{opened.path.name}: recording")
    show(page_assets())
    show(Html(f"<h1>{escape_html(opened.path.name)}: what the threads do</h1>"))
    show("\n".join(f"- {escape_markdown(sentence)}" for sentence in opened.about()))
    return opened


def show_recording(recording: Recording) -> None:
    """Threads, components, functions, the flame graph, and what no rule matches."""
    show("## Threads")
    show(Table(recording.threads(), "Share of each thread's samples in which it works"))
    show("## Components")
    show(Table(recording.components(), "Share of each thread's samples", folded=False))
    show("## Functions")
    show(Table(recording.functions().head(SHOWN_FUNCTIONS), "Functions of working threads, in samples"))
    show("## Flame graph")
    show(plots.plot_flame(recording.flame_boxes(), recording.rules.catalog, "samples"))
    show(recording.flame_graph())
    unclassified = recording.unclassified()
    if not unclassified.empty:
        show("## Unclassified")
        show("To classify a stack, paste its rule into a file, fill in the component, and set `rules_file`.")
        show(Table(unclassified, "The most frequent stacks that no rule matches", folded=False))
