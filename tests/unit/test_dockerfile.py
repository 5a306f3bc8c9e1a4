"""The Dockerfile and its scripts: what a linter knows, and what it does not. `make image-check` builds it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile.profiling"
TEXT = DOCKERFILE.read_text()


def instructions(name):
    return re.findall(rf"^{name} (.*(?:\\\n.*)*)", TEXT, re.MULTILINE)


def test_hadolint_is_content():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        assert not os.environ.get("CI"), "CI must have hadolint"
        pytest.skip("no hadolint")
    answer = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_scripts_are_shell_and_python():
    for script in (ROOT / "docker").glob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)
    for script in (ROOT / "docker").glob("*.py"):
        compile(script.read_text(), str(script), "exec")


def test_base_is_an_exact_version_that_can_be_replaced():
    (base,) = [value for value in instructions("ARG") if value.startswith("BASE_IMAGE=")]
    assert re.fullmatch(r"BASE_IMAGE=python:3\.12\.\d+-slim-bookworm", base)
    assert "FROM ${BASE_IMAGE} AS base" in TEXT


def test_arguments_of_the_rfc():
    """`docker build --build-arg BRANCH_NAME=...` is how its users build."""
    names = {value.partition("=")[0] for value in instructions("ARG")}
    assert {"REPO_URL", "BRANCH_NAME", "GIT_COMMIT", "SGLANG_EXTRA", "BASELINE_BRANCH"} <= names


def test_no_compiler_and_no_git_in_the_final_stage():
    final = TEXT[TEXT.index("AS final") :]
    assert "apt-get" not in final
    assert "FROM base AS final" in TEXT


def test_dependencies_are_a_layer_before_the_source():
    """A change of the kit must not install everything again."""
    assert TEXT.index("--requirement dependencies.txt") < TEXT.index("COPY scoreprof_nb")


def test_platform_is_not_baked_in():
    """JAX would never see the TPU."""
    assert "JAX_PLATFORMS" not in TEXT


def test_init_passes_signals_to_the_runner():
    (entrypoint,) = instructions("ENTRYPOINT")
    assert entrypoint == '["/usr/bin/tini", "--", "/opt/scoreprof/entrypoint.sh"]'
    assert re.search(
        r"^exec python -m scoreprof_nb", (ROOT / "docker" / "entrypoint.sh").read_text(), re.MULTILINE
    )


def test_everything_copied_is_let_through():
    """.dockerignore leaves out all but what is named."""
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for value in instructions("COPY"):
        if not value.startswith("--from"):
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.partition("/")[0] in let_through, source


def test_dependencies_script_prints_the_kits_own():
    answer = subprocess.run(
        [sys.executable, str(ROOT / "docker" / "dependencies.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"papermill", "py-spy==0.4.3", "jupyterlab"} <= set(answer.stdout.split())


def test_image_check_has_what_it_needs():
    script = ROOT / "tests" / "image" / "check.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
