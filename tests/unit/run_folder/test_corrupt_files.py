"""Every file of a run folder, damaged in every way: a line that names it, or the same numbers as before.

Damage that changes nothing that is read, such as that of a report, leaves the numbers as they are; a missing
log or provenance is said to be unknown. A traceback, or another number without a word, is a failure.
"""

import functools
import json
import random
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from scoreprof_nb.analysis.run_analysis import analyse
from scoreprof_nb.capture.resume import earlier_manifest, finished_phases, set_damaged_aside
from scoreprof_nb.comparison.history import read_history
from scoreprof_nb.comparison.run_comparison import make_comparison
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.explore.run import Run
from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_files import write_files
from scoreprof_nb.report.summary import summary
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA, load_run
from tests.support.written_run import GOOD, START_S, write_run

COUNTERS = {"block": 1, "pid": 10, "tid": 10, "on_cpu_ns": 5, "runnable_ns": 6}
LOG = "".join(
    f"{int(START_S) + second}.000000 [2026-11-29 00:00:00] Prefill batch. #new-seq: 4, #new-token: 64, "
    "#cached-token: 0\n"
    for second in range(40)
)
PHASE = "phases/small"
TABLES = tuple(f"{PHASE}/{name}.parquet" for name in ("requests", "threads", "memory", "schedstat"))
CAPTURED = (
    *("manifest.json", "provenance.json", "server.log", f"{PHASE}/phase.json", *TABLES),
    *(f"{PHASE}/recording-{number}.speedscope.json" for number in (1, 2)),
)
WRITTEN = ("summary.json", "summary.md", "score_api_profile.svg", "timeline-small.pftrace")


def write_whole(path: Path, later_ms: int = 0) -> None:
    """A run with every file; its requests take ``later_ms`` longer."""
    requests = [{**row, "done_ns": row["done_ns"] + later_ms * 10**6} for row in GOOD]
    counters = [COUNTERS | {"time_ns": int(START_S * 1e9) + 10**10 + at * 10**7} for at in range(100)]
    schedstat = (pa.Table.from_pylist(counters, schema=SCHEDSTAT_SCHEMA),)
    write_run(path, recording="timed", requests=requests, log=LOG, schedstat=schedstat)
    write_files(make_report(Parameters(run_dir=str(path))))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    write_whole(path)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "another"
    write_whole(path, later_ms=30)
    (path / "provenance.json").write_text('{"jax": "0.9.9"}')
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    return path


def numbers(path: Path) -> dict[str, object]:
    report = make_report(Parameters(run_dir=str(path)))
    return summary(report.analysis, report.findings).model_dump(mode="json")


@pytest.fixture(scope="module")
def expected(whole: Path) -> dict[str, object]:
    return numbers(whole)


# Damage: what becomes of a file's content; ``None`` if it cannot be done to this one.


def flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def other_version(name: str, content: bytes, path: Path) -> bytes | None:
    """The file as another version of the kit might have written it."""
    if name.endswith(".parquet"):
        table = pq.read_table(path)
        sink = pa.BufferOutputStream()
        names = [f"new_{column}" if at == 0 else column for at, column in enumerate(table.column_names)]
        pq.write_table(table.rename_columns(names), sink)
        return bytes(sink.getvalue())
    if name.endswith(("manifest.json", "phase.json", "summary.json")):
        return json.dumps({**json.loads(content), "schema_version": 99}).encode()
    return None


DAMAGES = ("emptied", "cut in half", "last byte lost", "another run's", "other version", "deleted")


