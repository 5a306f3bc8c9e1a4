"""The run folder: a run survives the round trip, and damage is a RunFolderError that names the file."""

import json
import random
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from scoreprof_nb.run_folder.folder import RunFolder, write_json, write_text
from scoreprof_nb.run_folder.records import SCHEMA_VERSION, Manifest, RunFolderError
from scoreprof_nb.run_folder.store import load_run, read_log, write_phase
from tests.support.stored_run import REQUESTS, START_S, THREADS, record


def manifest(*phases):
    return Manifest(
        run_id="r1", label="main", parameters={"seed": 0}, phases=phases, started_s=START_S, status="complete"
    )


def write_run(path, *phases, requested=None):
    """Write a run folder with these phases, as the capture leaves it."""
    folder = RunFolder(path)
    for name in phases:
        with folder.staged_phase(name) as staging:
            (staging / "recording-1.speedscope.json").write_text('{"profiles": []}')
            write_phase(staging, record(name), REQUESTS, THREADS)
    folder.write_provenance({"jax": "0.8.0"})
    folder.log_path.write_text("1700000000.000001 hello\n")
    folder.write_manifest(manifest(*(requested or phases)))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path, "single", "small")


def edit_json(path, change):
    """``change`` modifies the file's value in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def assert_damage_is_named(folder, file):
    with pytest.raises(RunFolderError) as caught:
        load_run(folder.path)
    assert str(file) in str(caught.value)


# ---- round trip


def test_run_survives_the_round_trip(folder):
    """Broken: a run changes when it is written and read back."""
    run = load_run(folder.path)
    assert list(run.phases) == ["single", "small"]
    assert run.manifest.phases_done == ("single", "small")
    assert run.provenance == {"jax": "0.8.0"}
    assert run.log.to_dict("records") == [{"time_ns": 1_700_000_000_000_001_000, "text": "hello"}]
    phase = run.phases["single"]
    assert phase.record == record("single")
    assert phase.requests["request"].tolist() == [0, 1, 2]
    assert phase.requests["error"].isna().tolist() == [True, True, False]
    assert [list(scores) for scores in phase.requests["scores"][1]] == [[0.25, 0.75]]
    assert phase.requests["scores"][2] is None
    assert pd.isna(phase.threads["cpu_before_s"][0])
    assert phase.threads["cpu_after_s"][0] == 1.5


def test_only_blocks_with_a_file_have_a_recording_path(folder):
    """Broken: a block without a file claims a recording."""
    phase = load_run(folder.path).phases["single"]
    assert [(block.number, path.exists()) for block, path in phase.recording_paths()] == [(1, True)]


def test_manifest_survives_the_round_trip(folder):
    """Broken: a manifest changes when it is written and read back."""
    read = folder.read_manifest()
    assert replace(read, sha256={}, phases_done=(), server_log=None) == manifest("single", "small")
    assert sorted(read.sha256)[:3] == [
        "phases/single/memory.parquet",
        "phases/single/phase.json",
        "phases/single/recording-1.speedscope.json",
    ]
    assert len(read.sha256) == 11, "with the provenance"


def test_times_keep_their_nanoseconds(folder):
    """Broken: latencies are rounded to 256 ns, because epoch nanoseconds do not fit in a float."""
    table = pq.read_table(folder.phase_path("single") / "requests.parquet")
    assert table["sent_ns"].to_pylist() == [row["sent_ns"] for row in REQUESTS]
    assert str(load_run(folder.path).phases["single"].requests["sent_ns"].dtype) == "int64"


def test_run_without_any_phase_loads(tmp_path):
    """Broken: a run without a finished phase cannot be loaded."""
    run = load_run(write_run(tmp_path, requested=("single",)).path)
    assert dict(run.phases) == {}
    assert run.manifest.phases_done == ()


def test_server_log_and_provenance_may_be_missing(folder):
    """Broken: a run without a log or provenance cannot be loaded."""
    folder.log_path.unlink()
    (folder.path / "provenance.json").unlink()
    run = load_run(folder.path)
    assert run.provenance == {}
    assert run.log.empty
    assert list(run.log.columns) == ["time_ns", "text"]


def test_phase_without_its_json_is_not_done(folder):
    """Broken: a phase that was interrupted before phase.json, its last file, counts as done."""
    (folder.phase_path("small") / "phase.json").unlink()
    folder.write_manifest(manifest("single", "small"))
    assert folder.read_manifest().phases_done == ("single",)
    assert list(load_run(folder.path).phases) == ["single"]


# ---- damage


@pytest.mark.parametrize("name", ["phase.json", "requests.parquet", "threads.parquet"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00\x01", b"PAR1PAR1", None])
def test_damaged_file_of_a_phase_is_named(folder, name, content):
    """Broken: the user does not learn which file is damaged (None: its first half is left)."""
    path = folder.phase_path("small") / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(RunFolderError) as caught:
        load_run(folder.path)
    assert str(folder.phase_path("small")) in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "provenance.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00\x01"])
def test_damaged_json_of_the_run_is_named(folder, name, content):
    """Broken: the user does not learn which file is damaged."""
    (folder.path / name).write_bytes(content)
    assert_damage_is_named(folder, folder.path / name)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "1", None])
def test_other_schema_version_is_refused(folder, version):
    """Broken: numbers that mean something else in another version are read."""
    edit_json(folder.manifest_path, lambda value: value.update(schema_version=version))
    assert_damage_is_named(folder, folder.manifest_path)


@pytest.mark.parametrize("name", ["requests.parquet", "threads.parquet"])
def test_missing_table_is_named(folder, name):
    """Broken: the user does not learn which table is missing."""
    (folder.phase_path("small") / name).unlink()
    with pytest.raises(RunFolderError, match=name):
        load_run(folder.path)


def test_missing_recording_is_named(folder):
    """Broken: the user does not learn which recording is missing."""
    path = folder.phase_path("small") / "recording-1.speedscope.json"
    path.unlink()
    assert_damage_is_named(folder, path)


def test_changed_recording_differs_from_its_checksum(folder):
    """Broken: a changed recording is analysed."""
    path = folder.phase_path("small") / "recording-1.speedscope.json"
    path.write_text('{"profiles": [ ]}')
    assert_damage_is_named(folder, path)


def test_table_that_was_replaced_differs_from_its_checksum(folder):
    """Broken: a table of another run is read as this run's."""
    path = folder.phase_path("small") / "threads.parquet"
    path.write_bytes((folder.phase_path("small") / "requests.parquet").read_bytes())
    assert_damage_is_named(folder, path)


