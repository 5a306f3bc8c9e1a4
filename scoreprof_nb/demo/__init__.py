"""Everything needed to run the real server on a CPU: a tiny model, flags, and repairs for one version."""

import shlex
from pathlib import Path

TINY_MODEL = Path(__file__).with_name("tiny_model.py")
SERVE_0_0_2 = Path(__file__).with_name("serve_0_0_2.py")

# A small KV pool, because native attention on a CPU scans all of it. Few padded shapes, because each pair
# of batch size and number of tokens is a program of its own, which takes seconds to compile.
CONTEXT = 256  # tokens of a prompt, at most
FLAGS = shlex.split(
    "--dtype bfloat16 --mem-fraction-static 0.1 --page-size 1 --skip-server-warmup "
    "--precompile-bs-paddings 4 40 --precompile-token-paddings 64 128 1024 "
    "--max-total-tokens 1024 --max-running-requests 40 "
    f"--context-length {CONTEXT}"
)
NO_PRECOMPILE = {"0.0.2": "--disable-jax-precompile"}
NO_PRECOMPILE_LATER = "--disable-precompile"


def flags(version: str) -> list[str]:
    """Return the server flags for the tiny model and this version of sglang-jax."""
    return [*FLAGS, NO_PRECOMPILE.get(version, NO_PRECOMPILE_LATER)]
