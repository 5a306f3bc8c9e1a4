"""The parameters of the comparing notebook."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from scoreprof_nb.parameters.load import AUTO
from scoreprof_nb.parameters.profile import MeasurementParameters, Parameters
from scoreprof_nb.parameters.schema import (
    Flag,
    Label,
    Number,
    ParameterError,
    ParameterSet,
    Text,
    Whole,
    one_of,
)
from scoreprof_nb.run_folder.files import MANIFEST, PAIRS, RUNS, SUMMARY

CONTROL, TEST = "control", "test"
SIDES = (CONTROL, TEST)
COMPARISONS = "comparisons"  # where a comparison is put that names no folder
MARGIN = 0.05  # a smaller relative change is not meaningful
FEWEST_PAIRS = 5  # a verdict needs as many: with fewer, the variation between launches is not known
FIRST_LOOK = 6  # pairs after which a comparison that is being captured can end
# The parameters of a run that each side sets separately: control_label, test_server_flags and so on.
OF_SIDE = ("label", "server_python", "server_flags", "server_environment", "model_path")

FailOn = Annotated[Text, one_of("never", "regression", "not_improved", "not_shown_equal")]
BUCKET = (
    "mount the bucket and name its folder, or fetch the summaries and name theirs: "
    "gcloud storage rsync --recursive --exclude='^(?!.*summary\\.json$).*' gs://BUCKET/runs runs"
)


class ComparisonParameters(ParameterSet):
    """What is compared, and how the result is judged."""

    control: Text = Field(
        "", description="run folders of control, comma-separated, * allowed. Empty: capture pairs of runs"
    )
    test: Text = Field("", description="run folders of test, comma-separated, * allowed")
    compare_dir: Text = Field(
        "", description="folder of the comparison; finished runs in it are kept. Empty: comparisons/<time>"
    )
    pairs: Whole = Field(
        FIRST_LOOK,
        ge=1,
        le=1000,
        description=f"pairs of runs to capture first: 1, or even; at least {FIRST_LOOK} for a verdict",
    )
    pairs_at_most: Whole = Field(
        16, ge=1, le=1000, description="capture goes on up to this many pairs while a phase is open; even"
    )
    pair_index: Whole = Field(
        -1, ge=-1, le=999, description="capture this pair only, counted from 0, on this node. -1: all pairs"
    )
    control_label: Label = Field("control", description="name of control in the report, such as main")
    control_server_python: Text = Field("", description="server_python of control")
    control_server_flags: Text = Field("", description="server_flags of control")
    control_server_environment: Text = Field("", description="server_environment of control")
    control_model_path: Text = Field("", description="model_path of control. Empty: model_path")
    test_label: Label = Field("test", description="name of test in the report, such as serving-fixes")
    test_server_python: Text = Field("", description="server_python of test")
    test_server_flags: Text = Field("", description="server_flags of test")
    test_server_environment: Text = Field("", description="server_environment of test")
    test_model_path: Text = Field("", description="model_path of test. Empty: model_path")
    delta: Number = Field(
        MARGIN, ge=MARGIN, le=10, description=f"smallest meaningful relative change, at least {MARGIN}"
    )
    noise_from: Text = Field(
        "",
        description="comparison.json of make noise on the same machine, to check the noise between launches",
    )
    allow_unlike: Flag = Field(
        False, description="compare captures that differ in their conditions; every figure is marked"
    )
    fail_on: FailOn = Field(
        "never", description="exit with code 3 on: never, regression, not_improved, or not_shown_equal"
    )
    history: Text = Field("", description="folder with earlier runs, shown as a table and a plot over time")


class CompareParameters(MeasurementParameters, ComparisonParameters):
    """Existing runs (``control`` and ``test``), or pairs of runs to capture now."""

    @model_validator(mode="after")
    def _check_comparison(self) -> Self:
        if "://" in self.history:
            raise ParameterError("history", self.history, BUCKET)
        if bool(self.control) != bool(self.test):
            name = TEST if self.control else CONTROL
            raise ParameterError(name, "", "set both control and test, or neither")
        for name in ("pairs", "pairs_at_most"):
            if getattr(self, name) > 1 and getattr(self, name) % 2:
                problem = "must be even, so that each side is measured first equally often (or 1)"
                raise ParameterError(name, getattr(self, name), problem)
        if self.rates == AUTO and self.captures:
            raise ParameterError(
                "rates", AUTO, "would send to each run at rates of its own: set rates such as 2,5,10"
            )
        if self.pair_index >= 0:
            self._check_pair_index()
        if self.fail_on != "never":
            self._check_gate()
        for side in SIDES:
            self.of_run(side, Path("unused"))
        return self

    def _check_gate(self) -> None:
        if not self.captures and not self.control:
            raise ParameterError(
                "fail_on", self.fail_on, "needs a comparison, and only a history is requested"
            )
        if self.captures and 1 < self.pairs < FIRST_LOOK:
            raise ParameterError(
                "pairs", self.pairs, f"fail_on needs a verdict, and a verdict at least {FIRST_LOOK} pairs"
            )

    def _check_pair_index(self) -> None:
        if not self.captures:
            raise ParameterError("pair_index", self.pair_index, "existing runs are compared all at once")
        if self.pair_index >= self.pairs:
            raise ParameterError("pair_index", self.pair_index, f"must be below pairs={self.pairs}")
        if self.fail_on != "never":
            problem = "one pair has no verdict: set it where all pairs are compared"
            raise ParameterError("fail_on", self.fail_on, problem)

    def pair_numbers(self, pairs: int) -> range:
        """The numbers, from 1, of the pairs to capture here, of so many pairs."""
        if self.pair_index >= 0:
            return range(self.pair_index + 1, self.pair_index + 2)
        return range(1, pairs + 1)

    @property
    def published_dir(self) -> str:
        """Where the files of the comparison, but not of its runs, are published; empty for nowhere.

        Nodes that capture one pair each share ``results_dir``, but no file in it.
        """
        if self.pair_index < 0 or not self.results_dir:
            return self.results_dir
        return str(Path(self.results_dir, PAIRS, f"pair-{self.pair_index + 1:02d}"))

    @property
    def captures(self) -> bool:
        """Whether pairs are captured: no existing runs are named, and more than a history is wanted."""
        return not self.control and not (self.history and not self._names_a_side())

    @property
    def most_pairs(self) -> int:
        """The most pairs that are captured. With too few pairs for a verdict, or a single one on this node,
        there is nothing to wait for."""
        return (
            self.pairs
            if self.pairs < FIRST_LOOK or self.pair_index >= 0
            else max(self.pairs, self.pairs_at_most)
        )

    @property
    def compared(self) -> tuple[str, ...]:
        """What may differ between the sides besides the server's code and flags."""
        return ("model",) if self.control_model_path or self.test_model_path else ()

    def _names_a_side(self) -> bool:
        names = (f"{side}_{name}" for side, name in product(SIDES, OF_SIDE))
        return any(getattr(self, name) != self.default_of(name) for name in names)

    def of_run(self, side: str, run_dir: Path) -> Parameters:
        """The profiling parameters of one run of a side. Raises ParameterError in this notebook's names."""
        measurement = {name: getattr(self, name) for name in MeasurementParameters.model_fields}
        of_side = {name: getattr(self, f"{side}_{name}") for name in OF_SIDE}
        of_side["model_path"] = of_side["model_path"] or self.model_path
        results_dir = str(Path(self.results_dir, RUNS, run_dir.name)) if self.results_dir else ""
        values = {
            **measurement,
            **of_side,
            "run_dir": str(run_dir),
            "results_dir": results_dir,
            "hold_s": Parameters.default_of("hold_s"),  # only the comparison is held
        }
        parameters: Parameters = with_names_of(side, Parameters.from_mapping, values)
        return parameters

    def runs_of(self, side: str) -> tuple[Path, ...]:
        """The existing run folders of a side. Raises ParameterError for a name without a run."""
        text = getattr(self, side)
        folders: list[Path] = []
        for name in filter(None, (part.strip() for part in text.split(","))):
            pattern = Path(name).expanduser().absolute()
            matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor) / MANIFEST))
            matching = sorted(path.parent for path in matches)
            if not matching:
                raise ParameterError(side, text, f"{name} is not a run folder (it has no {MANIFEST})")
            folders += matching
        repeated = next((path for path in folders if folders.count(path) > 1), None)
        if repeated is not None:
            raise ParameterError(side, text, f"{repeated} is listed twice")
        return tuple(folders)

    def check_files(self) -> None:
        """Raise ParameterError for the first file or folder that cannot be used.

        This is cheap: the contents of ``noise_from`` and of the runs are checked where they are read.
        """
        for side in SIDES:
            self.runs_of(side)
        if self.captures and not self._holds_runs():
            for side in SIDES:
                with_names_of(side, self.of_run(side, Path("unused")).check_files)
        if self.noise_from:
            _check_json(self.noise_from)
        if self.history:
            self._check_history()

    def _holds_runs(self) -> bool:
        return any(folder and Path(folder, RUNS).exists() for folder in (self.compare_dir, self.results_dir))

    @property
    def adds_to_history(self) -> bool:
        """Whether the runs to capture are written into ``history``: they may be the first ones in it."""
        history = Path(self.history).expanduser().absolute()
        written = filter(None, (self.compare_dir or COMPARISONS, self.results_dir))
        return self.captures and any(Path(path).absolute().is_relative_to(history) for path in written)

    def _check_history(self) -> None:
        folder = Path(self.history).expanduser()
        if self.adds_to_history:
            return
        if not folder.is_dir():
            raise ParameterError("history", self.history, "is not a folder")
        if next(folder.rglob(SUMMARY), None) is None:
            raise ParameterError("history", self.history, f"contains no run with a {SUMMARY}")


def _check_json(path: str) -> None:
    try:
        json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError("noise_from", path, f"cannot be used: {error}") from error


def with_names_of[**Arguments, Result](
    side: str,
    call: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Result:
    """Call it; a ParameterError about a parameter that each side sets gets the side's name: test_label."""
    try:
        return call(*arguments, **named)
    except ParameterError as error:
        if error.name not in OF_SIDE:
            raise
        raise ParameterError(f"{side}_{error.name}", error.value, error.problem) from error
