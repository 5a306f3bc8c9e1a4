"""The parameters of the comparing notebook."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb.parameters.profile import ParameterError, Parameters, check, parameter, typed_values

CONTROL, TEST = "control", "test"
SIDES = (CONTROL, TEST)
FAIL_ON = ("never", "regression", "not_improved")
MARGIN = 0.05  # a smaller relative change is not meaningful
FEWEST_PAIRS = 5  # below, an exact sign-flip test cannot come near 5 %
# What a side may have of its own: control_label, test_server_flags and so on.
OF_SIDE = ("label", "server_python", "server_flags", "server_environment", "model_path")
MANIFEST = "manifest.json"
BUCKET = (
    "mount the bucket and give its folder, or fetch the summaries and give theirs: "
    "gcloud storage rsync --recursive --exclude='^(?!.*summary\\.json$).*' gs://BUCKET/runs runs"
)


def _same(name: str) -> Any:
    """The parameter of the profiling notebook, with its default and its help."""
    shared = Parameters.__dataclass_fields__[name]
    factory = shared.default_factory
    default = shared.default if factory is dataclasses.MISSING else factory()
    return parameter(default, shared.metadata["help"])


@dataclass(frozen=True, kw_only=True)
class CompareParameters:
    """Runs that are there (``control`` and ``test``), or pairs of runs to capture now."""

    control: str = parameter("", "run folders of control, comma-separated, * allowed. Empty: capture pairs")
    test: str = parameter("", "run folders of test, comma-separated, * allowed")
    compare_dir: str = parameter(
        "", "folder of the comparison; finished runs in it are kept. Empty: comparisons/<time>"
    )
    pairs: int = parameter(6, "pairs of runs to capture; fewer than 5 are insufficient for a verdict")
    control_label: str = parameter("control", "name of control in the report, such as main")
    control_server_python: str = parameter("", "as server_python, for control")
    control_server_flags: str = parameter("", "as server_flags, for control")
    control_server_environment: str = parameter("", "as server_environment, for control")
    control_model_path: str = parameter("", "as model_path, for control. Empty: model_path")
    test_label: str = parameter("test", "name of test in the report, such as serving-fixes")
    test_server_python: str = parameter("", "as server_python, for test")
    test_server_flags: str = parameter("", "as server_flags, for test")
    test_server_environment: str = parameter("", "as server_environment, for test")
    test_model_path: str = parameter("", "as model_path, for test. Empty: model_path")
    delta: float = parameter(MARGIN, "smallest relative change that is meaningful, at least 0.05")
    noise_from: str = parameter(
        "", "comparison.json of a server with itself: where its noise is larger than delta, it is taken"
    )
    allow_unlike: bool = parameter(False, "compare captures that are not alike; every figure is marked")
    fail_on: str = parameter("never", "exit code 3 on: never, regression, or not_improved")
    history: str = parameter("", "folder of runs: a table and a figure of all of them over time")
    model_path: str = _same("model_path")
    device: str = _same("device")
    phases: str = parameter("", "comma-separated: single, small, large, mixed, file. Empty: the first four")
    phase_s: float = _same("phase_s")
    single_items: int = _same("single_items")
    small_items: int = _same("small_items")
    large_items: int = _same("large_items")
    concurrency: int = _same("concurrency")
    requests_file: str = _same("requests_file")
    label_token_ids: list[int] = _same("label_token_ids")
    seed: int = _same("seed")
    trust_remote_code: bool = _same("trust_remote_code")
    rate_hz: int = _same("rate_hz")
    py_spy_mode: str = _same("py_spy_mode")
    startup_s: float = _same("startup_s")
    warmup_s: float = _same("warmup_s")
    request_s: float = _same("request_s")
    rules_file: str = _same("rules_file")
    results_dir: str = _same("results_dir")
    hold_s: float = _same("hold_s")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "CompareParameters":
        """Build and check them. Raises ParameterError."""
        parameters = cls(**typed_values(cls, values))
        for name, low, high in (("pairs", 1, 1000), ("delta", MARGIN, 10)):
            value = getattr(parameters, name)
            if not low <= value <= high:
                raise ParameterError(name, value, f"must be from {low} to {high}")
        if "://" in parameters.history:
            raise ParameterError("history", parameters.history, BUCKET)
        if parameters.fail_on not in FAIL_ON:
            raise ParameterError("fail_on", parameters.fail_on, f"must be one of {', '.join(FAIL_ON)}")
        if bool(parameters.control) != bool(parameters.test):
            name = TEST if parameters.control else CONTROL
            raise ParameterError(name, "", "control and test are given both, or neither")
        if parameters.fail_on != "never":
            if not parameters.captures and not parameters.control:
                raise ParameterError(
                    "fail_on", parameters.fail_on, "only a history is asked for: nothing to judge"
                )
            if parameters.captures and 1 < parameters.pairs < FEWEST_PAIRS:
                raise ParameterError(
                    "pairs",
                    parameters.pairs,
                    f"fail_on needs a verdict, and that at least {FEWEST_PAIRS} pairs",
                )
        for side in SIDES:
            parameters.of_run(side, Path("unused"))
        return parameters

    @property
    def captures(self) -> bool:
        """Whether pairs are to be captured: no runs are named, and not only a history is asked for."""
        return not self.control and not (self.history and not self._names_a_side())

    @property
    def compared(self) -> tuple[str, ...]:
        """What may differ between the sides besides the server's code and flags."""
        return ("model",) if self.control_model_path or self.test_model_path else ()

    def _names_a_side(self) -> bool:
        fields = self.__dataclass_fields__
        own = [f"{side}_{name}" for side in SIDES for name in OF_SIDE]
        return any(getattr(self, name) != fields[name].default for name in own)

    def of_run(self, side: str, run_dir: Path) -> Parameters:
        """The profiling parameters of one run of a side. Raises ParameterError in this notebook's names."""
        shared = {
            name: getattr(self, name)
            for name in Parameters.__dataclass_fields__
            if name in self.__dataclass_fields__ and name not in ("results_dir", "hold_s")
        }
        own = {name: getattr(self, f"{side}_{name}") for name in OF_SIDE}
        own["model_path"] = own["model_path"] or self.model_path
        results_dir = str(Path(self.results_dir, "runs", run_dir.name)) if self.results_dir else ""
        parameters = Parameters(**{**shared, **own, "run_dir": str(run_dir), "results_dir": results_dir})
        with_names_of(side, check, parameters)
        return parameters

    def runs_of(self, side: str) -> tuple[Path, ...]:
        """The run folders that are named for a side. Raises ParameterError for a name without a run."""
        text = getattr(self, side)
        found: list[Path] = []
        for name in filter(None, (part.strip() for part in text.split(","))):
            pattern = Path(name).expanduser().absolute()
            folders = sorted(
                path.parent
                for path in Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor) / MANIFEST))
            )
            if not folders:
                raise ParameterError(side, text, f"{name} is no run folder (it has no {MANIFEST})")
            found += folders
        twice = next((path for path in found if found.count(path) > 1), None)
        if twice is not None:
            raise ParameterError(side, text, f"{twice} is named twice")
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def with_names_of(side: str, call: Any, *arguments: Any) -> Any:
    """Call it; a ParameterError about what a side has of its own gets the side's name."""
    try:
        return call(*arguments)
    except ParameterError as error:
        if error.name not in OF_SIDE:
            raise
        raise ParameterError(f"{side}_{error.name}", error.value, error.problem) from error
