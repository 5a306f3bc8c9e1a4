"""The Dockerfile and its scripts: what a linter knows, and what it does not. `make image-check` builds it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

DOCKERFILE = ROOT / "docker" / "Dockerfile.profiling"
TEXT = DOCKERFILE.read_text()
# A package that needs no other, not even to be built.
PACKAGE = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "branch"
version = "1"
"""
BACKEND = """
import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/branch-1-py3-none-any.whl", "w") as wheel:
        wheel.write("branch.py")
        info = "branch-1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: branch\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "branch-1-py3-none-any.whl"
"""


def git(folder, *words):
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    answer = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True)
    return answer.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with two commits: the first tagged ``v1`` (annotated), the second the branch ``main``."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "python").mkdir()
    (folder / "python" / "pyproject.toml").write_text(PACKAGE)
    (folder / "python" / "backend.py").write_text(BACKEND)
    for number in (1, 2):
        (folder / "python" / "branch.py").write_text(f"NUMBER = {number}\n")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", str(number))
        if number == 1:
            git(folder, "tag", "--annotate", "v1", "--message", "1")
    return folder


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
    shell, python = (sorted((ROOT / "docker").glob(pattern)) for pattern in ("*.sh", "*.py"))
    assert shell
    assert python
    for script in shell:
        subprocess.run(["bash", "-n", str(script)], check=True)
    for script in python:
        compile(script.read_text(), str(script), "exec")


