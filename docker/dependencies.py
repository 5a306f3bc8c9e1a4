"""Prints the kit's dependencies, one a line, so that they are a layer before its source."""

import tomllib
from pathlib import Path

print("\n".join(tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]))
