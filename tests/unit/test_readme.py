"""The README's commands can be pasted into a shell, one block after another."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.support.paths import ROOT

TEXT = (ROOT / "README.md").read_text()
SHELL_VARIABLES = {"PWD", "HOME"}
LISTINGS = {"The run folder"}  # sections whose blocks are not commands


def shell_blocks():
    """Return (section, commands) of each code block without a language, in the order of the README."""
    blocks = []
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        title = section.partition("\n")[0]
        if title not in LISTINGS:
            blocks += [
                (title, body) for body in re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
            ]
    return blocks


def test_every_variable_is_set_by_an_earlier_block():
    """Otherwise a pasted command gets an empty string in place of the cluster or the bucket."""
    defined = set(SHELL_VARIABLES)
    for title, commands in shell_blocks():
        for line in commands.replace("\\\n", " ").splitlines():
            unset = set(re.findall(r"\$\{?([A-Za-z_]\w*)", line)) - defined
            assert not unset, f"{title}: {line}"
            defined |= set(re.findall(r"\bexport (\w+)=", line))


@pytest.mark.parametrize(("title", "commands"), shell_blocks())
def test_commands_are_valid_shell_without_placeholders(title, commands):
    """`git clone <this repository>` would be a redirection, and `open` exists on a Mac only."""
    assert subprocess.run(["bash", "-n"], input=commands, text=True).returncode == 0
    assert not re.search(r"<[a-z ]+>|(?<![$\w])[A-Z]{3,}/|^open ", commands, re.MULTILINE)


@pytest.mark.skipif(not os.environ.get("CI") and shutil.which("kubectl") is None, reason="no kubectl")
def test_the_documented_job_commands_render_the_job():
    """Otherwise following the README gives an error, or a Job with the wrong image."""
    blocks = [commands for title, commands in shell_blocks() if title.startswith("In a container")]
    exports, *later_blocks = blocks
    renderings = [
        commands.replace("kubectl apply -f -", "cat")
        for commands in later_blocks
        if "| kubectl apply -f -" in commands
    ]
    rendered = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ---\n".join([exports, *renderings])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    manifests = [manifest for manifest in yaml.safe_load_all(rendered.stdout) if manifest]
    specs = [one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Job"]
    images = [spec["containers"][0]["image"] for spec in specs]
    assert images == ["registry.example/my-project/score-profiler:serving-fixes"] * 2
    environment = {variable["name"]: variable.get("value") for variable in specs[1]["containers"][0]["env"]}
    assert environment["MODEL"] == "qwen3-8b"
    parameters = [one["data"]["parameters.yaml"] for one in manifests if one["kind"] == "ConfigMap"]
    assert yaml.safe_load(parameters[1]) == {"label": "tuned", "server_flags": "--mem-fraction-static 0.8"}