def test_base_is_an_exact_version_that_can_be_replaced():
    (base,) = [value for value in instructions("ARG") if value.startswith("BASE_IMAGE=")]
    assert re.fullmatch(r"BASE_IMAGE=python:3\.12\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert "FROM ${BASE_IMAGE} AS base" in TEXT


def test_arguments_of_the_rfc():
    """Broken: `docker build --build-arg BRANCH_NAME=...`, as its users build, has no effect."""
    names = {value.partition("=")[0] for value in instructions("ARG")}
    assert {"REPO_URL", "BRANCH_NAME", "GIT_COMMIT", "SGLANG_EXTRA", "BASELINE_BRANCH"} <= names


@pytest.mark.parametrize(
    ("branch", "commit", "is_commit"),
    [("main", "", "main"), ("v1", "", "v1^{commit}"), ("main", "v1^{commit}", "v1^{commit}")],
)
def test_resolved_commit_is_written_down_also_where_none_is_given(
    repository, tmp_path, branch, commit, is_commit
):
    """Broken: after the RFC's own `docker build`, nobody can tell what was profiled."""
    is_commit = git(repository, "rev-parse", is_commit)
    commit = commit and git(repository, "rev-parse", commit)
    subprocess.run(
        [
            "bash",
            ROOT / "docker" / "install_server.sh",
            tmp_path / "server",
            tmp_path / "wheels",
            f"file://{repository}",
            branch,
            commit,
            "",
            "",
        ],
        check=True,
        capture_output=True,
        env={
            **os.environ,
            "INSTALLER_PYTHON": sys.base_prefix + "/bin/python3",
            "CREATE_ENVIRONMENT": str(ROOT / "constraints" / "create_environment.py"),
        },
    )
    written = json.loads((tmp_path / "wheels" / "scoreprof-source.json").read_text())
    assert written == {"repo": f"file://{repository}", "branch": branch, "commit": is_commit}
    assert not list((tmp_path / "server").rglob("branch.py")), "only its wheel goes into the last layer"
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("branch.py").decode()
    assert content == git(repository, "show", f"{is_commit}:python/branch.py") + "\n"


def made(repository, *words):
    """The docker command that `make image` would run."""
    command = ["make", "--dry-run", "image", f"REPO={repository}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("branch", "commit"), [("main", "main"), ("v1", "v1^{commit}"), (None, "v1^{commit}")]
)
def test_make_image_names_the_commit(repository, branch, commit):
    """Broken: an annotated tag's own id is taken for a commit; None: the commit itself is asked for."""
    commit = git(repository, "rev-parse", commit)
    answer = made(repository, f"BRANCH={branch or commit}", f"BASELINE={branch or commit}")
    assert f"GIT_COMMIT={commit} " in answer.stdout
    assert f"BASELINE_COMMIT={commit} " in answer.stdout


def test_make_image_is_for_the_nodes_and_uses_buildkit(repository):
    """Broken: an image made on an ARM machine does not start on a TPU node, or `--mount` is not known."""
    assert "DOCKER_BUILDKIT=1 docker build --platform linux/amd64 " in made(repository).stdout


def test_make_image_reaches_a_private_repository(repository):
    output = made(repository, "SSH=default", "NETRC=/home/me/.netrc").stdout
    assert "--ssh default --secret id=netrc,src=/home/me/.netrc" in output
    assert "--ssh" not in made(repository).stdout


def test_make_image_says_what_is_no_branch(repository):
    answer = made(repository, "BRANCH=nope")
    assert answer.returncode != 0
    assert "no branch or tag nope; a commit is given by all of its 40 digits" in answer.stderr


def test_make_image_passes_the_dockerfiles_arguments_on(repository):
    """Broken: an image for the CPU cannot be made but without make."""
    answer = made(repository, "SGLANG_EXTRA=", "SERVER_CONSTRAINTS=server.txt", "BASE_IMAGE=x@sha256:0")
    words = answer.stdout.replace("\\\n", " ").split()
    for argument in ("SGLANG_EXTRA=", "SERVER_CONSTRAINTS=server.txt", "BASE_IMAGE=x@sha256:0"):
        assert argument in words
    assert "SGLANG_EXTRA" not in made(repository).stdout, "the Dockerfile's own default is for TPUs"


def test_no_compiler_and_no_git_in_the_final_stage():
    final = TEXT[TEXT.index("AS final") :]
    assert "apt-get" not in final
    assert "FROM base AS final" in TEXT


def test_dependencies_are_a_layer_before_the_source():
    """Broken: each change of the kit installs every dependency again."""
    assert TEXT.index("--requirement dependencies.txt") < TEXT.index("COPY scoreprof_nb")


def test_pinned_packages_are_a_layer_before_the_branch():
    """Broken: each new commit of the branch installs the server's dependencies again."""
    packages, server = (TEXT.index(f"AS {stage}\n") for stage in ("server-packages", "server"))
    assert packages < TEXT.index("--requirement /constraints/pins.txt") < server < TEXT.index("ARG REPO_URL")


def test_final_layers_go_from_what_seldom_changes_to_what_often_does():
    """Broken: a new commit, or a change of the kit, pushes and pulls gigabytes."""
    final = TEXT[TEXT.index("AS final") :]
    order = [
        "/opt/kit /opt/kit",
        "/opt/server /opt/server",
        "source=/wheels",
        "source=/wheel,",
        "COPY notebooks",
    ]
    places = [final.index(step) for step in order]
    assert places == sorted(places)
    assert "COPY constraints /" not in TEXT, "a change of the server's pins would install the kit again"


@pytest.mark.parametrize("name", ["server-main.txt", "server.txt"])
def test_pins_are_exact(name):
    """Broken: one commit gives two images."""
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][^ ;]*", pin) for pin in pins)
    assert {"jax", "jaxlib", "libtpu", "flax"} <= {pin.partition("==")[0] for pin in pins}


def test_pins_are_what_the_release_needs():
    """Broken: `make` installs another sglang-jax or JAX than pyproject.toml says; run constraints/lock_server.py."""
    text = (ROOT / "constraints" / "server.txt").read_text()
    assert text.startswith("# Made by constraints/lock_server.py: the extra server of pyproject.toml\n")
    pins = map(Requirement, text.splitlines()[1:])
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [Requirement(text) for text in project["optional-dependencies"]["server"]]
    assert "sglang-jax" in {requirement.name for requirement in needed}
    for requirement in needed:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_pins_are_the_default_and_exist():
    (default,) = [value for value in instructions("ARG") if value.startswith("SERVER_CONSTRAINTS=")]
    assert (ROOT / "constraints" / default.partition("=")[2]).exists()


