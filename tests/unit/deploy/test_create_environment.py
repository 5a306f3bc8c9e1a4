"""The script that creates the virtual environments: uv is configured as pip is, and pip takes over."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "constraints" / "create_environment.py"
LISTING = """\
:env:.timeout='30'
global.cert='/etc/hosts'
global.extra-index-url='https://a.example/simple https://b.example/simple'
global.index-url='https://global.example/simple'
global.timeout='60'
install.find-links='/nowhere /etc'
install.index-url='https://install.example/simple'
list.format='json'
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("create_environment", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_uv_gets_the_options_of_pip(script):
    """Broken: behind a proxy or with a mirror, pip installs and uv does not."""
    environment = script.uv_environment(script.parse_pip_config(LISTING), {})
    assert environment["UV_DEFAULT_INDEX"] == "https://install.example/simple"
    assert environment["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    assert environment["UV_HTTP_TIMEOUT"] == "30"
    assert environment["SSL_CERT_FILE"] == "/etc/hosts"


def test_paths_that_do_not_exist_are_not_passed_on(script):
    """Broken: a path that does not exist is passed to uv, which fails where pip ignores it."""
    assert script.uv_environment(script.parse_pip_config(LISTING), {})["UV_FIND_LINKS"] == "/etc"


def test_variables_of_the_user_are_kept(script):
    given = {"UV_DEFAULT_INDEX": "https://own.example/simple", "PATH": "/bin"}
    environment = script.uv_environment(script.parse_pip_config(LISTING), given)
    assert environment.items() >= given.items()


def test_without_configuration_nothing_is_passed_on(script):
    assert set(script.uv_environment(script.parse_pip_config(""), {})) == {
        "UV_PYTHON_DOWNLOADS",
        "UV_INDEX_STRATEGY",
    }


def write_program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_pip_takes_over_where_uv_fails(tmp_path):
    """Broken: a machine on which uv does not work cannot be set up."""
    uv = write_program(tmp_path / "uv", "exit 2")
    folder = tmp_path / "environment"
    command = [sys.base_prefix + "/bin/python3", SCRIPT, "--uv", uv, folder, "--requirement", os.devnull]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "uv failed; installing with pip instead" in answer.stdout
    assert (folder / "bin" / "python").exists()


def test_without_uv_the_exit_code_is_that_of_pip(tmp_path):
    """Broken: make goes on with half an environment."""
    command = [
        sys.base_prefix + "/bin/python3",
        SCRIPT,
        "--uv",
        "missing",
        tmp_path / "e",
        "--no-such-option",
    ]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 2
