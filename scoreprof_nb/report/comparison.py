"""What the comparing notebook shows and the files it leaves: verdict, tables, comparison.json and .md."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scoreprof_nb.analysis.run_analysis import RunAnalysis, analyse
from scoreprof_nb.comparison import paired
from scoreprof_nb.comparison.comparability import UNLIKE, conditions_of, differences
from scoreprof_nb.comparison.compare import BLOCKED, Comparison, compare, noise_of
from scoreprof_nb.comparison.history import History, read_history
from scoreprof_nb.comparison.metrics import Noise
from scoreprof_nb.comparison.verdict import MIXED, changes_text, overall
from scoreprof_nb.components.rules import RulesError, load_rules
from scoreprof_nb.flamegraph.differential import Side, diff_flame_graph
from scoreprof_nb.parameters.compare import CONTROL, FEWEST_PAIRS, SIDES, TEST, CompareParameters
from scoreprof_nb.parameters.profile import ParameterError
from scoreprof_nb.report.comparison_tables import (
    COMPONENTS,
    components_table,
    functions_table,
    metrics_table,
    scores_table,
    stacks_table,
)
from scoreprof_nb.report.summary import markdown_table
from scoreprof_nb.run_folder.store import load_run, write_json, write_text
from scoreprof_nb.run_folder.sync import published_path

SCHEMA_VERSION = 1
HISTORY = "history.csv"
JSON, MARKDOWN = "comparison.json", "comparison.md"
FLAME_GRAPHS: Mapping[Side, str] = {"test": "diff_test.svg", "control": "diff_control.svg"}
UNLIKE_MARK = "UNLIKE CAPTURES"


@dataclass(frozen=True)
class ComparisonReport:
    """A comparison with what is said of it.

    ``stopped``: by side, each run that did not get to its end, and why; ``missing``: why pairs are missing.
    """

    parameters: CompareParameters
    comparison: Comparison
    noise: Noise
    stopped: Mapping[str, Sequence[str]]
    missing: str | None = None

    @property
    def folder(self) -> Path:
        return Path(self.parameters.compare_dir)

    def _kept_at(self, path: Path) -> Path:
        return published_path(path, self.folder, self.parameters.results_dir)

    @property
    def mark(self) -> str:
        """What every figure and table of unlike captures says; empty for like ones."""
        return f"{UNLIKE_MARK}: " if not self.comparison.incomparable.empty else ""

    @property
    def blocked(self) -> bool:
        """Whether test returns other scores, more failures, or did not always run to its end."""
        return self.comparison.blocked or len(self.stopped[TEST]) > len(self.stopped[CONTROL])

    @property
    def verdict(self) -> str:
        """One word for the whole: blocked, or as ``compare_verdict.overall`` has it."""
        return BLOCKED if self.blocked else overall(self.comparison.metrics)

    @property
    def gate_fails(self) -> bool:
        """Whether ``fail_on`` asks for exit code 3: what could not be judged does not pass."""
        if self.parameters.fail_on == "regression":
            worse = (BLOCKED, MIXED, paired.REGRESSION, paired.SUGGESTIVE + paired.REGRESSION)
            return self.verdict in (*worse, paired.NOT_KNOWN, paired.INSUFFICIENT)
        return self.parameters.fail_on == "not_improved" and self.verdict != paired.IMPROVEMENT

    def sentence(self) -> str:
        """The verdict in one sentence."""
        names = self._names()
        if self.blocked:
            return self._why_blocked()
        found = changes_text(self.comparison.metrics, self.comparison.pairs)
        if not found:
            return f"{names[TEST]} is as fast as {names[CONTROL]}: no meaningful change of p50 in any phase."
        weak = " (suggestive only: one run a side)" if self.comparison.pairs == 1 else ""
        return f"{names[TEST]} against {names[CONTROL]}: {found}{weak}."

    def _why_blocked(self) -> str:
        names, correctness = self._names(), self.comparison.correctness
        if not correctness.changed:
            return (
                f"{names[TEST]} did not run to its end {len(self.stopped[TEST])} time(s), "
                f"{names[CONTROL]} {len(self.stopped[CONTROL])}: {self.stopped[TEST][-1]}"
            )
        what = "other scores" if correctness.scores_changed else "more failures"
        return f"{names[TEST]} returns {what} than {names[CONTROL]}: see 'Is it still right?' first."

    def _names(self) -> Mapping[str, str]:
        return {side: f"{side} ({runs[0].run.manifest.label})" for side, runs in self._sides.items()}

    @property
    def _sides(self) -> Mapping[str, Sequence[RunAnalysis]]:
        return {CONTROL: self.comparison.control, TEST: self.comparison.test}

    def verdict_text(self) -> str:
        """Markdown: the verdict, what was compared, what to mind."""
        lines = [f"**{self.mark}{self.verdict}.** {self.sentence()}", ""]
        lines.append(f"- {self.comparison.pairs} run(s) a side, phases {', '.join(self.comparison.phases)}")
        return "\n".join([*lines, *self._conditions()])

    def _conditions(self) -> list[str]:
        """Markdown: what differs between the sides, what was left out, what to mind."""
        return [
            *(
                f"- {row['kind']}: {row['what']}: control {row['control']}, test {row['test']}"
                for row in self.comparison.comparability.to_dict("records")
            ),
            *(f"- left out: {text}" for text in self.comparison.excluded),
            *(f"- {text}" for text in self.caveats()),
        ]

    def caveats(self) -> list[str]:
        """What a reader has to mind before using the numbers."""
        found = [f"not all pairs were captured: {self.missing}"] if self.missing else []
        for side in SIDES:
            found += [f"{side} did not run to its end: {text}" for text in self.stopped[side]]
        started = {side: [run.run.manifest.started_s for run in runs] for side, runs in self._sides.items()}
        apart = max(started[CONTROL]) < min(started[TEST]) or max(started[TEST]) < min(started[CONTROL])
        if apart and self.comparison.pairs > 1:
            found.append("the sides were not measured in turn: a drift of the machine counts as a change")
        if not self.noise:
            found.append(
                "the A/A noise of this machine was not measured (parameter noise_from): two launches of one "
                f"server may differ by more than {self.parameters.delta:.0%}"
            )
        marginal = self.comparison.components.query("method == 'marginal'")["phase"].unique()
        if len(marginal):
            found.append(
                f"the request path of {', '.join(marginal)} is marginal on both sides: the threads' shares, "
                "chained, which cannot tell what overlaps"
            )
        if self.comparison.pairs == 1:
            found.append(
                "one run a side: intervals are of the variation within a run; two launches differ by more"
            )
        statuses = {run.status() for run in (*self.comparison.control, *self.comparison.test)}
        if statuses - {"complete"}:
            found.append(f"not all runs are complete: {', '.join(sorted(statuses))}")
        failed = sum(
            check.passed is False
            for run in (*self.comparison.control, *self.comparison.test)
            for phase in run.phases
            for check in phase.checks
        )
        if failed:
            found.append(f"{failed} checks of the runs failed: see Runs, and each run's own summary.md")
        return found

    def as_json(self) -> dict[str, Any]:
        """comparison.json, schema_version 1; the README documents it. Numbers not known are null."""
        comparison = self.comparison
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "blocked": self.blocked,
            "missing": self.missing,
            "stopped": {side: list(self.stopped[side]) for side in SIDES},
            "unlike": not comparison.incomparable.empty,
            "pairs": comparison.pairs,
            "delta": self.parameters.delta,
            "noise": self._noise_by_phase(),
            **{
                side: {
                    "label": runs[0].run.manifest.label,
                    "runs": [run.run.manifest.run_id for run in runs],
                    "folders": [str(self._kept_at(run.run.folder)) for run in runs],
                }
                for side, runs in self._sides.items()
            },
            "left_out": list(comparison.excluded),
            "mind": self.caveats(),
            "differences": _records(comparison.comparability),
            "metrics": _records(comparison.metrics),
            "components": _records(comparison.components),
            "scores": _records(comparison.correctness.scores),
            "counts": _records(comparison.correctness.counts),
            "batching": _records(comparison.batching),
            "functions": _records(functions_table(self.comparison)),
            "stacks": _records(stacks_table(self.comparison)),
            "runs": _records(comparison.runs),
        }

    def _noise_by_phase(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for (phase, name), share in self.noise.items():
            found.setdefault(phase, {})[name] = share
        return found

    def as_markdown(self) -> str:
        """comparison.md: fit for a comment on a pull request, bounded in length."""
        columns = ("phase", "metric", *SIDES, "test / control", "verdict")
        metrics = _texts(metrics_table(self.comparison), columns)
        table = components_table(self.comparison)
        if not table.empty:
            table = table[table["verdict"] != paired.NO_CHANGE].head(COMPONENTS)
        columns = ("phase", "component", "control ms", "test ms", "change ms", "verdict")
        components = _texts(table, columns)
        right = (
            "Scores or failures CHANGED: see the report."
            if self.comparison.blocked
            else f"Scores: {', '.join(dict.fromkeys(scores_table(self.comparison)['same']))}."
        )
        return "\n".join(
            [
                f"# {self.mark}{self.verdict}",
                "",
                self.sentence(),
                "",
                *self._conditions(),
                "",
                *markdown_table(metrics),
                "",
                right,
                "",
                "Request path, the components that changed most (ms per request, 95 % interval):",
                "",
                *markdown_table(components),
                "",
                f"Report: {self._kept_at(self.folder / 'report.html')}",
                "",
            ]
        )

    def write_files(self) -> None:
        """comparison.json, comparison.md and the two differential flame graphs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / JSON, self.as_json())
        write_text(self.folder / MARKDOWN, self.as_markdown())
        for side, name in FLAME_GRAPHS.items():
            write_text(self.folder / name, self.flame_graph(side))

    def flame_graph(self, widths: Side) -> str:
        """SVG: the stacks of both sides, all phases together, in ms per request."""
        stacks, names = self.comparison.stacks, self._names()
        phases = max(stacks["phase"].nunique(), 1)
        columns = (stacks[name] for name in ("stack", "control_ms", "test_ms"))
        return diff_flame_graph(
            ((stack, control / phases, test / phases) for stack, control, test in zip(*columns, strict=True)),
            widths=widths,
            title=f"{self.mark}{names[TEST]} against {names[CONTROL]}",
            subtitle=f"mean ms per request of threads at work, phases {', '.join(self.comparison.phases)}; "
            f"widths: {widths}",
        )

    def files_table(self) -> pd.DataFrame:
        """Columns: file (in the folder), what."""
        what = {
            "report.html": "this report for a browser",
            "report.ipynb": "this report",
            MARKDOWN: "the verdict as text, for a comment on a pull request",
            JSON: "every number, for tools",
            FLAME_GRAPHS["test"]: "differential flame graph with the widths of test: new stacks are visible",
            FLAME_GRAPHS["control"]: "the same with the widths of control: vanished stacks are visible",
        }
        rows = [(str(self._kept_at(self.folder / name)), text) for name, text in what.items()]
        rows += [
            (
                str(self._kept_at(run.run.folder)),
                f"run {run.run.manifest.run_id}: summary.md, recordings, server.log",
            )
            for run in (*self.comparison.control, *self.comparison.test)
        ]
        return pd.DataFrame(rows, columns=["file", "what"])


