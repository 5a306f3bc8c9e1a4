"""What others found and did in this API, by component: so that a report can name it beside a finding."""

from dataclasses import dataclass
from types import MappingProxyType

_SGLANG = "https://github.com/sgl-project/sglang/issues/"
_SGLANG_JAX = "https://github.com/sgl-project/sglang-jax/issues/"


@dataclass(frozen=True)
class KnownFix:
    """``what``: what was done, with its effect where it was published; ``issues``: name and address."""

    what: str
    issues: tuple[tuple[str, str], ...] = ()


def _sglang(*numbers: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"sglang #{number}", f"{_SGLANG}{number}") for number in numbers)


def _sglang_jax(*numbers: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"sglang-jax #{number}", f"{_SGLANG_JAX}{number}") for number in numbers)


MEMORY_GROWTH = KnownFix(
    "The path that computes log-probabilities was seen to grow until the kernel killed the process",
    _sglang_jax(1176),
)
KNOWN_FIXES = MappingProxyType(
    {
        "tokenize": (
            KnownFix("tokenized the items in one batch: p99 4,583 to 464 ms", _sglang(5141, 9382)),
            KnownFix("stopped calling len(tokenizer) for each request: 2.5 to 6.9 requests/s"),
        ),
        "ipc": (
            KnownFix("sent one message per request, not one per item, which splits batches", _sglang(9436)),
        ),
        "decode_step": (KnownFix("left out the decode step: 33 to 20 ms", _sglang(8840)),),
        "logprobs": (
            KnownFix(
                "left out input log-probabilities that nobody asked for: p99 6,220 to 454 ms", _sglang(9748)
            ),
            KnownFix("copied results to the host once per batch, not once per request", _sglang(24168)),
        ),
        "trace_compile": (
            KnownFix("avoided a compile for each shape of the log-probabilities", _sglang_jax(1176, 503)),
        ),
        "gc": (KnownFix("tuned the garbage collector: stalls of 100 to 300 ms", _sglang(9241)),),
        "idle_poll": (KnownFix("made the scheduler sleep while it has no requests", _sglang(1730)),),
        "softmax": (
            KnownFix("computed the softmax over a few labels with NumPy, without JAX in the event loop"),
        ),
    }
)
