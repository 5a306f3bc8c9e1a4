"""A wrong parameter is refused at once, and anything else is left to papermill and the notebook."""

import json
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.runner.cli import main
from scoreprof_nb.runner.command import Command
from scoreprof_nb.runner.finalize import TERMINATION_LOG
from scoreprof_nb.runner.parameter_check import check_parameters
from tests.support.paths import COMPARE_NOTEBOOK, PROFILE_NOTEBOOK

REFUSED_S = 2.0


def check(notebook, *options):
    command = Command.parse((str(notebook), "out.ipynb", *options))
    assert command is not None
    check_parameters(command)


def set_to(**values):
    return [word for name, value in values.items() for word in ("-p", name, str(value))]


def write_notebook(path, source, tags=("parameters",)):
    nbformat.write(new_notebook(cells=[new_code_cell(source, metadata={"tags": list(tags)})]), path)
    return path


@pytest.mark.parametrize(
    ("notebook", "values", "message"),
    [
        (PROFILE_NOTEBOOK, {"rate_hz": 0}, "rate_hz=0: must be from 1 to 1000"),
        (PROFILE_NOTEBOOK, {"phase_z": 10}, r"phase_z=10: no such parameter; did you mean phase_s\?"),
        (PROFILE_NOTEBOOK, {"requests_file": "{0}/none.jsonl"}, "requests_file=.*cannot be read"),
        (PROFILE_NOTEBOOK, {"requests_file": "{0}/broken"}, "requests_file=.*line 1: not JSON"),
        (PROFILE_NOTEBOOK, {"rules_file": "{0}/none.toml"}, "rules_file="),
        (PROFILE_NOTEBOOK, {"rules_file": "{0}/broken"}, "rules_file="),
        (COMPARE_NOTEBOOK, {"pairs": 0}, "pairs=0: must be from 1 to 1000"),
        (COMPARE_NOTEBOOK, {"run_dir": "x"}, "run_dir='x': no such parameter"),
        (COMPARE_NOTEBOOK, {"rules_file": "{0}/broken"}, "rules_file="),
        (COMPARE_NOTEBOOK, {"noise_from": "{0}/broken"}, "noise_from=.*cannot be used"),
        (COMPARE_NOTEBOOK, {"history": "{0}/none"}, "history=.*is not a folder"),
        (COMPARE_NOTEBOOK, {"control": "{0}/none", "test": "{0}/none"}, "control=.*is not a run folder"),
    ],
)
def test_wrong_parameter_is_refused(tmp_path, notebook, values, message):
    """Broken: a wrong parameter is noticed only after papermill has started."""
    (tmp_path / "broken").write_text("{")
    values = {name: str(value).format(tmp_path) for name, value in values.items()}
    with pytest.raises(ParameterError, match=message):
        check(notebook, *set_to(**values))


@pytest.mark.parametrize("notebook", [PROFILE_NOTEBOOK, COMPARE_NOTEBOOK])
def test_defaults_pass(notebook):
    """Broken: the notebooks' own defaults are refused."""
    check(notebook)


def test_defaults_of_an_edited_copy_count(tmp_path):
    """Broken: a copied notebook is checked against the original's defaults, or not at all."""
    copy = write_notebook(tmp_path / "mine.ipynb", "run_dir: str = ''\nphase_s = 1\nrequests_file = ''")
    with pytest.raises(ParameterError, match="phase_s=1: must be from 2"):
        check(copy)
    check(copy, *set_to(phase_s=3))


@pytest.mark.parametrize(
    "source",
    [
        "rate_hz = 0",  # neither notebook's folder
        "run_dir = ''\nmine = 1",  # a parameter that the kit does not have
        "run_dir = ''\nrate_hz = 10 - 10",  # computed
        "run_dir = ''\nimport os",
        "run_dir = ''\nrate_hz += 1",
        "run_dir = '",
    ],
)
def test_other_notebook_is_left_to_papermill(tmp_path, source):
    """Broken: a notebook of the user's own is refused."""
    check(write_notebook(tmp_path / "other.ipynb", source), *set_to(rate_hz=0))


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"cells": 1}', '{"cells": [{}]}'])
def test_file_that_is_no_notebook_is_left_to_papermill(tmp_path, text):
    """Broken: a file that is no notebook ends the runner instead of papermill."""
    if text is not None:
        (tmp_path / "in.ipynb").write_text(text)
    check(tmp_path / "in.ipynb", *set_to(rate_hz=0))


@pytest.mark.parametrize("options", [("-p", "rate_hz"), ("--prepare-only",), ("--cwd", "/"), ("--cwd=/",)])
def test_command_that_papermill_must_judge_is_left_to_it(options):
    """Broken: a command line that papermill should judge is refused by the runner."""
    check(PROFILE_NOTEBOOK, *set_to(rate_hz=0), *options)


def test_secrets_are_not_in_the_message():
    """Broken: a refused parameter publishes a secret."""
    with pytest.raises(ParameterError) as caught:
        check(PROFILE_NOTEBOOK, *set_to(server_environment="API_KEY=verysecret oops"))
    assert "verysecret" not in str(caught.value)


def test_refusal_is_one_line_a_message_and_no_file(tmp_path, monkeypatch, capfd):
    """Broken: an existing report is replaced, or the termination message does not say what to change."""
    monkeypatch.setenv(TERMINATION_LOG, str(tmp_path / "message"))
    (tmp_path / "out.ipynb").write_text("an earlier report")
    assert main([str(PROFILE_NOTEBOOK), str(tmp_path / "out.ipynb"), "-p", "rate_hz", "0"]) == 42
    error = "ParameterError: parameter rate_hz=0: must be from 1 to 1000, or auto"
    assert capfd.readouterr() == ("", f"scoreprof-nb: {error}\n")
    message = json.loads((tmp_path / "message").read_text())
    assert (message["exit_code"], message["error"]) == (42, error)
    assert (message["status"], message["report"], message["p50_ms"]) == (None, None, {})
    assert (tmp_path / "out.ipynb").read_text() == "an earlier report"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["message", "out.ipynb"]


def test_wrong_parameter_is_reported_within_two_seconds(tmp_path):
    """Broken: a wrong parameter takes more than 2 s of CPU time to report: slow packages are imported."""
    program = (
        "import resource, sys; from scoreprof_nb.runner.cli import main; code = main(sys.argv[1:]);"
        "slow = {'pandas', 'numpy', 'papermill', 'nbformat', 'nbconvert', 'IPython'} & set(sys.modules);"
        "used = resource.getrusage(resource.RUSAGE_SELF); print(code, slow, used.ru_utime + used.ru_stime)"
    )
    arguments = [str(PROFILE_NOTEBOOK), str(tmp_path / "out.ipynb"), "-p", "rate_hz", "0"]
    answer = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    code, slow, cpu_s = answer.stdout.split()
    assert (code, slow) == ("42", "set()")
    assert float(cpu_s) < REFUSED_S