def script(folder, name):
    """A program of the repository that is no module of a package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_requirements_of_a_branch_are_read_without_its_blobs(tmp_path, monkeypatch):
    """Broken: the pins are those of another commit, or lack what a TPU needs."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "config", "uploadpack.allowAnySHA1InWant", "true")
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "pyproject.toml").write_text(
        '[project]\ndependencies = ["flax"]\noptional-dependencies.tpu = ["jax[tpu]"]\n'
    )
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "1")
    beside = "create_environment"  # found there when the program is run
    monkeypatch.setitem(sys.modules, beside, script("constraints", beside))
    lock_server = script("constraints", "lock_server")
    found = lock_server.requirements_of(f"file://{tmp_path}", "main")
    assert found == (git(tmp_path, "rev-parse", "main"), ["flax", "jax[tpu]"])


def test_bill_of_materials_has_all_environments(tmp_path):
    """Broken: nobody can tell from the image which packages it has."""
    for environment, package in (("kit", "py_spy-0.4.3"), ("server", "Jax-0.8.0")):
        info = tmp_path / environment / "lib" / "python3.12" / "site-packages" / f"{package}.dist-info"
        info.mkdir(parents=True)
        name, _, version = package.partition("-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    status = tmp_path / "status"
    status.write_text("Package: tini\nStatus: install\nArchitecture: amd64\nVersion: 0.19.0-1\n\n")
    bom = script("docker", "image_info").sbom(tmp_path, status)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    assert datetime.fromisoformat(bom["metadata"]["timestamp"]).tzinfo, "a list of packages has a date"
    assert [component["bom-ref"] for component in bom["components"]] == [
        "kit:pkg:pypi/py-spy@0.4.3",
        "server:pkg:pypi/jax@0.8.0",
        "system:pkg:deb/debian/tini@0.19.0-1?arch=amd64",
    ]


def test_private_repository_leaves_no_trace():
    """Broken: a token is a build argument, which everybody who has the image can read."""
    installs = [step for step in re.split(r"\n(?=[A-Z]+ )", TEXT) if "install_server /opt/" in step]
    assert len(installs) == 2
    for value in installs:
        assert "--mount=type=ssh" in value
        assert "--mount=type=secret,id=netrc,target=/root/.netrc" in value


def test_entrypoint_says_what_may_be_traced_and_locked(tmp_path):
    """Broken: when libtpu cannot pin memory, the log does not tell why."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nulimit -S -l; ulimit -H -l\n")
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = "ulimit -S -l 64; exec bash " + str(ROOT / "docker" / "entrypoint.sh")
    answer = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, env=environment
    )
    first, soft, hard = answer.stdout.splitlines()
    assert re.fullmatch(r"ptrace_scope \w+, CapEff [0-9a-f]{16}, uid \d+, ulimit -l \w+", first)
    assert soft == hard, "raised as far as allowed"


def test_platform_is_not_baked_in():
    """Broken: JAX never sees the TPU."""
    assert "JAX_PLATFORMS" not in TEXT


def test_init_passes_signals_to_the_runner():
    (entrypoint,) = instructions("ENTRYPOINT")
    assert entrypoint == '["/usr/bin/tini", "--", "/opt/scoreprof/entrypoint.sh"]'
    assert re.search(
        r"^exec python -m scoreprof_nb", (ROOT / "docker" / "entrypoint.sh").read_text(), re.MULTILINE
    )


def test_everything_copied_is_let_through():
    """Broken: .dockerignore, which admits only what it names, keeps out a file that the image copies."""
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copies = [value for value in instructions("COPY") if not value.startswith("--from")]
    assert copies
    for value in copies:
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
