"""A comparison as its report shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.verdict import fails_gate
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.run_folder.files import RUNS
from scoreprof_nb.run_folder.sync import published_path

INCOMPARABLE_MARK = "UNLIKE CAPTURES"


@dataclass(frozen=True)
class ComparisonReport:
    """A comparison with the parameters it was made with.

    ``missing``: why pairs of runs were not captured; None when all were.
    """

    parameters: CompareParameters
    comparison: Comparison
    missing: str | None = None

    @property
    def folder(self) -> Path:
        return Path(self.parameters.compare_dir)

    @property
    def verdict(self) -> str:
        """The verdict on the whole comparison."""
        return self.comparison.verdict

    @property
    def gate_fails(self) -> bool:
        """Whether the comparison fails its ``fail_on`` gate, which is exit code 3."""
        return fails_gate(self.verdict, self.comparison.not_worse, self.parameters.fail_on)

    @property
    def mark(self) -> str:
        """The prefix of every title if the captures are not comparable; empty otherwise."""
        return "" if self.comparison.incomparable.empty else f"{INCOMPARABLE_MARK}: "

    @property
    def names(self) -> Mapping[str, str]:
        """The name of each side with its label, such as ``control (main)``."""
        return {
            side: f"{side} ({runs[0].run.manifest.label})" for side, runs in self.comparison.sides.items()
        }

    def published(self, path: Path) -> Path:
        """Where to find a file of the comparison once the results are copied."""
        of_run = path.is_relative_to(self.folder / RUNS)
        results_dir = self.parameters.results_dir if of_run else self.parameters.published_dir
        return published_path(path, self.folder, results_dir)
