"""A release has one version, wherever it is written."""

import re
import tomllib

import scoreprof_nb
from tests.support.paths import ROOT


def test_package_project_and_changelog_agree_on_the_version():
    """Broken: the package, pyproject.toml and the changelog name different versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    released = re.findall(
        r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert project["version"] == scoreprof_nb.__version__ == released[0]


def test_unreleased_changes_come_first():
    """Broken: a released section stands above the unreleased changes."""
    headings = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
