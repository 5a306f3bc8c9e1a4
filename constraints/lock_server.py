"""Pin the server's packages: writes constraints/server-main.txt and constraints/server.txt.

    python constraints/lock_server.py [--repo URL] [--commit COMMIT]

server-main.txt pins what sglang-jax's main branch (or COMMIT) needs on a TPU, for the image; server.txt what
its release 0.0.2 needs, for `make` and for an image of that release: the newest versions that fit. Needs git
and uv: run it with build/uv/bin/python, after `make setup`.

Run it before a release, and whenever the extra `server` of pyproject.toml changes, then `make test`. To keep
the versions that are there, copy the file and name the copy in UV_CONSTRAINT, as constraints for uv.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from create_environment import pip_options, uv_environment

FOLDER = Path(__file__).parent
REPO = "https://github.com/sgl-project/sglang-jax.git"
PLATFORM = ("--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_36")  # Debian bookworm
EXTRA = "tpu"


def requirements_of(repo: str, commit: str) -> tuple[str, list[str]]:
    """The full id of a commit or branch, and what its package requires with the extra ``tpu``."""
    with tempfile.TemporaryDirectory() as clone:

        def git(*words: str) -> str:
            command = ["git", "-C", clone, *words]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        git("init", "--quiet")
        git("remote", "add", "origin", repo)
        git("fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", commit)  # one file is enough
        resolved = git("rev-parse", "FETCH_HEAD").strip()
        project = tomllib.loads(git("show", "FETCH_HEAD:python/pyproject.toml"))["project"]
    return resolved, [*project["dependencies"], *project["optional-dependencies"][EXTRA]]


def release_requirements() -> list[str]:
    """The packages of the extra ``server`` in this repository's pyproject.toml."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements: list[str] = project["optional-dependencies"]["server"]
    return requirements


def lock(requirements: list[str], target: Path, header: str) -> None:
    """Write the exact versions of all packages. Raises CalledProcessError if there is no solution."""
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-", "--quiet", "--no-annotate"]
    command += ["--no-header", "--output-file", str(target), *PLATFORM]
    target.unlink(missing_ok=True)  # its versions would be preferred
    subprocess.run(
        command,
        input="\n".join(requirements),
        text=True,
        check=True,
        env=uv_environment(pip_options(), os.environ),
        stdout=subprocess.DEVNULL,
    )
    target.write_text(f"# Made by constraints/lock_server.py: {header}\n{target.read_text(encoding='utf-8')}")


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repo", default=REPO, metavar="URL")
    parser.add_argument("--commit", default="main", help="of sglang-jax; may be a branch")
    options = parser.parse_args()
    commit, requirements = requirements_of(options.repo, options.commit)
    lock(requirements, FOLDER / "server-main.txt", f"sglang-jax[{EXTRA}] at {commit}")
    lock(release_requirements(), FOLDER / "server.txt", "the extra server of pyproject.toml")


if __name__ == "__main__":
    main()
