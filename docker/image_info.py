"""Write what the image consists of: image_info.py KIT_COMMIT FOLDER.

image.json: the commits that it was built from, for the report. sbom.cdx.json: all packages, of Debian and of
each Python environment, as a CycloneDX 1.5 bill of materials (cyclonedx.org).
"""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ENVIRONMENTS = ("kit", "server", "baseline")
DPKG_STATUS = Path("/var/lib/dpkg/status")


def image_info(commit: str, root: Path) -> dict[str, Any]:
    """The commits of the kit and of each server."""
    sources = {name: root / name / "scoreprof-source.json" for name in ENVIRONMENTS[1:]}
    return {
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "kit_commit": commit or None,
        **{name: json.loads(path.read_text()) for name, path in sources.items() if path.exists()},
    }


def python_packages(environment: Path) -> Iterator[dict[str, Any]]:
    """The distributions in an environment below /opt."""
    folders = [str(folder) for folder in environment.glob("lib/python*/site-packages")]
    for found in sorted(metadata.distributions(path=folders), key=lambda one: one.name.lower()):
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        yield _component(f"pkg:pypi/{name}@{found.version}", name, found.version, environment.name)


def debian_packages(status: Path) -> Iterator[dict[str, Any]]:
    """The packages that dpkg lists."""
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", paragraph, re.MULTILINE))
        if fields:
            purl = "pkg:deb/debian/{Package}@{Version}?arch={Architecture}".format(**fields)
            yield _component(purl, fields["Package"], fields["Version"], "system")


def _component(purl: str, name: str, version: str, environment: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"{environment}:{purl}",
        "name": name,
        "version": version,
        "purl": purl,
        "properties": [{"name": "scoreprof:environment", "value": environment}],
    }


def sbom(root: Path, status: Path) -> dict[str, Any]:
    """The bill of materials."""
    components = [component for name in ENVIRONMENTS for component in python_packages(root / name)]
    if status.exists():
        components += debian_packages(status)
    made = {"timestamp": datetime.now(UTC).isoformat(timespec="seconds")}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": made,
        "components": components,
    }


def main(commit: str, target: Path) -> None:
    """Write both files."""
    target.mkdir(parents=True, exist_ok=True)
    for name, value in {
        "image.json": image_info(commit, Path("/opt")),
        "sbom.cdx.json": sbom(Path("/opt"), DPKG_STATUS),
    }.items():
        (target / name).write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
