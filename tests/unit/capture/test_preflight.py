"""The plan: what is launched, what is sent, how it is recorded; made before anything is launched."""

import json
import sys

import pytest

from scoreprof_nb.capture import preflight, provenance
from scoreprof_nb.capture.preflight import check_folders, prepare
from scoreprof_nb.capture.pyspy import PySpy
from scoreprof_nb.capture.texts import WORDS
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
        "labels": {
            "ids": {" Yes": [5], " No": [6], **{f" {word}": [1, 2] for word in WORDS}},
            "vocabulary": 100,
        },
        "devices": {"platform": "tpu", "kind": "TPU v6 lite", "count": 4},
    }

    def inspect_server(python, question, *arguments, error_name="server_python", device="cpu"):
        answers[f"{question} of"] = arguments
        answers[f"{question} on"] = device
        return answers[question]

    monkeypatch.setattr(provenance, "inspect_server", inspect_server)
    return answers


def plan(model, **parameters):
    parameters = {"py_spy_mode": "off", "server_python": sys.executable, **parameters}
    return prepare(Parameters(model_path=str(model), **parameters), ("single",))


def test_plan_of_a_launch(model, interpreter):
    """Broken: what is launched or sent is not what the parameters say."""
    made = plan(model, server_flags="--page-size 8", server_environment="A=1")
    assert made.attached is None
    assert made.command[0] == sys.executable
    assert made.command[-2:] == ("--page-size", "8")
    assert str(made.port) in made.command
    assert (made.environment["A"], made.environment["JAX_PLATFORMS"]) == ("1", "cpu")
    assert made.workloads.of("single").request(0).labels == 2
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
    """Broken: the log contains colour codes, and its lines are not recognised."""
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
def test_key_of_the_server_is_passed_on_and_written_nowhere(model, monkeypatch):
    """Broken: the server has no key, or its log and the provenance keep it."""
    monkeypatch.setenv("SCORE_SERVER", SECRET)
    made = plan(model, api_key_env="SCORE_SERVER")
    assert made.command[made.command.index("--api-key") + 1] == SECRET
    assert SECRET not in json.dumps(dict(made.provenance))
    assert made.redact(f"api_key='{SECRET}', {SECRET}") == f"api_key='{MASK}', {MASK}"


def test_chip_is_found_by_jax_and_not_by_variables(model, interpreter, monkeypatch):
    """Broken: on a TPU VM without these variables, the report does not name the chip."""
    for name in ("TPU_ACCELERATOR_TYPE", "ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)
    assert plan(model, device="tpu").provenance["chip"] == "4 x TPU v6 lite"
    assert interpreter["devices on"] == "tpu"


def test_missing_chip_is_reported_before_the_launch(model, interpreter):
    """Broken: the run waits half an hour for a server that finds no chip."""
    interpreter["devices"] = {"platform": "cpu", "kind": "cpu", "count": 1}
    with pytest.raises(ParameterError, match=r"device='tpu': JAX of .* finds only cpu devices: install"):
        plan(model, device="tpu")
    assert plan(model).provenance["chip"] == "cpu", "a run on the CPU needs none"


@pytest.mark.usefixtures("interpreter")
def test_compiled_programs_are_kept_on_a_tpu(model, monkeypatch):
    """Broken: each run on a TPU VM compiles for minutes, or a cache that the user chose is not used."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    name = "JAX_COMPILATION_CACHE_DIR"
    assert plan(model, device="tpu").environment[name].endswith("scoreprof-nb/jax")
    assert name not in plan(model).environment
    monkeypatch.setenv(name, "/results/jax-cache")
    assert plan(model, device="tpu").environment[name] == "/results/jax-cache"
    assert plan(model, device="tpu", server_environment=f"{name}=/x").environment[name] == "/x"


@pytest.mark.usefixtures("interpreter")
def test_hugging_face_id_is_passed_on_as_it_is(interpreter):
    """Broken: the server looks for a folder of this name in its working folder."""
    made = plan("Qwen/Qwen3-8B")
    assert made.command[made.command.index("--model-path") + 1] == "Qwen/Qwen3-8B"
    assert interpreter["labels of"][0] == "Qwen/Qwen3-8B"


@pytest.mark.usefixtures("interpreter")
def test_recorder_is_checked_before_anything_else(model, monkeypatch):
    """Broken: missing permission for py-spy is noticed after slower checks."""

    def refuse(recorder):
        raise ParameterError("py_spy_mode", "native", "no permission")

    assert plan(model).recorder is None
    monkeypatch.setattr(PySpy, "check", refuse)
    with pytest.raises(ParameterError, match="no permission"):
        plan(model, py_spy_mode="native", rate_hz=20)


def test_interpreter_without_the_engine_is_refused(model, interpreter):
    """Broken: an interpreter without the engine is launched."""
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
    """Broken: a wrong parameter is noticed after the launch."""
    with pytest.raises(ParameterError, match=message):
        plan(model, **parameters)


def test_labels_of_several_tokens_are_refused(model, interpreter):
    """Broken: a label of several tokens is scored by its first one."""
    interpreter["labels"]["ids"] |= {" Yes": [5, 7]}
    with pytest.raises(ParameterError, match="' Yes' is 2 tokens"):
        plan(model)
    assert plan(model, label_token_ids=[1, 2]).provenance["label_token_ids"] == [1, 2]


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_folder_without_a_model_is_refused(tmp_path, interpreter, path):
    """Broken: a folder without a model is served."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParameterError, match=r"model_path=.*(no such folder|has no config.json)"):
        plan(tmp_path / path)


# ---- the results folder


@pytest.mark.parametrize("inside", ["run", "run/results", "."])
def test_results_folder_must_be_outside_the_run_folder(tmp_path, inside):
    """Broken: the results folder is copied into itself without end."""
    parameters = Parameters(run_dir=str(tmp_path / "run"), results_dir=str(tmp_path / inside))
    with pytest.raises(ParameterError, match="results_dir"):
        check_folders(parameters)


def test_results_folder_that_cannot_be_written_is_reported_before_anything_is_launched(tmp_path):
    """Broken: an unwritable results folder is noticed after the capture."""
    (tmp_path / "file").write_text("")
    parameters = Parameters(run_dir=str(tmp_path / "run"), results_dir=str(tmp_path / "file" / "bucket"))
    with pytest.raises(ParameterError, match="results_dir.*cannot be written"):
        check_folders(parameters)


@pytest.mark.usefixtures("interpreter")
def test_prompts_that_the_demos_server_refuses_are_named(monkeypatch):
    """Broken: every request of a run fails because of a length that could have been checked."""
    monkeypatch.setattr(preflight, "_tiny_model", lambda python: "/models/tiny")
    values = {"py_spy_mode": "off", "server_python": sys.executable, "query_tokens": "200+-20"}
    with pytest.raises(ParameterError, match="prompts of up to 274 tokens"):
        prepare(Parameters(**values), ("single",))
    prepare(Parameters(**values, server_flags="--context-length 512"), ("single",))
    prepare(Parameters(**{**values, "query_tokens": "200"}), ("single",))
