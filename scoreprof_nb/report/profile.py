"""What the notebook shows and the files it leaves: verdict, tables, summary, flame graph."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scoreprof_nb.analysis.breakdown import working_stacks
from scoreprof_nb.analysis.latency import QUANTILES, ObserverEffect
from scoreprof_nb.analysis.run_analysis import (
    PhaseAnalysis,
    RunAnalysis,
    analyse,
    unclassified_table,
    unmatched_rules,
)
from scoreprof_nb.components.catalog import NAMES
from scoreprof_nb.components.rules import RulesError, RuleSet, load_rules
from scoreprof_nb.flamegraph.svg import flame_graph
from scoreprof_nb.parameters.profile import MeasurementParameters, ParameterError, Parameters
from scoreprof_nb.report.findings import (
    MARGINAL,
    SMALLEST_SHARE,
    Finding,
    busiest_thread,
    findings,
    latency_with_interval,
    path_column,
    with_interval,
)
from scoreprof_nb.report.summary import markdown, summary
from scoreprof_nb.run_folder.store import load_run, write_json, write_text
from scoreprof_nb.run_folder.sync import published_path
from scoreprof_nb.stacks.table import short_path

FLAME_GRAPH = "score_api_profile.svg"
REPORT = "report.ipynb"
HOT_FUNCTIONS = 12
SHOWN_FINDINGS = 12
SHOWN_RULES = 5
THREAD_COMPONENTS = 5
TIMELINE_COLUMNS = ("phase", "time_s", "latency_ms", "block", "profiled", "compile_hit", "split", "failed")


@dataclass(frozen=True)
class Report:
    """A run's analysis with what is said about it."""

    parameters: Parameters
    rules: RuleSet
    analysis: RunAnalysis
    findings: tuple[Finding, ...]

    @property
    def folder(self) -> Path:
        return self.analysis.run.folder

    @property
    def has_path(self) -> bool:
        """Whether a request path is defined for any phase."""
        return not self.analysis.paths().empty

    def verdict(self) -> str:
        """Markdown: where the time goes, in a few lines."""
        manifest = self.analysis.run.manifest
        lines = [f"**Run `{manifest.run_id}` ({manifest.label}): {self.analysis.status()}.**"]
        if manifest.failure:
            lines.append(f"\n```text\n{manifest.failure}\n```\n")
        lines += [f"- **{phase.name}**: {_phase_verdict(phase)}" for phase in self.analysis.phases]
        failed = [check for phase in self.analysis.phases for check in phase.checks if check.passed is False]
        if failed:
            lines.append(
                f"\n**{len(failed)} checks failed** - see Capture quality before using these numbers."
            )
        idle = unmatched_rules(self.analysis, self.rules)
        if idle:
            more = f" and {len(idle) - SHOWN_RULES} more" if len(idle) > SHOWN_RULES else ""
            lines.append(f"\nRules that matched nothing in this run: {', '.join(idle[:SHOWN_RULES])}{more}.")
        return "\n".join(lines)

    def findings_table(self) -> pd.DataFrame:
        """The largest findings. Columns: phase, component, ms per request (of CPU time where the phase has
        no request path), at most, what it is."""
        paths = self.analysis.paths()
        of_path = set() if paths.empty else set(paths["phase"])
        return pd.DataFrame(
            [
                {
                    "phase": finding.phase,
                    "component": finding.component,
                    "ms per request": with_interval(finding.ms_per_request, finding.low, finding.high)
                    + ("" if finding.phase in of_path else " CPU"),
                    "at most": "" if finding.max_speedup is None else f"{finding.max_speedup:.2f}x",
                    "what it is": finding.advice,
                }
                for finding in self.findings[:SHOWN_FINDINGS]
            ]
        )

    def latency_table(self) -> pd.DataFrame:
        """Columns: phase, which requests, n, mean and percentiles in ms with their intervals, and, of all
        requests without py-spy, requests and items per second."""
        per_s = {phase.name: phase.throughput for phase in self.analysis.phases}
        rows = [
            {
                "phase": row["phase"],
                "requests": row["which"],
                "n": row["requests"],
                **{f"{name} ms": latency_with_interval(row.to_dict(), name) for name in ("mean", *QUANTILES)},
                "requests/s, items/s": _rates(per_s[row["phase"]] if row["which"] == "all" else None),
            }
            for _, row in self.analysis.table("latency").iterrows()
            if row["requests"] or row["which"] == "all"
        ]
        return pd.DataFrame(rows)

    def latency_overview(self) -> pd.DataFrame:
        """The rows of all requests without py-spy, one per phase."""
        table = self.analysis.table("latency")
        return table[table["which"] == "all"].drop(columns="which")

    def hot_table(self) -> pd.DataFrame:
        """The functions with the most self time, the first of each phase."""
        hot = self.analysis.table("hot").assign(file=lambda table: table["file"].map(short_path))
        return hot.groupby("phase", sort=False).head(HOT_FUNCTIONS)

    def path_table(self) -> pd.DataFrame:
        """The request path: one row per component, one column per phase."""
        return _wide(self._named_paths(), "mean_ms")

    def speedup_table(self) -> pd.DataFrame:
        """``max_speedup`` of each component that is at least 1 % of a request, by phase."""
        paths = self._named_paths()
        paths = paths[paths["share"] >= SMALLEST_SHARE]
        shown = paths.assign(text=paths["max_speedup"].map(lambda value: f"{value:.2f}x"))
        return _pivoted(shown, "mean_ms", "text")

    def _named_paths(self) -> pd.DataFrame:
        """The request paths, with the method in the phase's name where it is the marginal one."""
        paths = self.analysis.paths()
        names = {phase.name: path_column(phase) for phase in self.analysis.phases}
        return paths.assign(phase=paths["phase"].map(names))

    def cpu_table(self) -> pd.DataFrame:
        """CPU ms per request: one row per component, one column per phase."""
        return _wide(self.analysis.table("cpu"), "cpu_ms")

    def threads_table(self) -> pd.DataFrame:
        """One row per thread and phase: ticks, CPU seconds, and its largest components."""
        rows = []
        keys = ["phase", "process", "thread"]
        for (phase, process, thread), of_thread in self.analysis.table("threads").groupby(keys, sort=False):
            largest = of_thread.sort_values("share", ascending=False).head(THREAD_COMPONENTS)
            text = ", ".join(
                f"{row['component']} {row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
                for _, row in largest.iterrows()
            )
            first = of_thread.iloc[0]
            rows.append((phase, process, thread, first["ticks"], first["cpu_s"], text))
        columns = [*keys, "ticks", "CPU s", "largest components, share of ticks (95 % interval)"]
        return pd.DataFrame(rows, columns=columns)

    def path_notes(self) -> str:
        """Markdown: how the request path of each phase was found, or why there is none."""
        lines = []
        for phase in self.analysis.phases:
            if phase.path.method is None:
                lines.append(f"- {phase.name}: no request path: {phase.path.reason}")
            else:
                note = f" ({phase.path.reason})" if phase.path.reason else ""
                lines.append(f"- {phase.name}: {phase.path.method}{note}")
        return "\n".join(lines)

    def batching_table(self) -> pd.DataFrame:
        """One row per phase: batches, splits and compiles by the server's log."""
        return pd.DataFrame([phase.batching for phase in self.analysis.phases])

    def quality_table(self) -> pd.DataFrame:
        """One row per phase: how good the capture is."""
        rows = []
        for phase in self.analysis.phases:
            quality, observer = phase.quality, phase.observer
            rows.append(
                {
                    "phase": phase.name,
                    "rate Hz": quality.rate_hz if quality else None,
                    "effective rate Hz": quality.effective_rate_hz if quality else None,
                    "ticks": quality.ticks if quality else 0,
                    "lost ticks %": 100 * quality.lost_share if quality else None,
                    "behind s": quality.behind_s if quality else None,
                    "tick mismatch": _ticks_and_ms(quality.mismatch, quality.rate_hz) if quality else None,
                    "threads ended within a block": quality.ended if quality else None,
                    "unclassified %": 100 * quality.unclassified_share if quality else None,
                    "p50 with / without py-spy": _ratio(observer),
                    "p50 change it could show %": _percent(phase.minimum_detectable_effect),
                    "scores consistent": phase.scores.consistent,
                    "largest score difference": phase.scores.max_difference,
                    "warm-up": phase.phase.record.warmup.ended,
                }
            )
        return pd.DataFrame(rows)

    def checks_table(self) -> pd.DataFrame:
        """Columns: phase, check, result (passed, FAILED, not run), found."""
        words = {True: "passed", False: "FAILED", None: "not run"}
        return pd.DataFrame(
            [
                {
                    "phase": check.phase,
                    "check": check.name,
                    "result": words[check.passed],
                    "found": check.text,
                }
                for phase in self.analysis.phases
                for check in phase.checks
            ]
        )

    def observer_table(self) -> pd.DataFrame:
        """Columns: phase, p50_ratio, low, high (NaN where it is not known)."""
        rows = [
            (phase.name, phase.observer.p50_ratio, phase.observer.low, phase.observer.high)
            for phase in self.analysis.phases
        ]
        return pd.DataFrame(rows, columns=["phase", "p50_ratio", "low", "high"]).astype(
            {"p50_ratio": float, "low": float, "high": float}
        )

    def timeline_table(self) -> pd.DataFrame:
        """Every measured request: phase, time_s, latency_ms, block, profiled, compile_hit, split, failed."""
        parts = []
        for phase in self.analysis.phases:
            table = phase.requests.table
            start_ns = phase.phase.record.blocks[0].start_s * 1e9
            parts.append(
                pd.DataFrame(
                    {
                        "phase": phase.name,
                        "time_s": (table["sent_ns"] - start_ns) / 1e9,
                        "latency_ms": table["latency_ms"],
                        "block": table["block"],
                        "profiled": table["profiled"],
                        "compile_hit": table["compile_hit"].fillna(False).astype(bool),
                        "split": table["split"].fillna(False).astype(bool),
                        "failed": ~table["ok"],
                    }
                )
            )
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(TIMELINE_COLUMNS))

    def provenance_table(self) -> pd.DataFrame:
        """Columns: what, value."""
        flat = {
            f"{name}.{inner}" if isinstance(value, dict) else name: shown
            for name, value in self.analysis.run.provenance.items()
            for inner, shown in (value.items() if isinstance(value, dict) else [("", value)])
        }
        return pd.DataFrame([(name, str(value)) for name, value in flat.items()], columns=["what", "value"])

    def parameters_table(self) -> pd.DataFrame:
        """The parameters that the run was captured with. Columns: parameter, value."""
        items = self.analysis.run.manifest.parameters.items()
        return pd.DataFrame([(name, repr(value)) for name, value in items], columns=["parameter", "value"])

    def unclassified(self) -> pd.DataFrame:
        """The most frequent unclassified stacks, each with a rule; shares are of the thread's samples."""
        table = unclassified_table(self.analysis, self.rules)
        return table.assign(share=100 * table["share"]).rename(columns={"share": "% of thread"})

    def files_table(self) -> pd.DataFrame:
        """Columns: file (in the run folder), kB, what."""
        meaning = {
            "report.ipynb": "this report",
            "report.html": "this report for a browser",
            FLAME_GRAPH: "flame graph of all phases; open it in a browser",
            "summary.json": "every number, for tools",
            "summary.md": "the summary as text",
            "server.log": "the server's log, each line with the time it was read",
            "manifest.json": "parameters, status, checksums",
            "provenance.json": "versions, host, limits",
        }
        rows = []
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                what = meaning.get(path.name, "")
                if path.name.endswith(".speedscope.json"):
                    what = "py-spy's recording; opens in speedscope as it is"
                rows.append((str(path.relative_to(self.folder)), round(path.stat().st_size / 1000, 1), what))
        return pd.DataFrame(rows, columns=["file", "kB", "what"])

    def write_files(self) -> None:
        """summary.json, summary.md and the flame graph."""
        found = list(self.findings)
        report = published_path(self.folder / REPORT, self.folder, self.parameters.results_dir)
        write_json(self.folder / "summary.json", summary(self.analysis, found))
        write_text(self.folder / "summary.md", markdown(self.analysis, found, str(report)))
        write_text(self.folder / FLAME_GRAPH, self.flame_graph())

    def flame_graph(self) -> str:
        """SVG: what the threads do while they work, all phases together, in ms per request."""
        manifest = self.analysis.run.manifest
        names = ", ".join(phase.name for phase in self.analysis.phases)
        return flame_graph(
            _flame_stacks(self.analysis.phases),
            title=f"Score API of sglang-jax: {manifest.label}",
            subtitle=f"phases {names}: mean ms per request of each stack, of threads at work only",
            unit="ms per request",
        )


