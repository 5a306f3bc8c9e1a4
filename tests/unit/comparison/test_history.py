"""Many runs over time: from summaries alone, in the order of time, nothing dropped in silence."""

import json
import math

import pytest

from scoreprof_nb.comparison.history import past_runs, read_history
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.comparison_files import write_history

PHASES_OF_LATER = {
    name: {
        "latency_ms": {"p50": 50.0},
        "throughput": {"items_per_s": 20.0},
        "request_path_ms": {component: {"mean": ms, "ci95": [0, 9]} for component, ms in path.items()},
    }
    for name, path in {"single": {"tokenize": 6.0, "softmax": 1.0}, "large": {}}.items()
}


def write(folder, started_at, label="main", p50=44.5, **changes):
    folder.mkdir(parents=True)
    summary = {
        "run_id": folder.name,
        "label": label,
        "status": "complete",
        "started_at": started_at,
        "phases": {
            "single": {
                "latency_ms": {"p50": p50},
                "throughput": {"items_per_s": 20.0},
                "request_path_ms": {"tokenize": {"mean": 4.0, "ci95": [3, 5]}},
            }
        },
        **changes,
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def test_runs_are_in_the_order_of_time_across_zones_and_folders(tmp_path):
    """Broken: a history is out of order when runs come from several time zones or folders."""
    write(tmp_path / "z" / "first", "2026-11-24T10:00:00+00:00")
    write(tmp_path / "a", "2026-11-24T13:00:00+02:00", label="fixes")
    history = read_history(tmp_path)
    assert list(history.runs["run_id"]) == ["first", "a"]
    assert list(history.runs["label"]) == ["main", "fixes"]
    assert list(history.paths["component"]) == ["tokenize", "tokenize"]


def test_only_the_summary_is_read(tmp_path):
    """Broken: a history reads gigabytes of recordings from the bucket."""
    write(tmp_path / "run", "2026-11-24T10:00:00+00:00")
    (tmp_path / "run" / "manifest.json").write_text("not JSON")
    assert len(read_history(tmp_path).runs) == 1


@pytest.mark.parametrize("items_per_s", ["many", True, 10**400])
def test_number_that_is_none_is_named(tmp_path, items_per_s):
    """Broken: one damaged summary among thousands ends the history with a traceback."""
    write(tmp_path / "run", "2026-11-24T10:00:00+00:00")
    path = tmp_path / "run" / "summary.json"
    summary = json.loads(path.read_text())
    summary["phases"]["single"]["throughput"]["items_per_s"] = items_per_s
    path.write_text(json.dumps(summary))
    history = read_history(tmp_path)
    assert history.runs.empty
    assert str(path) in history.unreadable[0]


@pytest.mark.parametrize("label", ["\ud800", "x"])
def test_half_a_surrogate_pair_in_a_label_is_named(tmp_path, label):
    write(tmp_path / "run", "2026-11-24T10:00:00+00:00", label=label)
    assert len(read_history(tmp_path).unreadable) == (label != "x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"started_at": "yesterday", "phases": {}}'])
def test_damaged_summary_is_named(tmp_path, text):
    """Broken: one damaged summary ends the history."""
    write(tmp_path / "good", "2026-11-24T10:00:00+00:00")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "summary.json").write_text(text)
    history = read_history(tmp_path)
    assert len(history.runs) == 1
    assert len(history.unreadable) == 1
    assert "bad" in history.unreadable[0]


def test_unknown_p50_stays_unknown(tmp_path):
    """Broken: an unknown p50 is drawn as a number."""
    write(tmp_path / "run", "2026-11-24T10:00:00+00:00", p50=None)
    assert math.isnan(float(read_history(tmp_path).runs["p50_ms"].iloc[0]))


def test_components_stand_beside_p50_in_the_table(tmp_path):
    """Broken: when a component grew is in a figure only."""
    write(tmp_path / "run", "2026-11-24T10:00:00+00:00")
    write(tmp_path / "later", "2026-11-25T10:00:00+00:00", phases=PHASES_OF_LATER)
    table = read_history(tmp_path).table()
    assert list(table["run_id"]) == ["run", "later", "later"]
    assert table["tokenize_ms"].tolist()[:2] == [4.0, 6.0]
    assert table["softmax_ms"].isna().tolist() == [True, False, True]
    assert math.isnan(table["tokenize_ms"].iloc[2])


def test_a_bucket_is_answered_with_what_to_do():
    """Broken: "contains no run", after twelve runs were captured."""
    with pytest.raises(ParameterError, match="mount the bucket .* gcloud storage rsync"):
        CompareParameters.from_mapping({"history": "gs://bucket/runs"})


def test_empty_folder(tmp_path):
    """Broken: an empty folder ends the notebook with a traceback."""
    assert read_history(tmp_path).runs.empty
    assert read_history(tmp_path / "missing").runs.empty


def test_the_latest_of_many_runs_are_shown_and_all_are_in_a_file(tmp_path):
    """Broken: a bucket of three thousand runs is a report that no browser opens."""
    for number in range(5):
        write(tmp_path / "runs" / f"r{number}", f"2026-11-2{number}T10:00:00+00:00")
    (tmp_path / "comparison").mkdir()
    history = past_runs(
        CompareParameters(history=str(tmp_path / "runs"), compare_dir=str(tmp_path / "comparison"))
    )
    write_history(history, str(tmp_path / "comparison"))
    columns = (tmp_path / "comparison" / "history.csv").read_text().splitlines()[0].split(",")
    assert {"label", "started_at", "p50_ms", "tokenize_ms"} <= set(columns)
    latest = history.latest(2)
    assert list(latest.runs["run_id"]) == list(latest.paths["run_id"]) == ["r3", "r4"]
    assert len((tmp_path / "comparison" / "history.csv").read_text().splitlines()) == 6