@pytest.mark.parametrize("missing", ["", "nowhere"])
def test_folder_without_manifest_is_named(tmp_path, missing):
    """Broken: a folder without a manifest gives a traceback."""
    with pytest.raises(RunFolderError, match=r"manifest\.json: missing"):
        load_run(tmp_path / missing)


def places(value, path=()):
    """The path of every value within JSON, containers included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    """A copy with one value replaced, or left out where ``new`` is ``...``."""
    value = json.loads(json.dumps(value))
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    if new is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return value


def escapes(folder, file):
    """Every exception other than RunFolderError that load_run raises when one value of a JSON file is wrong."""
    value = json.loads(file.read_text())
    escaped = []
    for path in places(value):
        for new in (..., None, "x", 7, [], {}, [[1]]):
            file.write_text(json.dumps(changed(value, path, new)))
            try:
                load_run(folder.path)
            except RunFolderError:
                pass
            except Exception as error:
                escaped.append((path, new, repr(error)))
    return escaped


def test_any_wrong_value_in_phase_json_is_a_run_folder_error(tmp_path):
    """Broken: a wrong value in phase.json gives a traceback."""
    folder = write_run(tmp_path, "single")
    assert escapes(folder, folder.phase_path("single") / "phase.json") == []


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("warmup", "requests"), "many", "warmup.requests"),
        (("blocks", 1, "recording", "rate_hz"), None, "blocks.1.recording.rate_hz"),
        (("processes",), {}, "processes"),
        (("surprise",), 1, "surprise"),
        (("blocks", 0, "stop_s"), 5.0, "blocks.0"),  # an array of its seconds would fill the memory
        (("blocks", 0, "start_s"), 5.0, "blocks.0"),
    ],
)
def test_wrong_field_is_named(folder, path, value, place):
    """Broken: the user learns that the file is damaged, but not where."""
    file = folder.phase_path("small") / "phase.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(RunFolderError, match=rf"phase\.json: not a file of scoreprof-nb: {place}: "):
        load_run(folder.path)


def test_half_a_surrogate_pair_in_json_is_damage(folder):
    """Broken: the report ends with a traceback when it copies the text into summary.json."""
    (folder.path / "provenance.json").write_text(json.dumps({"jax": "\ud800"}))
    with pytest.raises(RunFolderError, match=r"provenance\.json: cannot be read as JSON"):
        load_run(folder.path)


def test_any_wrong_value_in_the_manifest_is_a_run_folder_error(tmp_path):
    """Broken: a wrong value in the manifest gives a traceback."""
    folder = write_run(tmp_path, "single")
    assert escapes(folder, folder.manifest_path) == []


def test_any_flipped_byte_of_a_table_is_a_run_folder_error(tmp_path):
    """Broken: a bad disk or a broken copy gives a traceback, or loads as if it were intact."""
    folder = write_run(tmp_path, "single")
    path = folder.phase_path("single") / "requests.parquet"
    whole = path.read_bytes()
    rng = random.Random(0)
    for offset in sorted(rng.sample(range(len(whole)), min(250, len(whole)))):
        damaged = bytearray(whole)
        damaged[offset] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        with pytest.raises(RunFolderError):
            load_run(folder.path)


# ---- writing


def test_staged_phase_leaves_nothing_on_an_error(tmp_path):
    """Broken: a failed capture leaves half a phase."""
    folder = RunFolder(tmp_path)

    def interrupted():
        with folder.staged_phase("single") as staging:
            (staging / "requests.parquet").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "phases").iterdir()) == []


def test_staged_phase_appears_only_when_it_is_complete(tmp_path):
    """Broken: a reader sees a phase before it is complete."""
    folder = RunFolder(tmp_path)
    with folder.staged_phase("single") as staging:
        assert not folder.phase_path("single").exists()
        (staging / "phase.json").write_text("{}")
    assert [path.name for path in (tmp_path / "phases").iterdir()] == ["single"]
    assert [path.name for path in folder.phase_path("single").iterdir()] == ["phase.json"]


def test_staged_phase_replaces_the_old_one_entirely(tmp_path):
    """Broken: files of two captures are mixed in one phase."""
    folder = RunFolder(tmp_path)
    for name in ("old.json", "new.json"):
        with folder.staged_phase("single") as staging:
            (staging / name).write_text("{}")
    assert [path.name for path in folder.phase_path("single").iterdir()] == ["new.json"]


def test_failed_second_capture_keeps_the_old_phase(folder):
    """Broken: a failed second capture destroys the first one's phase."""

    def failing():
        with folder.staged_phase("single"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert load_run(folder.path).phases["single"].record == record("single")


def test_leftovers_of_a_killed_capture_are_removed(tmp_path):
    """Broken: the scratch folder of a killed capture remains, or prevents the next start."""
    stale = tmp_path / "phases" / ".single-unfinished"
    stale.mkdir(parents=True)
    (stale / "half").write_text("x")
    with RunFolder(tmp_path).staged_phase("single") as staging:
        assert list(staging.iterdir()) == []
    assert [path.name for path in (tmp_path / "phases").iterdir()] == ["single"]


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}])
def test_value_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, value):
    """Broken: a reader sees half a file, NaN in JSON, or scratch files."""
    path = tmp_path / "summary.json"
    write_json(path, {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, value)
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_is_not_unicode_is_read_back(tmp_path):
    """Broken: a path or a log line with bytes of another encoding stops a run."""
    path = tmp_path / "summary.json"
    write_json(path, {"a": "\udc80"})
    assert json.loads(path.read_text()) == {"a": "\udc80"}


def test_replaced_file_is_readable_by_its_owner_only(tmp_path):
    """Broken: other users of the machine read a report, which has log lines and command lines."""
    write_text(tmp_path / "summary.md", "text\n")
    write_text(tmp_path / "summary.md", "new\n")
    assert (tmp_path / "summary.md").read_text() == "new\n"
    assert (tmp_path / "summary.md").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


# ---- the log


def test_log_with_stamps(tmp_path):
    """Broken: the log's times are lost."""
    path = tmp_path / "server.log"
    path.write_text(
        "1700000000.000001 first\n1700000001.999999   indented 1700000000.000001 x\n1700000002.000000 \n"
    )
    assert read_log(path).to_dict("list") == {
        "time_ns": [1_700_000_000_000_001_000, 1_700_000_001_999_999_000, 1_700_000_002_000_000_000],
        "text": ["first", "  indented 1700000000.000001 x", ""],
    }


def test_log_without_stamps_has_time_zero(tmp_path):
    """Broken: the log of a server that the kit did not launch cannot be read."""
    path = tmp_path / "server.log"
    path.write_text("Prefill batch\n170.1 short\n[2026-01-01 00:00:00] x")
    assert read_log(path)["time_ns"].tolist() == [0, 0, 0]


def test_log_with_bytes_that_are_not_text(tmp_path):
    """Broken: undecodable bytes end the analysis."""
    path = tmp_path / "server.log"
    path.write_bytes(b"1700000000.000001 caf\xff\n")
    assert read_log(path)["text"].tolist() == ["caf\ufffd"]


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c"])
def test_one_line_of_the_log_is_one_row(tmp_path, mark):
    """Broken: another line separator within a line makes a row without a time."""
    path = tmp_path / "server.log"
    path.write_text(f"1700000000.000001 a{mark}b\n", encoding="utf-8")
    assert read_log(path)["time_ns"].tolist() == [1_700_000_000_000_001_000]


def test_no_log_is_an_empty_table(tmp_path):
    """Broken: a run without a log ends the analysis."""
    assert read_log(tmp_path / "server.log").empty
