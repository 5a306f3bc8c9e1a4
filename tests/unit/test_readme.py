"""The README's commands can be pasted, one block after another."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.support.paths import ROOT

TEXT = (ROOT / "README.md").read_text()
GIVEN = {"PWD", "HOME"}  # by the shell
NOT_SHELL = {"The run folder"}  # its block is a listing


def shell_blocks():
    """(section, commands) of each block without a language, in the README's order."""
    blocks = []
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        title = section.partition("\n")[0]
        if title not in NOT_SHELL:
            blocks += [
                (title, body) for body in re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
            ]
    return blocks


def test_every_variable_is_set_by_an_earlier_block():
    """Broken: a pasted command gets an empty word where the cluster or the bucket belongs."""
    set_before = set(GIVEN)
    for title, commands in shell_blocks():
        for line in commands.replace("\\\n", " ").splitlines():
            unset = set(re.findall(r"\$\{?([A-Za-z_]\w*)", line)) - set_before
            assert not unset, f"{title}: {line}"
            set_before |= set(re.findall(r"\bexport (\w+)=", line))


@pytest.mark.parametrize(("title", "commands"), shell_blocks())
def test_commands_are_shell_without_gaps_to_fill_in(title, commands):
    """Broken: `git clone <this repository>` is a redirection, `open` is there on a Mac only."""
    assert subprocess.run(["bash", "-n"], input=commands, text=True).returncode == 0
    assert not re.search(r"<[a-z ]+>|(?<![$\w])[A-Z]{3,}/|^open ", commands, re.MULTILINE)


@pytest.mark.skipif(not os.environ.get("CI") and shutil.which("kubectl") is None, reason="no kubectl")
def test_job_of_the_readme_is_rendered():
    """Broken: who follows the README gets an error, or a Job with an image that is not theirs."""
    blocks = [commands for title, commands in shell_blocks() if title.startswith("In a container")]
    names, *rest = blocks
    runs = [
        commands.replace("kubectl apply -f -", "cat")
        for commands in rest
        if "| kubectl apply -f -" in commands
    ]
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ---\n".join([names, *runs])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    jobs = [manifest for manifest in yaml.safe_load_all(answer.stdout) if manifest]
    specs = [job["spec"]["template"]["spec"] for job in jobs]
    images = [spec["containers"][0]["image"] for spec in specs]
    assert images == ["registry.example/my-project/score-profiler:serving-fixes"] * 2
    flags = {variable["name"]: variable.get("value") for variable in specs[1]["containers"][0]["env"]}
    assert (flags["SERVER_FLAGS"], flags["MODEL"]) == ("--mem-fraction-static 0.8", "qwen3-8b")