def _rates(throughput: tuple[float, float] | None) -> str:
    return ", ".join(f"{rate:.1f}" for rate in throughput) if throughput else ""


def _ratio(observer: ObserverEffect) -> str | None:
    if observer.p50_ratio is None:
        return None
    return f"{observer.p50_ratio:.2f} ({observer.low:.2f} to {observer.high:.2f})"


def _ticks_and_ms(ticks: int, rate_hz: int) -> str:
    return f"{ticks} ({ticks / rate_hz * 1e3:.0f} ms)"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _wide(table: pd.DataFrame, value: str) -> pd.DataFrame:
    if table.empty:
        return table
    columns = (table[name] for name in (value, "low", "high"))
    return _pivoted(table.assign(text=list(map(with_interval, *columns))), value, "text")


def _pivoted(table: pd.DataFrame, value: str, text: str) -> pd.DataFrame:
    """Components as rows, the largest first; phases as columns."""
    if table.empty:
        return table
    order = table.groupby("component")[value].sum().sort_values(ascending=False).index
    phases = list(dict.fromkeys(table["phase"]))
    wide = table.pivot(index="component", columns="phase", values=text).loc[order, phases].fillna("")
    wide.columns.name = None
    return wide.reset_index()


def rules_of(parameters: MeasurementParameters) -> RuleSet:
    """The component rules. Raises ParameterError when the user's file cannot be used."""
    try:
        return load_rules(parameters.rules_file)
    except RulesError as error:
        raise ParameterError("rules_file", parameters.rules_file, str(error)) from error