def make_comparison(
    parameters: CompareParameters,
    folders: tuple[Sequence[Path], Sequence[Path]],
    stopped: Mapping[str, Sequence[str]],
    missing: str | None,
    say: Callable[[str], None],
) -> ComparisonReport:
    """Load, analyse and compare the runs of control and test; ``stopped`` and ``missing`` as in the report.

    Raises RunFolderError, and ParameterError for unlike captures that are not allowed, a rules file or a
    noise file that cannot be used, and sides without a common phase.
    """
    try:
        rules = load_rules(parameters.rules_file)
    except RulesError as error:
        raise ParameterError("rules_file", parameters.rules_file, str(error)) from error
    noise = read_noise(parameters.noise_from)
    sides = []
    for side, paths in zip(SIDES, folders, strict=True):
        runs = []
        for number, path in enumerate(paths, start=1):
            say(f"analysing {side}, run {number} of {len(paths)}")
            runs.append(analyse(load_run(path), rules, parameters.seed, lambda text: None))
        sides.append(runs)
    try:
        comparison = compare(
            sides[0], sides[1], parameters.seed, parameters.delta, noise, parameters.compared
        )
    except ValueError as error:
        raise ParameterError(TEST, parameters.test, str(error)) from error
    _refuse_incomparable(parameters, comparison.incomparable)
    return ComparisonReport(parameters, comparison, noise, stopped, missing)


