"""What was measured, at the top of a report: the server and its machine, the phases and their requests."""

from pathlib import Path

import pandas as pd

from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.components.headline import GROUPS
from scoreprof_nb.report.blocks import Html, Table
from scoreprof_nb.report.format import escape_html, escape_markdown, number, timestamp
from scoreprof_nb.report.group_table import items_text
from scoreprof_nb.report.profile import Report

GLOSSARY = (
    ("block", "a stretch of a phase with py-spy off or on, in a balanced order, so that drift cancels"),
    ("compile hit", "a request during which the server compiled a program, by its log"),
    ("component", "what a stack is doing, such as tokenize; the groups of the first table are sums "
    "of components"),
    ("in no block", "a request that was sent while py-spy started or stopped: it counts in neither mean"),
    ("interval", "a range that holds the true mean in 19 of 20 runs like this one (95 %), by bootstrap"),
    ("joint", "the threads' samples share one clock, so work hidden behind other work is told apart"),
    ("lost samples", "instants at which py-spy could not read a process; it was running Python, "
    "and counts so"),
    ("marginal", "the threads' samples share no clock: shares of waiting threads are chained instead, "
     "which cannot show what overlaps"),
    ("phase", "one kind of request, repeated: single, small, large, mixed (all three), or your own file"),
    ("py-spy behind", "py-spy was later than its schedule by so much; its samples are then from a "
    "later moment"),
    ("request path", "the mean latency, split by what the request was waiting for at each instant"),
    ("sequence", "one item of a request as the model sees it: query and item together"),
    ("smallest detectable change", "the smallest change of the median that two runs like this one "
    "would show"),
    ("speedup, at most", "latency / (latency - component): what the request would gain if the "
    "component vanished"),
    ("split", "a request whose items the scheduler put into several batches"),
    ("tick", "one instant at which py-spy looked at all threads"),
    ("tick mismatch", "how many more ticks one process has than another; it should be about 0"),
    ("unclassified", "stacks that no rule knows; they are shown as such and never guessed"),
    ("wall time", "time on the clock, working or waiting; CPU time is what the kernel charged"),
)  # fmt: skip


def title(report: Report) -> str:
    """Plain text: the report's title, with the run's label."""
    return f"{report.analysis.run.manifest.label}: where does a Score API request spend its time?"


def overview_markdown(report: Report) -> str:
    """Markdown: what was measured, where and when."""
    run = report.analysis.run
    parameters, provenance = run.manifest.parameters, run.provenance
    facts = [
        f"Run {run.manifest.run_id}, label {run.manifest.label}, {timestamp(run.manifest.started_s)}, "
        f"status {report.analysis.status()}",
        f"Device: {provenance.get('chip') or provenance.get('device') or 'not known'}. "
        f"Host: {provenance.get('host', 'not known')}, {provenance.get('cpu', 'CPU not known')}, "
        f"{provenance.get('cpus', '?')} CPUs, load {_known(provenance.get('load_average_before'))} "
        "at the start",
        f"Model: {Path(str(parameters.get('model_path') or 'tiny random model')).name}, "
        f"{provenance.get('model_dtype', 'number format not known')}. sglang-jax "
        f"{provenance.get('sglang_jax', 'not known')}, JAX {provenance.get('jax', 'not known')}",
        f"Load: {parameters.get('concurrency', 1)} in flight, the next is sent when one is answered "
        "(closed loop). "
        f"py-spy: {parameters.get('rate_hz', '?')} samples/s, in half of the time",
    ]
    return "\n".join(f"- {escape_markdown(fact)}" for fact in facts)


def phases_table(report: Report) -> Table:
    """One row per phase: what was sent, and how many requests there are of each sort. The columns without
    py-spy, with py-spy, in no block and failed sum to sent."""
    return Table(pd.DataFrame([_phase_row(phase) for phase in report.analysis.phases]), "The phases")


def _phase_row(phase: PhaseAnalysis) -> dict[str, object]:
    counts, batching = phase.counts, phase.batching.summary
    return {
        "phase": phase.name,
        "a request has": items_text(phase),
        "prompt tokens\nper request": number(phase.prefix_cache.prompt_tokens_per_request),
        "of these from the\nprefix cache": number(phase.prefix_cache.cached_tokens_per_request),
        "requests\nsent": counts.sent,
        "without\npy-spy": counts.plain,
        "with\npy-spy": counts.profiled,
        "in no block": counts.between + counts.not_recorded,
        "failed": counts.failed,
        "compile\nhits": batching["compile_hit"],
        "split": batching["split"],
    }


def means_note(report: Report) -> str:
    """Markdown: which requests and which mean the page uses."""
    if not report.has_path:
        return ""
    return (
        "All breakdowns are of the requests **with py-spy**, all of them (compile hits too), and "
        "sum to their "
        "mean latency. Percentiles are of the requests **without py-spy**."
    )


def glossary() -> Html:
    """The words of the report, folded."""
    words = [*GLOSSARY, *((f"{group.name} (group)", group.meaning) for group in GROUPS.values())]
    items = "".join(
        f"<dt><b>{escape_html(word)}</b></dt><dd>{escape_html(text)}</dd>" for word, text in words
    )
    return Html(
        f'<details class="sp-note" id="glossary"><summary>Glossary: {len(words)} words of this report'
        f"</summary><dl>{items}</dl></details>"
    )


def _known(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else "not known"
