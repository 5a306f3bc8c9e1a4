"""What the capture needs of sglang-jax: its command line, its requests, its log."""

import json

import pytest

from scoreprof_nb.engines.sglang_jax import SglangJax
from scoreprof_nb.parameters.profile import Parameters

ENGINE = SglangJax()


def command(version="0.1.0", flags=(), **parameters):
    return ENGINE.command(Parameters(**parameters), "python", version, "/models/m", 1234, flags)


def test_flags_of_the_user_come_last():
    """Broken: the kit's flags override the user's: for argparse, the last one wins."""
    words = command(model_path="/models/m", flags=("--device", "tpu"))
    assert words[:3] == ("python", "-m", "sgl_jax.launch_server")
    assert words[-2:] == ("--device", "tpu")
    assert words.index("--device") < len(words) - 2


def test_only_the_version_that_needs_repairs_is_started_with_them():
    """Broken: another version is started with repairs that it does not need, or 0.0.2 without them."""
    assert "serve_0_0_2.py" in command(version="0.0.2")[1]
    assert not any("serve_0_0_2" in word for word in command(version="0.0.3"))


def test_model_of_the_user_is_not_served_with_the_flags_of_the_tiny_one():
    """Broken: a real model is served with the tiny KV cache of the demo model."""
    assert "--max-total-tokens" in command()
    assert "--max-total-tokens" not in command(model_path="/models/m")


def test_code_of_the_model_runs_only_when_the_user_lets_it():
    """Broken: the model's own code runs without the user's permission."""
    assert "--trust-remote-code" not in command()
    assert "--trust-remote-code" in command(trust_remote_code=True)


def test_watchdog_does_not_end_a_server_that_compiles():
    """Broken: on a cold TPU the server's watchdog (300 s) kills it while it compiles its first batch."""
    words = command(model_path="/models/m", device="tpu")
    assert words[words.index("--watchdog-timeout") + 1] == "3600"
    assert "--watchdog-timeout" not in command(), "on a CPU its default will do"


def test_cpu_server_does_not_look_for_a_chip():
    """Broken: a server on the CPU waits for a chip."""
    assert ENGINE.environment("cpu") == {"JAX_PLATFORMS": "cpu"}
    assert ENGINE.environment("tpu") == {}


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["python", "--model-path", "/m", "--port", "1"], "/m"),
        (["python", "--model-path=/m=1"], "/m=1"),
        (["python", "--model-path"], ""),
        (["python"], ""),
        ([], ""),
    ],
)
def test_model_of_a_running_server(words, model):
    assert ENGINE.model_path(words) == model


def test_shorter_request_is_the_same_but_for_its_items():
    """Broken: a shortened request differs in more than its items."""
    body = ENGINE.request_body("q", ["a", "b", "c"], [1, 2])
    assert json.loads(ENGINE.with_first_items(body, 2)) == {**json.loads(body), "items": ["a", "b"]}


# ---- the log


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("[2026-11-24 22:20:23] Prefill batch. #new-seq: 4, #new-token: 48, #cached-token: 20", 4),
        ("Prefill batch. #bid: 605, #cache_miss: 2", None),
        ("Decode batch. #running-req: 4, #token: 0", None),
        ("", None),
    ],
)
def test_batch_size(line, size):
    """Broken: the batch size in a log line is misread."""
    assert ENGINE.batch_size(line) == size


@pytest.mark.parametrize(
    ("line", "compiled"),
    [
        ("Prefill batch. #bid: 605, #cache_miss: 2", True),
        ("gen throughput (token/s): 1.72, #queue-req: 0, #cache_miss: 12", True),
        ("gen throughput (token/s): 1.72, #queue-req: 0, #cache_miss: 0", False),
        ("Prefill batch. #new-seq: 4", False),
    ],
)
def test_compile_in_the_log(line, compiled):
    """Broken: a compile in the log is overlooked."""
    assert ENGINE.reports_compile(line) == compiled


def test_refused_flags_are_told_from_other_ends():
    """Broken: refused flags are reported as a failed server, or the other way round."""
    lines = ["usage: x", "launch_server.py: error: unrecognized arguments: --nonsense"]
    assert ENGINE.refused_flags(2, lines) == "unrecognized arguments: --nonsense"
    assert ENGINE.refused_flags(1, lines) is None
    assert ENGINE.refused_flags(2, ["Traceback"]) is None
    assert ENGINE.refused_flags(None, lines) is None