def damage(how: str, name: str, run: Path, other: Path) -> bool:
    path = run / name
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
        return True
    changed = {
        "emptied": b"",
        "cut in half": content[: len(content) // 2],
        "last byte lost": content[:-1],
        "another run's": (other / name).read_bytes(),
        "other version": other_version(name, content, path),
    }[how]
    if changed is None or changed == content:
        return False
    path.write_bytes(changed)
    return True


def assert_named_or_equal(name: str, how: str, run: Path, expected: dict[str, object]) -> None:
    """The readers of a run folder name the file, or give the same numbers."""
    try:
        result = numbers(run)
    except RunFolderError as error:
        message = str(error)
        by_manifest = name == "manifest.json" and message.endswith(
            "differs from the checksum in the manifest"
        )
        assert by_manifest or str(run / name) in message, message
        with pytest.raises(RunFolderError):
            Run.load(run)
        return
    if how == "deleted" and name == "provenance.json":
        assert result["provenance"] == {}, "not known"
    elif how == "deleted" and name == "server.log":
        phase = result["phases"]["small"]
        assert (phase["requests"]["split"], phase["requests"]["compile_hit"]) == (None, None), "not known"
    elif how == "deleted" and name in TABLES[2:]:
        raise AssertionError("the manifest names it")
    else:
        assert result == expected, "another number without a word"


@pytest.mark.parametrize("name", CAPTURED)
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_file_is_named_or_changes_nothing(copy, other, expected, name, how):
    """Broken: damage ends the analysis with a traceback, or changes a number without a word."""
    if damage(how, name, copy, other):
        assert_named_or_equal(name, how, copy, expected)


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", CAPTURED)
def test_flipped_bits_are_named_or_change_nothing(copy, whole, expected, name):
    """Broken: a bad disk changes a number without a word. `make test-all` flips more bits."""
    rng = random.Random(name)
    content = (whole / name).read_bytes()
    for _ in range(settings().max_examples // 6):
        (copy / name).write_bytes(flipped(content, rng))
        assert_named_or_equal(name, "flipped", copy, expected)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", CAPTURED)
def test_next_start_captures_a_damaged_phase_again(copy, other, name, how):
    """Broken: a run goes on from a damaged phase, and gives its files new checksums."""
    if not damage(how, name, copy, other):
        return
    folder, said = RunFolder(copy), []
    set_damaged_aside(folder, said.append)
    if name == "manifest.json":
        if how in ("deleted", "another run's"):
            return  # a new run, or all phases are another's
        with pytest.raises(ParameterError, match=r"run_dir=.*manifest\.json"):
            earlier_manifest(folder, Parameters(run_dir=str(copy)))
        return
    assert finished_phases(folder, ("small",)) == (() if name.startswith(PHASE) else ("small",))
    if name == f"{PHASE}/phase.json" and how == "deleted":
        return  # it does not count as finished
    if name.startswith(PHASE) or (name == "server.log" and how != "deleted"):
        assert str(copy / name) in said[0]
        assert not (copy / name).exists()


@pytest.mark.parametrize("how", ["emptied", "another run's"])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_report_wrote_is_not_read_again(copy, other, expected, name, how):
    """Broken: an old report changes the numbers of a new one."""
    if damage(how, name, copy, other):
        assert numbers(copy) == expected


def test_history_names_a_summary_with_a_flipped_bit(copy):
    """Broken: a history shows a number that no run had."""
    before = read_history(copy)
    path = copy / "summary.json"
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(20):
        path.write_bytes(flipped(content, rng))
        history = read_history(copy)
        if history.unreadable:
            assert str(path) in history.unreadable[0]
            assert history.runs.empty
        else:
            pd.testing.assert_frame_equal(history.runs, before.runs)
            pd.testing.assert_frame_equal(history.paths, before.paths)


@pytest.mark.parametrize("how", [how for how in DAMAGES if how not in ("another run's", "deleted")])
def test_history_names_a_damaged_summary(copy, other, how):
    """Broken: a damaged run is missing from a history without a word."""
    assert damage(how, "summary.json", copy, other)
    history = read_history(copy)
    assert history.runs.empty
    assert str(copy / "summary.json") in history.unreadable[0]


@functools.cache
def rules():
    return load_rules("")


@pytest.mark.parametrize("name", [name for name in CAPTURED if name not in ("manifest.json", "server.log")])
def test_comparison_names_a_damaged_file(copy, whole, other, name):
    """Broken: a comparison over hours of captures ends with a traceback, or uses the damaged run."""
    assert damage("cut in half", name, copy, other)
    sides = ([whole], [copy])
    parameters = CompareParameters(control=str(whole), test=str(copy))
    analyses = {whole: analyse(load_run(whole), rules())}
    with pytest.raises(RunFolderError) as caught:
        make_comparison(parameters, rules(), sides, {}, analyses, lambda text: None)
    assert str(copy / name) in str(caught.value)
