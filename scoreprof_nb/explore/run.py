"""A run as tables: ``Run.load(path)``, then a line per question."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from scoreprof_nb.explore import run_tables
from scoreprof_nb.explore.functions import callees, callers
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.answer import answer, trust
from scoreprof_nb.report.blocks import Html
from scoreprof_nb.report.flame_views import interactive_flame_graph
from scoreprof_nb.report.format import escape_html
from scoreprof_nb.report.profile import Report, make_report


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder, read and classified.

    Tables, with the columns of ``run_tables``: ``requests`` (REQUEST_COLUMNS), ``ticks`` (TICK_COLUMNS),
    ``path`` (PATH_COLUMNS: what each request waited for), ``log_events`` (EVENT_COLUMNS), ``stacks()``
    (STACK_COLUMNS). ``report``: the analysis behind report.html.
    """

    report: Report

    @classmethod
    def load(cls, path: str | Path, rules_file: str | Path = "") -> "Run":
        """Read a run folder; ``rules_file``: your own rules.

        Raises RunFolderError for a folder that is no run, ParameterError for a rules file that cannot be
        used.
        """
        values = {"run_dir": str(path), "rules_file": str(rules_file)}
        return cls(make_report(Parameters.from_mapping(values)))

    def with_rules(self, rules_file: str | Path) -> "Run":
        """The same recordings, classified by other rules: seconds, without a server."""
        return Run.load(self.report.folder, rules_file)

    @cached_property
    def requests(self) -> pd.DataFrame:
        return run_tables.requests_table(self.report.analysis.phases)

    @cached_property
    def ticks(self) -> pd.DataFrame:
        return run_tables.ticks_table(self.report.analysis.phases)

    @cached_property
    def path(self) -> pd.DataFrame:
        return run_tables.path_table(self.report.analysis.phases, self.report.analysis.run.log)

    @cached_property
    def log_events(self) -> pd.DataFrame:
        return run_tables.events_table(self.report.analysis.phases, self.report.analysis.run.log)

    @cached_property
    def _stacks(self) -> pd.DataFrame:
        return run_tables.stacks_table(self.report.analysis.phases)

    def stacks(
        self, *, phase: str | None = None, component: str | None = None, function: str | None = None
    ) -> pd.DataFrame:
        """The stacks of working threads; ``function``: a part of ``function (file)`` of any frame."""
        table = self._stacks
        if phase is not None:
            table = table[table["phase"] == phase]
        if component is not None:
            table = table[table["component"] == component]
        if function is not None:
            table = table[[any(function in frame for frame in frames) for frames in table["frames"]]]
        return table.reset_index(drop=True)

    def breakdown(self, by: Sequence[str] = ("phase", "component")) -> pd.DataFrame:
        """Mean ms per request of what requests wait for, by any columns of ``path``.

        Columns: ``by``, ms (per request that has these values of phase, kind, items, compile_hit, split and
        slowest_tenth), share (of these requests' latency, 0 to 1), requests. Raises KeyError for a column
        that ``path`` lacks.
        """
        by = [by] if isinstance(by, str) else list(by)
        of_request = [name for name in by if name not in ("component", "queued", "group", "kind_of_work")]
        whole = self.path.assign(all=True)
        keys = [*of_request, "all"]
        identity = [*dict.fromkeys([*keys, "phase", "request", "latency_ms"])]
        requests = whole[identity].drop_duplicates()
        counted = requests.groupby(keys, observed=True, dropna=False)["latency_ms"].agg(["size", "sum"])
        sums = whole.groupby([*dict.fromkeys([*by, "all"])], observed=True, dropna=False)["ms"].sum()
        table = sums.reset_index().merge(counted.reset_index(), on=keys)
        table = table.assign(ms=table["ms"] / table["size"], share=table["ms"] / table["sum"])
        table = table.rename(columns={"size": "requests"}).sort_values(
            [*of_request, "ms"], ascending=[True] * len(of_request) + [False], ignore_index=True
        )
        return table[[*by, "ms", "share", "requests"]]

    def callers(self, function: str, *, phase: str | None = None) -> pd.DataFrame:
        """Who calls a function: columns function, ms_per_request, share."""
        return callers(self.stacks(phase=phase), function, "ms_per_request")

    def callees(self, function: str, *, phase: str | None = None) -> pd.DataFrame:
        """What a function calls: columns function, ms_per_request, share."""
        return callees(self.stacks(phase=phase), function, "ms_per_request")

    def flame_graph(self) -> Html:
        """A flame graph to zoom and search in; empty without stacks."""
        return interactive_flame_graph(self.report)

    def __repr__(self) -> str:
        return f"Run({str(self.report.folder)!r})"

    def _repr_html_(self) -> str:
        """The answer, and which tables there are."""
        tables = {"requests": self.requests, "path": self.path, "log_events": self.log_events}
        rows = "".join(
            f"<li><code>run.{name}</code>: {len(table):,} rows ({', '.join(table.columns)})</li>"
            for name, table in {**tables, "stacks()": self._stacks}.items()
        )
        return (
            f"<p><b>{escape_html(answer(self.report))}</b></p><p>{escape_html(trust(self.report))}</p>"
            f"<ul>{rows}</ul>"
        )
