"""Print the kit's dependencies, one per line, so that the image installs them before the source."""

import tomllib
from pathlib import Path

print("\n".join(tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]))
