"""Inspects the server's interpreter. It runs there, so it imports nothing from the kit.

    <server python> inspect_server.py versions PACKAGE
    <server python> inspect_server.py devices
    <server python> inspect_server.py labels MODEL TRUST_REMOTE_CODE TEXT [TEXT ...]

Prints one JSON object on the last line of stdout. PACKAGE is the server's own: its source is looked up.
"""

import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def versions(package: str) -> dict[str, Any]:
    """The version of every installed package, by its normalised name (PEP 503)."""
    installed = {
        re.sub(r"[-_.]+", "-", distribution.name).lower(): distribution.version
        for distribution in metadata.distributions()
        if distribution.name  # None for the remains of a broken installation
    }
    return {
        "python": platform.python_version(),
        "packages": dict(sorted(installed.items())),
        "source": source(package),
    }


def devices() -> dict[str, Any]:
    """The accelerators that JAX finds. It opens them, so nobody else may use them at this moment."""
    import jax

    found = jax.devices()
    return {"platform": found[0].platform, "kind": found[0].device_kind, "count": len(found)}


def source(package: str) -> dict[str, Any] | None:
    """Repository, branch and commit: as the image's build recorded them, else as pip did."""
    recorded = Path(sys.prefix, "scoreprof-source.json")
    if recorded.exists():
        checkout: dict[str, Any] = json.loads(recorded.read_text())
        return {name: checkout.get(name) for name in ("repo", "branch", "commit")}
    try:
        text = metadata.distribution(package).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    if not text:
        return None
    origin = json.loads(text)
    version_control = origin.get("vcs_info") or {}
    return {
        "repo": origin.get("url"),
        "branch": version_control.get("requested_revision"),
        "commit": version_control.get("commit_id"),
    }


def labels(model: str, trust: str, texts: list[str]) -> dict[str, Any]:
    """The token ids of each text, and the size of the vocabulary."""
    from transformers import AutoTokenizer

    # The revision is the user's to choose: the server loads the same one.
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust == "True")  # nosec B615
    return {
        "ids": {text: tokenizer.encode(text, add_special_tokens=False) for text in texts},
        "vocabulary": len(tokenizer),
    }


if __name__ == "__main__":
    question, *arguments = sys.argv[1:]
    if question == "versions":
        answer = versions(arguments[0])
    elif question == "devices":
        answer = devices()
    else:
        answer = labels(arguments[0], arguments[1], arguments[2:])
    print(json.dumps(answer))
