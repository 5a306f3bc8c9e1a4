"""The commands in the README and in docs/ can be pasted into a shell, one block after another.

A page's code blocks are marked with their language; ``sh`` blocks are commands. Inline code that begins
with a program's name is a command too.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.runner.command import Command
from tests.support.parameters_page import PAGE, parameters_page
from tests.support.paths import COMPARE_NOTEBOOK, PROFILE_NOTEBOOK, ROOT

PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
LANGUAGES = {"sh", "text", "toml", "mermaid"}
SHELL_VARIABLES = {"PWD", "HOME", "PATH"}
PROGRAMS = ("make", "python", "kubectl", "gcloud", "docker", "sudo", "bash", "papermill", ".venv/bin/")
NOTEBOOKS = {PROFILE_NOTEBOOK.name: Parameters, COMPARE_NOTEBOOK.name: CompareParameters}
MAKE_NOTEBOOKS = {"report": Parameters, "compare": CompareParameters, "ab": CompareParameters}
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def shell_blocks(page: Path) -> list[str]:
    """Return the ``sh`` blocks, in the order of the page."""
    return [body for _, language, body in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "sh"]


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def inline_commands(page: Path) -> list[str]:
    """Return inline code that is a command; a pipe is escaped in a table."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    return [span.replace("\\|", "|") for span in spans if span.startswith(PROGRAMS) and len(span.split()) > 1]


def command_lines(page: Path) -> list[str]:
    lines = "\n".join(shell_blocks(page)).replace("\\\n", " ").splitlines()
    return [*lines, *inline_commands(page)]


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def variables(line: str) -> set[str]:
    """Return the variables that the shell would expand: not those within single quotes."""
    return set(re.findall(r"\$\{?([A-Za-z_]\w*)", re.sub(r"'[^'\"]*'", "", line)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parameters_of(line: str) -> dict[str, object]:
    """Return the parameters that a command passes with -p and the like."""
    arguments = words(line)
    command = Command.parse(["notebook", "out.ipynb", *arguments])
    assert command is not None
    return command.parameters()


def test_the_readme_stays_short():
    """Broken: the README is too long to be read."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 2000


def test_the_parameters_page_is_up_to_date():
    """Broken: the page differs from the code; ``python -m tests.support.parameters_page`` writes it."""
    assert PAGE.read_text(encoding="utf-8") == parameters_page()


def test_commands_links_and_parameters_are_recognised():
    """Broken: the patterns match nothing, and every test below passes on an empty list."""
    lines = [line for page in PAGES for line in command_lines(page)]
    text = "".join(prose(page) for page in PAGES)
    assert any(f"scoreprof_nb notebooks/{PROFILE_NOTEBOOK.name}" in line for line in lines)
    assert any("PARAMS=" in line for line in lines if line.startswith("make "))
    assert any(variables(line) for line in lines)
    assert re.search(r"`-p (\w+)", text)
    assert len(re.findall(r"\]\(([^)\s]+)\)", text)) > 10


@of_each_page
def test_every_code_block_is_marked_with_its_language(page):
    """Broken: a code block without a language escapes these tests."""
    assert {language for _, language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))} <= LANGUAGES


@of_each_page
def test_commands_are_valid_shell_without_placeholders(page):
    """Broken: a pasted command is no shell: `<this repository>` is a redirection, and `open` exists on a Mac
    only.
    """
    for commands in (*shell_blocks(page), *inline_commands(page)):
        if "..." in commands.split():
            continue  # an abbreviated command is not to be pasted
        checked = subprocess.run(["bash", "-n"], input=commands, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{commands}\n{checked.stderr}"
        assert not re.search(r"<[a-z ]+>|(?<![$\w])[A-Z]{3,}/|^open ", commands, re.MULTILINE), commands


@of_each_page
def test_every_variable_is_set_by_an_earlier_block(page):
    """Broken: a pasted command gets an empty string in place of the cluster or the bucket."""
    defined = set(SHELL_VARIABLES)
    for block in shell_blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            assert variables(line) <= defined, line
            defined |= set(re.findall(r"\bexport (\w+)=", line))
    for line in inline_commands(page):
        assert variables(line) <= defined, line


@of_each_page
def test_make_targets_exist(page):
    """Broken: a documented make target does not exist."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))
    named = {word for line in command_lines(page) for word in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert named <= targets


@of_each_page
def test_parameters_exist_and_their_values_are_accepted(page):
    """Broken: a documented command, PARAMS of make, or a parameter named alone is refused."""
    for line in command_lines(page):
        for name, model in NOTEBOOKS.items():
            if f"scoreprof_nb notebooks/{name}" in line:
                model.from_mapping(parameters_of(line.partition(name)[2]))
        make = re.match(r"make (\w+)", line)
        for assignment in words(line) if make and make[1] in MAKE_NOTEBOOKS else ():
            if assignment.startswith("PARAMS="):
                MAKE_NOTEBOOKS[make[1]].from_mapping(parameters_of(assignment.removeprefix("PARAMS=")))
    names = re.findall(r"`-p (\w+)", prose(page))
    assert set(names) <= Parameters.names() | CompareParameters.names()


@of_each_page
def test_relative_links_lead_to_a_file_and_a_heading(page):
    """Broken: a link leads nowhere."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@of_each_page
def test_the_documented_job_commands_render_the_job(page):
    """Broken: following the page gives an error, or a Job with the wrong image."""
    blocks = shell_blocks(page)
    renderings = [
        block for block in blocks if re.search(r"(make job|render\.sh).*\| kubectl apply -f -", block)
    ]
    if not renderings:
        pytest.skip("starts no Job")
    exports = [
        line for block in blocks for line in block.splitlines() if re.match(r"export \w+=(?!.*\$\()", line)
    ]
    jobs = [
        line.replace("kubectl apply -f -", "cat")
        for block in renderings
        for line in block.splitlines()
        if line.startswith("export SETTINGS=") or "| kubectl apply -f -" in line
    ]
    script = "\necho ---\n".join(["\n".join(exports), *jobs])
    environment = {**os.environ, "JOB": "score-profiling-run"}  # the newest one, by kubectl
    rendered = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert rendered.returncode == 0, rendered.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(rendered.stdout) if manifest]
    containers = [
        manifest["spec"]["template"]["spec"]["containers"][0]
        for manifest in manifests
        if manifest["kind"] == "Job"
    ]
    assert len(containers) == sum("| cat" in line for line in jobs)
    for container in containers:
        assert container["image"].startswith("registry.example/my-project/score-profiler:serving-fixes")
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert environment.get("MODEL") == "qwen3-8b" or "HF_HOME" in environment
    flags = re.findall(r"SERVER_FLAGS=([^\"]+)\"", script)
    assert all(text in rendered.stdout for text in flags)


def test_every_key_of_summary_json_is_documented():
    """Broken: a key of a summary, its phases, or the objects within a phase is undocumented."""
    schema = json.loads((ROOT / "docs" / "summary.schema.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8").partition("## summary.json")[2]
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
    objects = [schema, *schema["$defs"].values()]
    keys = {key for described in objects for key in described.get("properties", {})}
    assert keys <= documented
