"""What the parameters say about the server: limits by device, model, API key."""

import pytest

from scoreprof_nb.parameters.compare import CONTROL, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.parameters.server_checks import LIMITS_S, is_hub_id


@pytest.mark.parametrize("device", ["cpu", "tpu"])
@pytest.mark.parametrize("given", [{}, dict.fromkeys(LIMITS_S, 0)])
def test_a_time_limit_of_0_is_that_of_the_device(device, given):
    """Broken: on a cold TPU the first request, which waits for XLA, counts as failed."""
    parameters = Parameters.from_mapping({"device": device, **given})
    assert {name: getattr(parameters, name) for name in LIMITS_S} == {
        name: limits[device] for name, limits in LIMITS_S.items()
    }


def test_a_time_limit_that_is_given_holds():
    """Broken: the user cannot shorten a limit on a TPU."""
    parameters = Parameters.from_mapping({"device": "tpu", "request_s": 120, "startup_s": 600.0})
    assert (parameters.request_s, parameters.startup_s, parameters.warmup_s) == (120, 600, 900)


def test_both_sides_of_a_comparison_have_the_limits_of_the_device(tmp_path):
    """Broken: a comparison on a TPU uses the limits of a CPU."""
    run = CompareParameters.from_mapping({"device": "tpu"}).of_run(CONTROL, tmp_path)
    assert (run.startup_s, run.request_s) == (1800, 1800)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen/Qwen3-8B", True),
        ("meta-llama/Llama-3.1-8B_x", True),
        ("/models/qwen3", False),
        ("./models/qwen3", False),
        ("~/models", False),
        ("a/b/c", False),
        ("qwen3", False),
        ("-a/b", False),
        ("", False),
    ],
)
def test_hugging_face_ids_are_told_from_folders(text, expected):
    """Broken: an id is looked for as a folder, or a folder's name is sent to Hugging Face."""
    assert is_hub_id(text) is expected


def test_a_folder_that_looks_like_an_id_is_a_folder(tmp_path, monkeypatch):
    """Broken: a relative folder of the user's is downloaded instead of read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "qwen3").mkdir(parents=True)
    assert not is_hub_id("models/qwen3")
    with pytest.raises(ParameterError, match=r"model_path='models/qwen3': has no config.json"):
        Parameters(model_path="models/qwen3").check_files()


def test_an_id_passes_and_a_missing_folder_does_not():
    """Broken: a repo id is "no such folder"."""
    Parameters(model_path="Qwen/Qwen3-8B").check_files()
    with pytest.raises(ParameterError, match="no such folder, nor a Hugging Face id"):
        Parameters(model_path="/no/such").check_files()


def test_the_api_key_is_read_from_the_environment(monkeypatch):
    """Broken: the requests have no key, and all fail with 401."""
    monkeypatch.setenv("SCORE_KEY", "opensesame")
    assert Parameters(api_key_env="SCORE_KEY").api_key() == "opensesame"
    assert Parameters().api_key() == ""


def test_a_missing_key_is_reported_before_anything_is_launched(monkeypatch):
    """Broken: the server is started without its key."""
    monkeypatch.delenv("SCORE_KEY", raising=False)
    with pytest.raises(ParameterError, match="api_key_env='SCORE_KEY': this environment variable is not set"):
        Parameters(api_key_env="SCORE_KEY").check_files()


def test_a_key_in_place_of_its_variable_is_not_shown():
    """Broken: the error message, which is logged, has the key that was given by mistake."""
    with pytest.raises(ParameterError, match="must be the name") as caught:
        Parameters(api_key_env="opensesame1").check_files()
    assert "opensesame1" not in str(caught.value)
