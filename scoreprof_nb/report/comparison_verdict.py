"""The verdict on a comparison in words: one sentence, what was compared, and the caveats."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.comparison import paired
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.history import History
from scoreprof_nb.parameters.compare import CONTROL, FEWEST_PAIRS, SIDES, TEST
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.format import escape_markdown, percent, percent_change

NO_COMPARISON = "No comparison: no pair of runs is complete, or only a history is requested."
_NO_HISTORY = "*No history: set the parameter `history` to a folder of runs.*"


def verdict_markdown(report: ComparisonReport | None) -> str:
    """Markdown: the verdict, what was compared, and the caveats; ``report`` is None without a comparison."""
    if report is None:
        return NO_COMPARISON
    comparison = report.comparison
    return "\n".join(
        [
            f"**{report.mark}{report.verdict}.** {escape_markdown(sentence(report))}",
            "",
            f"- {comparison.pairs} run(s) per side, phases {escape_markdown(', '.join(comparison.phases))}",
            *conditions_markdown(report),
        ]
    )


def conditions_markdown(report: ComparisonReport) -> list[str]:
    """A Markdown list: the conditions that differ, what is excluded, and the caveats."""
    comparison = report.comparison
    lines = [
        f"{row['kind']}: {row['what']}: control {row['control']}, test {row['test']}"
        for row in comparison.comparability.to_dict("records")
    ]
    lines += [f"excluded: {text}" for text in comparison.excluded]
    return [f"- {escape_markdown(line)}" for line in (*lines, *caveats(report))]


def sentence(report: ComparisonReport) -> str:
    """The verdict in one sentence of plain text."""
    names, comparison = report.names, report.comparison
    if comparison.blocked:
        return _why_blocked(report)
    changes = changes_text(comparison.metrics, comparison.pairs)
    if not changes:
        return f"{names[TEST]} is as fast as {names[CONTROL]}: p50 shows no meaningful change in any phase."
    weak = " (suggestive only: one run per side)" if comparison.pairs == 1 else ""
    return f"{names[TEST]} against {names[CONTROL]}: {changes}{weak}."


def _why_blocked(report: ComparisonReport) -> str:
    names, comparison = report.names, report.comparison
    correctness, stopped = comparison.correctness, comparison.stopped
    if not correctness.changed:
        return (
            f"{names[TEST]}: {len(stopped[TEST])} run(s) did not finish; "
            f"{names[CONTROL]}: {len(stopped[CONTROL])}. Last: {stopped[TEST][-1]}"
        )
    what = "other scores" if correctness.scores_changed else "more failures"
    return f"{names[TEST]} returns {what} than {names[CONTROL]}: see 'Is test still correct?' first."


def changes_text(metrics: pd.DataFrame, pairs: int) -> str:
    """What changed and what is open, such as "better in p50 of small -9.0%; inconclusive: p50 of large
    (minimum detectable effect 12.0%)". Empty when no p50 changed. ``metrics``: columns METRIC_COLUMNS."""
    rows = metrics.to_dict("records")
    p50 = [row for row in rows if row["metric"] == "p50"]
    too_few = f"too few pairs for a verdict ({pairs}; at least {FEWEST_PAIRS}, better 6):"
    parts = (
        ("worse in", [row for row in rows if row["verdict"].endswith(paired.REGRESSION)]),
        ("better in", [row for row in rows if row["verdict"].endswith(paired.IMPROVEMENT)]),
        ("changed, size uncertain:", [row for row in p50 if row["verdict"] == paired.SIZE_UNCERTAIN]),
        ("inconclusive:", [row for row in p50 if row["verdict"] == paired.INCONCLUSIVE]),
        (too_few, [row for row in p50 if row["verdict"] == paired.INSUFFICIENT]),
        ("not known:", [row for row in p50 if row["verdict"] == paired.NOT_KNOWN]),
    )
    return "; ".join(f"{words} {', '.join(map(_change_text, chosen))}" for words, chosen in parts if chosen)


def _change_text(row: Mapping[Any, Any]) -> str:
    """Such as "p50 of small +3.1% (+1.0% to +5.2%)"."""
    text = f"{row['metric']} of {row['phase']}"
    if row["verdict"] in (paired.INCONCLUSIVE, paired.INSUFFICIENT):
        smallest = row["detectable"]
        return f"{text} (minimum detectable effect {percent(smallest)})" if math.isfinite(smallest) else text
    if not math.isfinite(row["ratio"]):
        return text
    text += f" {percent_change(row['ratio'])}"
    if row["verdict"] != paired.SIZE_UNCERTAIN:
        return text
    return f"{text} ({percent_change(row['low'])} to {percent_change(row['high'])})"


def caveats(report: ComparisonReport) -> list[str]:
    """Limits of the numbers, as plain-text sentences."""
    comparison = report.comparison
    runs = (*comparison.control, *comparison.test)
    return [
        *([f"some pairs were not captured: {report.missing}"] if report.missing else []),
        *(f"{side} did not finish: {text}" for side in SIDES for text in comparison.stopped[side]),
        *_design_caveats(comparison, report.parameters.delta),
        *_run_caveats(runs),
    ]


def _design_caveats(comparison: Comparison, delta: float) -> list[str]:
    """The caveats that follow from how the runs were made and analysed."""
    sentences = []
    if comparison.pairs > 1 and not _alternated(comparison):
        sentences.append("the sides were not measured alternately: drift of the machine looks like a change")
    if not comparison.noise:
        sentences.append(
            "the noise floor was not measured (parameter noise_from): two launches of the same server "
            f"may differ by more than {percent(delta, 0)}"
        )
    marginal = comparison.components.query("method == 'marginal'")["phase"].unique()
    if len(marginal):
        sentences.append(
            f"the request path of {', '.join(marginal)} is marginal on both sides: it chains the shares of "
            "the threads and cannot show what overlaps"
        )
    if comparison.pairs == 1:
        sentences.append(
            "one run per side: intervals cover the variation within a run only; two launches differ by more"
        )
    return sentences


def _alternated(comparison: Comparison) -> bool:
    """Whether the start times of the two sides interleave."""
    started = {side: [run.run.manifest.started_s for run in runs] for side, runs in comparison.sides.items()}
    first, second = started[CONTROL], started[TEST]
    return max(first) >= min(second) and max(second) >= min(first)


def _run_caveats(runs: Sequence[RunAnalysis]) -> list[str]:
    """The caveats about the runs themselves."""
    sentences = []
    statuses = {run.status() for run in runs}
    if statuses - {"complete"}:
        sentences.append(f"not all runs are complete: {', '.join(sorted(statuses))}")
    checks = [check for run in runs for phase in run.phases for check in phase.quality.checks]
    failed = sum(check.passed is False for check in checks)
    if failed:
        sentences.append(f"{failed} checks failed in these runs: see Runs, and summary.md of each run")
    return sentences


def history_markdown(history: History | None) -> str:
    """A Markdown list of the summaries that could not be read, empty when all could; how to get a history
    when there is none."""
    if history is None:
        return _NO_HISTORY
    return "\n".join(f"- could not be read: {escape_markdown(text)}" for text in history.unreadable)
