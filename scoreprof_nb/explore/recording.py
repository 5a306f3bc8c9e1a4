"""A py-spy recording of one's own: threads, components, functions, flame graph, unclassified stacks.

A recording alone has no requests: there are no latencies, no request path and no ms per request, only shares
of samples. py-spy's raw format counts stacks: then it is not known either in which order they came.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.evidence import stack_text
from scoreprof_nb.components.classify import ThreadActivity, classify, unclassified_stacks
from scoreprof_nb.components.headline import headline_group
from scoreprof_nb.components.rules import RuleSet, load_rules, rule_text
from scoreprof_nb.explore.functions import callees, callers
from scoreprof_nb.flamegraph.page import View, flame_frame
from scoreprof_nb.flamegraph.svg import flame_graph
from scoreprof_nb.report.blocks import Html
from scoreprof_nb.report.flame_views import Stack, flame_boxes
from scoreprof_nb.report.format import escape_html
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.table import Frame, StackTable, short_path

STACK_COLUMNS = ("process", "thread", "component", "works", "function", "samples", "frames", "stack")


@dataclass(frozen=True, repr=False)
class Recording:
    """A recording, classified. ``path``: its file."""

    path: Path
    table: StackTable
    rules: RuleSet
    activities: tuple[ThreadActivity, ...]

    @classmethod
    def load(cls, path: str | Path, rules_file: str | Path = "") -> "Recording":
        """Read a recording in py-spy's format speedscope, raw or chrometrace, gzipped or not.

        Raises ImportFailed for a file that cannot be read, RulesError for rules that cannot be used.
        """
        rules = load_rules(str(rules_file))
        table = read_recording(Path(path))
        return cls(Path(path), table, rules, classify(table, rules))

    def about(self) -> list[str]:
        """Sentences: what the recording is, and what it cannot tell."""
        samples = sum(thread.ticks for thread in self.table.threads)
        sentences = [
            f"{self.path.name}: {samples:,} samples of {len(self.table.threads)} threads, "
            f"{self.table.n_stacks:,} different stacks."
        ]
        if self.table.interval_s:
            sentences.append(
                f"A sample stands for {1e3 * self.table.interval_s:.3g} ms of its thread's time."
            )
        sentences.append(
            "There are no latencies, no request path and no ms per request: a recording holds no requests. "
            "`make report` measures both at the same time."
        )
        if not self.table.ordered:
            sentences.append(
                "The samples are counts of stacks (py-spy's raw format): their order in time is not known. "
                "Record with `--format speedscope` to keep it."
            )
        if self.table.skipped:
            sentences.append(
                f"{len(self.table.skipped)} parts of the file could not be read and are left out."
            )
        return sentences

    @cached_property
    def stacks(self) -> pd.DataFrame:
        """Every stack of every thread: columns STACK_COLUMNS, the most samples first.

        ``works``: the thread makes progress in it, by its component; ``frames``: ``function (file)``, root
        first; ``stack``: text with lines, innermost first.
        """
        rows = [
            (
                *(activity.role.process, activity.role.thread, component),
                *(self.rules.catalog[component].work, frames[-1].name if frames else "(no Python frame)"),
                *(samples, tuple(f"{frame.name} ({short_path(frame.file)})" for frame in frames)),
                stack_text(frames) if frames else "",
            )
            for activity, component, frames, samples in self._counts()
        ]
        table = pd.DataFrame(rows, columns=list(STACK_COLUMNS))
        return table.sort_values("samples", ascending=False, kind="stable", ignore_index=True)

    def _counts(self) -> Iterator[tuple[ThreadActivity, str, tuple[Frame, ...], int]]:
        for activity in self.activities:
            if activity.role.excluded or not activity.samples.ticks:
                continue
            pairs, counts = np.unique(
                np.stack([activity.samples.stack_ids, activity.components]), axis=1, return_counts=True
            )
            for (stack_id, component), count in zip(pairs.T, counts, strict=True):
                name = self.rules.catalog.names[component]
                yield activity, name, self.table.stack(int(stack_id)), int(count)

    def components(self) -> pd.DataFrame:
        """The share of each thread's samples by component: columns process, thread, component, group,
        samples, share (0 to 1, of the thread's samples)."""
        keys = ["process", "thread", "component"]
        table = self.stacks.groupby(keys, sort=False)["samples"].sum().reset_index()
        total = table.groupby(keys[:2])["samples"].transform("sum")
        groups = [headline_group(self.rules.catalog[name]).name for name in table["component"]]
        table = table.assign(group=groups, share=table["samples"] / total)
        table = table.sort_values(["process", "thread", "samples"], ascending=[True, True, False])
        return table[["process", "thread", "component", "group", "samples", "share"]].reset_index(drop=True)

    def threads(self) -> pd.DataFrame:
        """One row per thread: columns process, thread, samples, working_share (0 to 1), busiest_component."""
        works = self.stacks.assign(working=self.stacks["samples"] * self.stacks["works"])
        table = works.groupby(["process", "thread"], sort=False)[["samples", "working"]].sum().reset_index()
        first = works[works["works"]].groupby(["process", "thread"])["component"].first()
        busiest = [
            first.get((process, thread), "none")
            for process, thread in zip(table["process"], table["thread"], strict=True)
        ]
        table = table.assign(working_share=table["working"] / table["samples"], busiest_component=busiest)
        return table.drop(columns="working")

    def functions(self) -> pd.DataFrame:
        """Functions of working threads: columns function (with file), component, self_samples, samples (with
        callees), share (of all working samples, 0 to 1, with callees); the most self time first."""
        alone, whole, component = Counter[str](), Counter[str](), dict[str, str]()
        working = self.stacks[self.stacks["works"]]
        for frames, samples, name in zip(
            working["frames"], working["samples"], working["component"], strict=True
        ):
            for frame in set(frames):
                whole[frame] += samples
                component.setdefault(frame, name)
            if frames:
                alone[frames[-1]] += samples
        total = max(int(working["samples"].sum()), 1)
        rows = [(f, component[f], alone[f], n, n / total) for f, n in whole.items()]
        columns = ["function", "component", "self_samples", "samples", "share"]
        table = pd.DataFrame(rows, columns=columns)
        return table.sort_values(["self_samples", "samples"], ascending=False, ignore_index=True)

    def callers(self, function: str) -> pd.DataFrame:
        """Who calls a function: columns function, samples, share."""
        return callers(self.stacks, function, "samples")

    def callees(self, function: str) -> pd.DataFrame:
        """What a function calls: columns function, samples, share."""
        return callees(self.stacks, function, "samples")

    def unclassified(self, limit: int = 10) -> pd.DataFrame:
        """The most frequent unclassified stacks: columns process, thread, samples, stack, rule (to paste)."""
        rows = []
        for (role, stack_id), samples in unclassified_stacks(self.activities, self.rules.catalog).items():
            frames = self.table.stack(stack_id)
            rule = rule_text(self.rules, role.process, role.thread, frames[-1]) if frames else ""
            rows.append((role.process, role.thread, samples, stack_text(frames), rule))
        columns = ["process", "thread", "samples", "stack", "rule"]
        return pd.DataFrame(rows[:limit], columns=columns)

    def _flame_stacks(self) -> list[Stack]:
        return [
            ((f"{process} / {thread}", *frames), component, float(samples))
            for process, thread, component, works, _, samples, frames, _ in self.stacks.itertuples(
                index=False, name=None
            )
            if works
        ]

    def flame_boxes(self) -> pd.DataFrame:
        """The flame graph of each process as boxes, for ``plots.plot_flame``; in samples."""
        return flame_boxes(self._flame_stacks(), self.rules.catalog)

    def flame_graph(self) -> Html:
        """A flame graph of the working threads to zoom and search in, in samples."""
        stacks = self._flame_stacks()
        svg = flame_graph(stacks, title=self.path.name, unit="samples", catalog=self.rules.catalog)
        threads = sorted({labels[0] for labels, _, _ in stacks})
        components = sorted({name for _, name, _ in stacks}, key=self.rules.catalog.index.__getitem__)
        return Html(flame_frame([View("whole recording", svg, threads, components)]))

    def __repr__(self) -> str:
        return f"Recording({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape_html(sentence)}</p>" for sentence in self.about())
