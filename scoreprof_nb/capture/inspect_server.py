"""Asks the server's interpreter about itself. Runs there, so it imports nothing of the kit.

    <server python> inspect_server.py versions
    <server python> inspect_server.py labels MODEL TRUST_REMOTE_CODE TEXT [TEXT ...]

Prints one JSON object on the last line of stdout.
"""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("sglang-jax", "jax", "jaxlib", "libtpu", "flax", "numpy", "transformers", "pyzmq", "uvloop")


def versions() -> dict[str, Any]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return {"python": platform.python_version(), "packages": found, "source": source()}


def source() -> dict[str, Any] | None:
    """Repository, branch and commit: as the image's build wrote them down, else as pip did."""
    written = Path(sys.prefix, "scoreprof-source.json")
    if written.exists():
        found: dict[str, Any] = json.loads(written.read_text())
        return {name: found.get(name) for name in ("repo", "branch", "commit")}
    try:
        text = metadata.distribution("sglang-jax").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    if not text:
        return None
    told = json.loads(text)
    control = told.get("vcs_info") or {}
    return {
        "repo": told.get("url"),
        "branch": control.get("requested_revision"),
        "commit": control.get("commit_id"),
    }


def labels(model: str, trust: str, texts: list[str]) -> dict[str, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust == "True")
    return {
        "ids": {text: tokenizer.encode(text, add_special_tokens=False) for text in texts},
        "vocabulary": len(tokenizer),
    }


if __name__ == "__main__":
    print(
        json.dumps(
            versions() if sys.argv[1] == "versions" else labels(sys.argv[2], sys.argv[3], sys.argv[4:])
        )
    )
