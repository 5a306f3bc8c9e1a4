"""Evidence: the function that somebody who works on the server would open first."""

import pytest

from scoreprof_nb.analysis.evidence import evidence, own_frame, stack_text
from scoreprof_nb.stacks.table import Frame
from tests.support.written_run import reported, write_run

SERVER = Frame("Manager.score_request", "/lib/python3.12/site-packages/sgl_jax/srt/manager.py", 7)
JAX = Frame("apply", "/lib/python3.12/site-packages/jax/_src/dispatch.py", 9)
LOGGING = Frame("StreamHandler.emit", "/lib/python3.12/logging/__init__.py", 3)
ENTRY = Frame("launch_server", "/lib/python3.12/site-packages/sgl_jax/http_server.py", 1)


@pytest.mark.parametrize(
    ("frames", "own"),
    [
        ((ENTRY, SERVER, JAX), SERVER),
        ((ENTRY, JAX), JAX),
        ((JAX,), JAX),
        ((ENTRY,), ENTRY),
        ((ENTRY, JAX, LOGGING), JAX),
    ],
)
def test_the_innermost_function_of_the_server_is_named(frames, own):
    """Broken: a finding sends its reader into JAX, or to the function that holds everything."""
    assert own_frame(frames) == own


def test_stack_is_innermost_first_with_lines():
    assert stack_text((SERVER, JAX)) == (
        "apply (jax/_src/dispatch.py:9)\nManager.score_request (sgl_jax/srt/manager.py:7)"
    )


def test_time_of_each_component_is_where_it_was_recorded(tmp_path):
    """Broken: a finding names a function in which its time is not spent."""
    write_run(tmp_path, recording="whole")
    phase = reported(tmp_path)[0].analysis.phases[0]
    table = evidence(phase.ticks, phase.threads.served).set_index("component")
    assert table.loc["tokenize", "function"] == "_tokenize_one_request"
    assert table.loc["tokenize", "ms"] == pytest.approx(20, rel=0.02)
    assert table.loc["batch", "ms"] == pytest.approx(50, rel=0.02)
    assert table.loc["batch", "share"] == 1.0
    assert evidence(phase.ticks, 0).empty
