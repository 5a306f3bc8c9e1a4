"""What the capture needs of sglang-jax: its command line, its score endpoint, its packages and its log."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreprof_nb import demo
from scoreprof_nb.engines.sglang_jax_analysis import LOG_EVENTS
from scoreprof_nb.parameters.profile import CACHE_OFF, Parameters

WATCHDOG_S = 300  # its default --watchdog-timeout
REPAIRED_VERSION = "0.0.2"  # its Score API cannot answer as released

_NO_TRACE = re.compile(r"(?i)already in progress|not in progress|no permission|fail|error")
_ANSWER_CHARACTERS = 200
_LOG_REQUESTS = "--log-requests"
_REFUSED = re.compile(r"launch_server.*error: (.*)|^\S+: error: (.*)")


@dataclass(frozen=True)
class SglangJax:
    """The engine sglang-jax, versions 0.0.2 and later; implements ``capture.engine.Engine``."""

    package: str = "sglang-jax"
    score_path: str = "/v1/score"
    health_path: str = "/health"
    trace_start_path: str = "/start_profile"
    trace_stop_path: str = "/stop_profile"
    code_identity: tuple[str, ...] = ("sglang_jax", "sglang_jax_source", "jax", "jaxlib", "libtpu")

    def command(
        self,
        parameters: Parameters,
        python: str,
        version: str,
        model: str,
        port: int,
        flags: Sequence[str],
        api_key: str = "",
    ) -> tuple[str, ...]:
        """The launch command. ``flags``, the user's, come last: for argparse the last one wins."""
        module = [str(demo.SERVE_0_0_2)] if version == REPAIRED_VERSION else ["-m", "sgl_jax.launch_server"]
        ours = ["--model-path", model, "--host", "127.0.0.1", "--port", str(port)]
        ours += ["--device", parameters.device]
        if parameters.device == "cpu":
            ours += ["--attention-backend", "native"]
        if not parameters.model_path:
            ours += demo.flags(version)
        if parameters.prefix_cache == CACHE_OFF:
            ours.append("--disable-radix-cache")
        if parameters.trust_remote_code:
            ours.append("--trust-remote-code")
        if 2 * parameters.request_s > WATCHDOG_S:  # it kills a server that still compiles its first batch
            ours += ["--watchdog-timeout", str(math.ceil(2 * parameters.request_s))]
        if api_key:
            ours += ["--api-key", api_key]
        return (python, *module, *ours, *flags)

    def default_environment(self, device: str) -> dict[str, str]:
        """Variables that a server on this device gets unless they are set: compiled programs are kept."""
        if device == "cpu":
            return {}
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return {"JAX_COMPILATION_CACHE_DIR": str(cache / "scoreprof-nb" / "jax")}

    def environment(self, device: str) -> dict[str, str]:
        """The environment variables that every server on this device needs."""
        return {"JAX_PLATFORMS": "cpu"} if device == "cpu" else {}

    def model_path(self, command: Sequence[str]) -> str:
        """The model in the command line of a running server; "" when it names none."""
        for word, following in zip(command, [*command, ""][1:], strict=True):
            flag, has_value, value = word.partition("=")
            if flag == "--model-path":
                return value if has_value else following
        return ""

    def provenance(self, packages: Mapping[str, str | None], source: Any) -> dict[str, Any]:
        """The fields of provenance.json that identify a server."""
        return {
            "sglang_jax": packages.get(self.package),
            "sglang_jax_source": source,
            **{name: packages.get(name) for name in ("jax", "jaxlib", "libtpu")},
        }

    def logs_texts(self, flags: Sequence[str]) -> bool:
        """Whether these flags make the server write texts of requests into its log."""
        return any(flag.partition("=")[0] == _LOG_REQUESTS for flag in flags)

    def texts(self, body: bytes) -> list[str]:
        """What a request asks about: its texts, and its token ids as JSON."""
        request = json.loads(body)
        parts = [request.get("query", ""), *request.get("items", [])]
        return [part if isinstance(part, str) else json.dumps(part)[1:-1] for part in parts]

    def request_body(self, query: str, items: Sequence[str], label_token_ids: Sequence[int]) -> bytes:
        """The body of a score request."""
        body = {
            "query": query,
            "items": list(items),
            "label_token_ids": list(label_token_ids),
            "apply_softmax": True,
            "item_first": False,
            "model": "default",
        }
        return json.dumps(body).encode()

    def with_first_items(self, body: bytes, items: int) -> bytes:
        """The same request, reduced to its first ``items`` items."""
        request = json.loads(body)
        return json.dumps({**request, "items": request["items"][:items]}).encode()

    def with_other_query(self, body: bytes, number: int) -> bytes:
        """The same request with a query that no prefix cache knows. A query of token ids stays as it is."""
        request = json.loads(body)
        query = request["query"]
        return json.dumps(
            {**request, "query": f"{number} {query}" if isinstance(query, str) else query}
        ).encode()

    def scores(self, answer: bytes) -> Any:
        """The scores in an answer, unchecked. Raises ValueError, KeyError or TypeError."""
        return json.loads(answer)["scores"]

    def batch_size(self, log_line: str) -> int | None:
        """The number of sequences, if the line announces a prefill batch."""
        match = LOG_EVENTS["prefill"].search(log_line)
        return int(match[1]) if match else None

    def reports_compile(self, log_line: str) -> bool:
        """Whether the line says that a batch was compiled."""
        return LOG_EVENTS["compile"].search(log_line) is not None

    def trace_request(self, output: str, packages: Mapping[str, Any]) -> bytes:
        """The body that starts JAX's trace into a folder, with the levels that cost least.

        No Python tracer: it records every call. (0.0.2 ignores a level of 0.) The host's tracer has to show
        the operations of a CPU: in jax 0.10 it does so at level 1, in 0.8 at level 2.
        """
        level = 1 if _release(packages.get("jax")) >= (0, 10) else 2
        body = {"output_dir": output, "host_tracer_level": level, "python_tracer_level": 0}
        return json.dumps(body).encode()

    def refused_trace(self, status: int, answer: str) -> str | None:
        """Why the server did not start or stop a trace; None if it did. main refuses with status 200."""
        text = " ".join(answer.split())[:_ANSWER_CHARACTERS]
        return text or f"HTTP {status}" if status != 200 or _NO_TRACE.search(answer) else None

    def refused_flags(self, exit_code: int | None, log_lines: Sequence[str]) -> str | None:
        """Why the server rejected its command line; None if it exited for another reason."""
        refusals = [match for match in map(_REFUSED.search, log_lines) if match]
        if exit_code != 2 or not refusals:  # argparse's exit code
            return None
        return refusals[-1][1] or refusals[-1][2]


def _release(version: object) -> tuple[int, ...]:
    """Major and minor number of a version; (0, 0) when it is not known."""
    match = re.match(r"(\d+)\.(\d+)", str(version or ""))
    return (int(match[1]), int(match[2])) if match else (0, 0)
