"""The parameters of the profiling notebook.

The values are checked when ``Parameters`` is built, and the files they name by ``check_files``. What
depends on the machine (packages, a free port, permission to trace) is checked by ``capture.preflight``,
before anything is launched.
"""

import re
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from scoreprof_nb.parameters.load import (
    AUTO,
    InFlight,
    PhasePlan,
    Rates,
    TokenLengths,
    numbers_in_flight,
    plans_of,
    rates_of,
)
from scoreprof_nb.parameters.requests_file import FILE_PHASE, read_requests_file
from scoreprof_nb.parameters.sampling import SamplingRate, rate_of
from scoreprof_nb.parameters.schema import (
    Flag,
    Label,
    Number,
    ParameterError,
    ParameterSet,
    Text,
    TokenIds,
    Whole,
    one_of,
)
from scoreprof_nb.parameters.server_checks import (
    check_log,
    check_model,
    check_url,
    read_api_key,
    with_limits_of_device,
)
from scoreprof_nb.parameters.what_if import WhatIfParameters
from scoreprof_nb.run_folder.files import MANIFEST

COLD, WARM, CACHE_OFF = "cold", "warm", "off"
PHASES = ("single", "small", "large", "mixed")
DEVICES = ("cpu", "tpu")
NATIVE_HZ = 20  # py-spy's native unwinding falls behind above this rate

# The parameters that decide what is measured: a resumed run must not change them.
MEASURED = (
    "server_url",
    "server_log",
    "model_path",
    "server_python",
    "server_flags",
    "server_environment",
    "device",
    "phase_s",
    "single_items",
    "small_items",
    "large_items",
    "prefix_cache",
    "query_tokens",
    "item_tokens",
    "concurrency",
    "rates",
    "label_token_ids",
    "requests_file",
    "rate_hz",
    "py_spy_mode",
    "seed",
    "what_if_ms",
    "what_if_kind",
    "what_if_s",
    "what_if_components",
)

Device = Annotated[Text, one_of(*DEVICES)]
PrefixCache = Annotated[Text, one_of(COLD, WARM, CACHE_OFF)]
PySpyMode = Annotated[Text, one_of("nonblocking", "blocking", "native", "off")]
DAY_S = 86_400


class RunParameters(ParameterSet):
    """One run and its server: in a comparison, each side has its own."""

    run_dir: Text = Field("", description="run folder, resumed if it exists. Empty: runs/<time>-<label>")
    label: Label = Field(
        "run", description="name of the run in reports and comparisons, such as the branch's name"
    )
    server_python: Text = Field(
        "",
        description="Python interpreter with sglang-jax. Empty: $SCOREPROF_SERVER_PYTHON, or the kit's own",
    )
    server_flags: Text = Field("", description="additional flags for sgl_jax.launch_server, in shell syntax")
    server_environment: Text = Field(
        "", description="environment variables for the server: NAME=VALUE words in shell syntax"
    )
    server_url: Text = Field(
        "", description="profile the server already running at http://127.0.0.1:PORT; it is never stopped"
    )
    server_log: Text = Field(
        "",
        description="log file of the server at server_url: it tells batches, compiles and cache hits",
    )
    port: Whole = Field(0, ge=0, le=65_535, description="port for the server on 127.0.0.1. 0: any free port")


