"""The notebook of a recording: wrong files are named at once, and every part is shown."""

import pytest

from scoreprof_nb.notebook import display, explore
from scoreprof_nb.parameters.schema import ParameterError
from tests.support.paths import CAPTURES


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(display, "display", lambda output: outputs.append(output))
    monkeypatch.setattr(explore, "publish_run_metadata", lambda *values: outputs.append(values))
    return outputs


@pytest.mark.parametrize(
    "file", ["server-0.0.2.speedscope.json.gz", "two_processes.folded", "two_processes.chrometrace.json"]
)
def test_recording_is_shown_whole(tmp_path, shown, file):
    opened = explore.open_recording(str(CAPTURES / file), "", str(tmp_path / "out"))
    explore.show_recording(opened)
    texts = [str(getattr(output, "data", output)) for output in shown]
    for word in ("## Threads", "## Components", "## Functions", "## Flame graph", "no latencies"):
        assert any(word in text for text in texts), word
    assert any("## Unclassified" in text for text in texts) == (not opened.unclassified().empty)


@pytest.mark.parametrize(
    ("recording", "rules", "name"),
    [("", "", "recording"), ("none", "", "recording"), (None, "none", "rules_file")],
)
def test_a_wrong_file_is_an_error_of_its_parameter(tmp_path, shown, recording, rules, name):
    """Broken: a traceback where one line would name the parameter."""
    recording = str(CAPTURES / "two_processes.folded") if recording is None else recording
    with pytest.raises(ParameterError, match=f"parameter {name}="):
        explore.open_recording(recording, rules, str(tmp_path / "out"))