def make_report(parameters: Parameters) -> Report:
    """Load and analyse the run folder. Raises RunFolderError, ParameterError for the rules file."""
    rules = rules_of(parameters)
    analysis = analyse(load_run(Path(parameters.run_dir)), rules, parameters.seed, lambda text: None)
    return Report(parameters, rules, analysis, tuple(findings(analysis)))


def _phase_verdict(phase: PhaseAnalysis) -> str:
    plain = phase.latency.set_index("which").loc["all"].to_dict()
    shown = {name: latency_with_interval(plain, name, " ms") for name in ("p50", "mean")}
    text = f"p50 {shown['p50']}, mean {shown['mean']} over {plain['requests']} requests without py-spy"
    if phase.failed:
        text += f"; **{phase.failed} requests failed**"
    path = phase.path.table
    if path.empty:
        return f"{text}. No request path: {phase.path.reason}. {busiest_thread(phase)}".rstrip()
    largest = path.head(4).to_dict("records")
    top = "; ".join(
        f"{row['component']} {with_interval(row['mean_ms'], row['low'], row['high'], ' ms')}"
        f", {row['share']:.0%}"
        for row in largest
    )
    hit = phase.batching["compile_hit"]
    compiled = f" Requests hit by a compile: {hit}." if hit else ""
    latency_ms = path["latency_ms"].iloc[0]
    marked = f"; {MARGINAL}" if phase.path.method == "marginal" else ""
    return f"{text}. The average profiled request ({latency_ms:.1f} ms{marked}) waits for: {top}.{compiled}"


def _flame_stacks(phases: Sequence[PhaseAnalysis]) -> Iterator[tuple[Sequence[str], str, float]]:
    served = [phase for phase in phases if phase.served > 0]  # where all requests failed there is no mean
    for phase in served:
        for stack in working_stacks(phase.ticks):
            ms = stack.wall_ms / phase.served / len(served)
            yield stack.labels(), NAMES[stack.component], ms
