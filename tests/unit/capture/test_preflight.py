"""The plan: what is launched, what is sent, how it is recorded; made before anything is launched."""

import json
import sys

import pytest

from scoreprof_nb.capture import preflight, provenance
from scoreprof_nb.capture.preflight import prepare
from scoreprof_nb.capture.pyspy import PySpy
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import MASK

SECRET = "s3cr3tvalue42"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    return folder


@pytest.fixture
def interpreter(monkeypatch):
    """Answers of the server's interpreter; a test may change them. Gives the packages asked for."""
    answers = {
        "versions": {
            "python": "3.12.1",
            "packages": {"sglang-jax": "0.1.0", "jax": "0.8.0"},
            "source": {"commit": "abc"},
        },
        "labels": {"ids": {" Yes": [5], " No": [6]}, "vocabulary": 100},
    }

    def inspect_server(python, question, *arguments, error_name="server_python"):
        answers[f"{question} of"] = arguments
        return answers[question]

    monkeypatch.setattr(provenance, "inspect_server", inspect_server)
    return answers


def plan(model, **parameters):
    parameters = {"py_spy_mode": "off", "server_python": sys.executable, **parameters}
    return prepare(Parameters(model_path=str(model), **parameters), ("single",))


def test_plan_of_a_launch(model, interpreter):
    made = plan(model, server_flags="--page-size 8", server_environment="A=1")
    assert made.attached is None
    assert made.command[0] == sys.executable
    assert made.command[-2:] == ("--page-size", "8")
    assert str(made.port) in made.command
    assert (made.environment["A"], made.environment["JAX_PLATFORMS"]) == ("1", "cpu")
    assert list(made.bodies) == ["single"]
    assert interpreter["versions of"][0] == "sglang-jax"
    assert {name: made.provenance[name] for name in ("sglang_jax", "jax", "jaxlib", "model_dtype")} == {
        "sglang_jax": "0.1.0",
        "jax": "0.8.0",
        "jaxlib": None,
        "model_dtype": "bfloat16",
    }
    assert made.provenance["sglang_jax_source"] == {"commit": "abc"}
    assert made.provenance["label_token_ids"] == [5, 6]


@pytest.mark.usefixtures("interpreter")
def test_colours_of_a_notebooks_kernel_do_not_reach_the_log(model, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "FORCE_COLOR" not in plan(model).environment


@pytest.mark.usefixtures("interpreter")
def test_secrets_of_flags_environment_and_shell_are_known(model, monkeypatch):
    """Broken: the server prints a variable that it inherited, and the log keeps it."""
    monkeypatch.setenv("OPENAI_APIKEY", "inherited words")
    made = plan(model, server_flags=f"--api-key {SECRET}", server_environment="DB_PASS=hunter2")
    assert made.redact(f"{SECRET}, hunter2, inherited words") == f"{MASK}, {MASK}, {MASK}"
    assert SECRET not in made.provenance["command"]
    assert SECRET in made.command


@pytest.mark.usefixtures("interpreter")
def test_recorder_is_checked_before_anything_else(model, monkeypatch):
    def refuse(recorder):
        raise ParameterError("py_spy_mode", "native", "no permission")

    assert plan(model).recorder is None
    monkeypatch.setattr(PySpy, "check", refuse)
    with pytest.raises(ParameterError, match="no permission"):
        plan(model, py_spy_mode="native", rate_hz=20)


def test_interpreter_without_the_engine_is_refused(model, interpreter):
    interpreter["versions"]["packages"]["sglang-jax"] = None
    with pytest.raises(ParameterError, match=r"server_python=.*has no sglang-jax"):
        plan(model)


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"server_flags": "--x 'open"}, "server_flags=.*not in shell syntax"),
        ({"server_python": "/no/such/python"}, "server_python=.*not an executable file"),
        ({"label_token_ids": [100]}, "100 is not in the model's vocabulary"),
    ],
)
def test_wrong_parameters(model, parameters, message):
    with pytest.raises(ParameterError, match=message):
        plan(model, **parameters)


def test_labels_of_several_tokens_are_refused(model, interpreter):
    interpreter["labels"]["ids"] = {" Yes": [5, 7], " No": [6]}
    with pytest.raises(ParameterError, match="' Yes' is 2 tokens"):
        plan(model)
    assert plan(model, label_token_ids=[1, 2]).provenance["label_token_ids"] == [1, 2]


def test_tiny_model_is_made_again_when_its_program_changes(monkeypatch, tmp_path):
    """Broken: a new version of the kit measures the model of the old one from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = tmp_path / "make_model.py"
    monkeypatch.setattr(preflight.demo, "TINY_MODEL", program)
    folders = []
    for version in (1, 2, 2):
        program.write_text(
            "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(parents=True)\n"
            f"(p / 'config.json').write_text('{{\"version\": {version}}}')"
        )
        folders.append(preflight._tiny_model(sys.executable))
    assert folders[0] != folders[1] == folders[2]
    program.write_text("import sys; sys.exit('no numpy')")
    with pytest.raises(ParameterError, match="cannot make the tiny model: no numpy"):
        preflight._tiny_model(sys.executable)


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_folder_without_a_model_is_refused(tmp_path, interpreter, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParameterError, match=r"model_path=.*(no such folder|has no config.json)"):
        plan(tmp_path / path)