class MeasurementParameters(ParameterSet):
    """How a server is measured: the parameters of both notebooks."""

    model_path: Text = Field(
        "", description="folder or Hugging Face id of the model. Empty (CPU only): a tiny random model"
    )
    device: Device = Field("cpu", description="cpu or tpu")
    phases: Text = Field(
        "",
        description="comma-separated: single, small, large, mixed, file. Empty: the resumed run's, or all",
    )
    phase_s: Number = Field(
        24.0, ge=2, le=DAY_S, description="seconds measured per phase, half of them with py-spy; at least 2"
    )
    single_items: Whole = Field(1, ge=1, le=100_000, description="items per request in phase single")
    small_items: Whole = Field(4, ge=1, le=100_000, description="items per request in phase small")
    large_items: Whole = Field(32, ge=1, le=100_000, description="items per request in phase large")
    prefix_cache: PrefixCache = Field(
        COLD,
        description="cold: every query is new; warm: payloads repeat; off: the server caches no prefixes",
    )
    query_tokens: TokenLengths = Field(
        "",
        description="query length in the model's tokens, such as 120 or 120+-30 (mean and deviation)",
    )
    item_tokens: TokenLengths = Field(
        "", description="item length, likewise. Both empty: 120+-30 and 180+-45; 16+-2 and 8+-2 on a CPU"
    )
    concurrency: InFlight = Field(
        "1", description="requests in flight in a closed loop, or a list such as 1,4,16: a phase for each"
    )
    rates: Rates = Field(
        "", description="also send at these rates, such as 2,5,10 requests/s, in an open loop; or auto"
    )
    slo_ms: Number = Field(
        0.0, ge=0, le=1e7, description="limit of p99 in ms, for the highest rate that meets it. 0: none"
    )
    requests_file: Text = Field(
        "", description="JSONL file with your own /v1/score bodies, one per line, for phase file"
    )
    label_token_ids: TokenIds = Field(
        [], description="token ids to score. Empty: those of ' Yes' and ' No' in the model's tokenizer"
    )
    seed: Whole = Field(0, ge=0, le=2**32 - 1, description="seed for the generated texts and the bootstraps")
    store_texts: Flag = Field(
        False, description="let the server write texts of requests into its log (its flag --log-requests)"
    )
    trust_remote_code: Flag = Field(False, description="let the server run code that ships with the model")
    rate_hz: SamplingRate = Field(
        "auto",
        description="py-spy samples per second, 1 to 1000; auto: 100, or fewer with less than four CPUs",
    )
    py_spy_mode: PySpyMode = Field(
        "nonblocking", description=f"nonblocking, blocking, native (at most {NATIVE_HZ} Hz), or off"
    )
    device_trace_s: Number = Field(
        3.0,
        ge=0,
        le=60,
        description="seconds of JAX's device trace per phase, at most; it ends after 40 requests. 0: none",
    )
    startup_s: Number = Field(
        0.0, ge=1, le=DAY_S, description="seconds the server may take to become healthy. 0: 600, tpu 1800"
    )
    warmup_s: Number = Field(
        0.0, ge=1, le=DAY_S, description="seconds the warm-up of a phase may take. 0: 60, tpu 900"
    )
    request_s: Number = Field(
        0.0, ge=1, le=DAY_S, description="timeout of one request in seconds. 0: 120, tpu 1800"
    )
    api_key_env: Text = Field(
        "", description="environment variable that holds the server's API key. Empty: no key"
    )
    rules_file: Text = Field("", description="TOML file with your own component rules")
    results_dir: Text = Field(
        "",
        description="folder the run is synced to and resumes from, such as a mounted bucket. Empty: none",
    )
    hold_s: Number = Field(
        0.0,
        ge=0,
        le=DAY_S,
        description="seconds to wait at the end, so that files can be copied out of a container",
    )

    def phase_names(self) -> tuple[str, ...]:
        """The phases to capture, in order; by default all generated ones, and ``file`` with a file.

        With ``rates`` auto the open loops are added when the capacity is known.
        """
        return tuple(plan.name for plan in self.phase_plans())

    def phase_plans(self) -> tuple[PhasePlan, ...]:
        """The phases with their loads. Raises ValueError for a text that names no phase."""
        plans = plans_of(self._listed(), numbers_in_flight(self.concurrency), rates_of(self.rates))
        return tuple(plans)

    def ladder_kinds(self) -> tuple[str, ...]:
        """The kinds of request that ``rates`` auto sends at rates that depend on their capacity."""
        return tuple(name for name in self._listed() if "@" not in name) if self.rates == AUTO else ()

    def _listed(self) -> tuple[str, ...]:
        names = tuple(name.strip() for name in self.phases.split(",") if name.strip())
        return names or ((*PHASES, FILE_PHASE) if self.requests_file else PHASES)

    @model_validator(mode="before")
    @classmethod
    def _limits_of_device(cls, values: Any) -> Any:
        return with_limits_of_device(values)

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.py_spy_mode == "native" and (rate_of(self.rate_hz) or 0) > NATIVE_HZ:
            raise ParameterError(
                "rate_hz", self.rate_hz, f"must be from 1 to {NATIVE_HZ}, or auto: py_spy_mode is native"
            )
        try:
            plans = self.phase_plans()
        except ValueError as error:
            raise ParameterError("phases", self.phases, str(error)) from error
        kinds = [plan.kind for plan in plans]
        for plan in plans:
            if plan.kind not in (*PHASES, FILE_PHASE):
                known = ", ".join((*PHASES, FILE_PHASE))
                raise ParameterError(
                    "phases", self.phases, f"unknown phase {plan.name!r}; the phases are {known}"
                )
            if plans.count(plan) > 1:
                raise ParameterError("phases", self.phases, f"phase {plan.name!r} is listed twice")
        if FILE_PHASE in kinds and not self.requests_file:
            raise ParameterError("requests_file", "", "phase file needs a JSONL file with request bodies")
        return self

    def api_key(self) -> str:
        """The server's API key, from the environment; empty without one.

        Raises ParameterError when the variable is not set.
        """
        return read_api_key(self.api_key_env)


class Parameters(WhatIfParameters, MeasurementParameters, RunParameters):
    """Every parameter of a run, in the order of the notebook's parameter cell.

    pydantic takes the fields of the last base class first.
    """

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.server_url:
            check_url(self.server_url)
            if self.prefix_cache == CACHE_OFF:
                raise ParameterError(
                    "prefix_cache",
                    CACHE_OFF,
                    "is a flag of the server at launch; start the server at server_url with it and use cold",
                )
            if self.what_if_ms:
                raise ParameterError(
                    "what_if_ms",
                    self.what_if_ms,
                    "needs a server that the kit launches: functions are wrapped when the server imports "
                    "them. Leave server_url empty, or set 0",
                )
        elif self.server_log:
            problem = "is for a server that already runs: set server_url too, or leave it empty"
            raise ParameterError("server_log", self.server_log, problem)
        environment_of(self.server_environment)
        return self

    def check_files(self) -> None:
        """Raise ParameterError when a file or folder that a new run needs cannot be used.

        An existing run is resumed: the capture checks what its missing phases still need.
        """
        if _holds_run(self.run_dir, self.results_dir):
            return
        if any(plan.kind == FILE_PHASE for plan in self.phase_plans()):
            read_requests_file(Path(self.requests_file), self.label_token_ids)
        check_model(self.model_path)
        check_log(self.server_log)
        self.api_key()
        if self.server_python and shutil.which(self.server_python) is None:
            raise ParameterError("server_python", self.server_python, "is not an executable file")


def _holds_run(*folders: str) -> bool:
    return any(folder and Path(folder, MANIFEST).exists() for folder in folders)


def environment_of(text: str) -> dict[str, str]:
    """NAME=VALUE words to a mapping. Raises ParameterError for anything else."""
    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise ParameterError("server_environment", text, f"not in shell syntax: {error}") from error
    for name, equals, _ in words:
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ParameterError("server_environment", text, f"{name!r} is not NAME=VALUE")
    return {name: value for name, _, value in words}
