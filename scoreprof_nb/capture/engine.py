"""What the capture needs of a serving engine, and the one line that names the engine in use."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from scoreprof_nb.engines.sglang_jax import SglangJax
from scoreprof_nb.parameters.profile import Parameters


class Engine(Protocol):
    """A server with a score endpoint."""

    @property
    def package(self) -> str:
        """The distribution that must be installed in the server's interpreter."""

    @property
    def score_path(self) -> str: ...

    @property
    def health_path(self) -> str: ...

    @property
    def code_identity(self) -> tuple[str, ...]:
        """The fields of ``provenance`` that must be equal for all phases of a run."""

    def command(
        self,
        parameters: Parameters,
        python: str,
        version: str,
        model: str,
        port: int,
        flags: Sequence[str],
        api_key: str = "",
    ) -> tuple[str, ...]: ...

    def default_environment(self, device: str) -> dict[str, str]: ...

    def environment(self, device: str) -> dict[str, str]: ...

    def model_path(self, command: Sequence[str]) -> str: ...

    def provenance(self, packages: Mapping[str, str | None], source: Any) -> dict[str, Any]: ...

    def logs_texts(self, flags: Sequence[str]) -> bool: ...

    def texts(self, body: bytes) -> list[str]: ...

    def request_body(self, query: str, items: Sequence[str], label_token_ids: Sequence[int]) -> bytes: ...

    def with_first_items(self, body: bytes, items: int) -> bytes: ...

    def with_other_query(self, body: bytes, number: int) -> bytes: ...

    def scores(self, answer: bytes) -> Any: ...

    def batch_size(self, log_line: str) -> int | None: ...

    def reports_compile(self, log_line: str) -> bool: ...

    @property
    def trace_start_path(self) -> str: ...

    @property
    def trace_stop_path(self) -> str: ...

    def trace_request(self, output: str, packages: Mapping[str, Any]) -> bytes: ...

    def refused_trace(self, status: int, answer: str) -> str | None: ...

    def refused_flags(self, exit_code: int | None, log_lines: Sequence[str]) -> str | None: ...


ENGINE: Engine = SglangJax()