def check_comparability(parameters: CompareParameters, provenance: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ParameterError when the sides that are about to be captured would not be alike.

    ``provenance``: by side, of its server, model and machine.
    """
    facts = [
        [conditions_of(parameters.of_run(side, Path("unused")).as_dict(), provenance[side])] for side in SIDES
    ]
    _refuse_incomparable(parameters, differences(facts, parameters.compared))


def _refuse_incomparable(parameters: CompareParameters, found: pd.DataFrame) -> None:
    unlike = found[found["kind"] == UNLIKE]
    if not unlike.empty and not parameters.allow_unlike:
        listed = "; ".join(
            f"{row['what']}: control {row['control']}, test {row['test']}"
            for row in unlike.to_dict("records")
        )
        raise ParameterError(
            "allow_unlike", False, f"the captures are not alike, which True would allow and mark: {listed}"
        )


def past_runs(parameters: CompareParameters) -> History | None:
    """All runs in the folder ``history``, as history.csv too; None when none is asked for.

    Raises ParameterError.
    """
    if not parameters.history:
        return None
    found = read_history(Path(parameters.history).expanduser())
    if found.runs.empty:
        raise ParameterError("history", parameters.history, "holds no run with a summary.json")
    found.table().to_csv(Path(parameters.compare_dir) / HISTORY, index=False)
    return found


def read_noise(path: str) -> Noise:
    """The noise floor of an A/A comparison, by phase and metric. Raises ParameterError."""
    if not path:
        return {}
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        if raw["pairs"] < FEWEST_PAIRS:
            raise ValueError(f"of {raw['pairs']} pairs, {FEWEST_PAIRS} are needed")
        other = [row["what"] for row in raw["differences"] if row["what"] != "label"]
        if other:
            raise ValueError(f"not of a server with itself: the sides differ in {', '.join(other)}")
        tables = [pd.DataFrame(raw[name]) for name in ("metrics", "components")]
        return noise_of(*(table.astype({"low": float, "high": float}) for table in tables))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParameterError("noise_from", path, f"cannot be used: {error}") from error


def _texts(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, str]]:
    return [{name: _text(row[name]) for name in columns} for row in table.to_dict("records")]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if math.isfinite(value) else "n/a"
    return str(value)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON has them: NaN and infinities are null, tuples are lists."""
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return records
