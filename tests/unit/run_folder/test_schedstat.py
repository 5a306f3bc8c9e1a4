"""schedstat.parquet and the timelines in a run folder: written, read, damaged, copied."""

import pyarrow as pa
import pytest

from scoreprof_nb.run_folder.files import SCHEDSTAT, timeline_name
from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA, load_phase, load_run, write_phase, write_schedstat
from scoreprof_nb.run_folder.sync import copy_run
from tests.support.stored_run import REQUESTS, THREADS, make_run, record

ROW = {
    "block": 1,
    "time_ns": 1_700_000_000_123_456_789,
    "pid": 10,
    "tid": 11,
    "on_cpu_ns": 5,
    "runnable_ns": 6,
}
TABLE = pa.Table.from_pylist([ROW], schema=SCHEDSTAT_SCHEMA)


def test_counters_survive_the_round_trip(tmp_path):
    write_schedstat(tmp_path, [TABLE, TABLE])
    write_phase(tmp_path, record(), REQUESTS, THREADS)
    assert load_phase(tmp_path).schedstat.to_dict("records") == [ROW, ROW]


@pytest.mark.parametrize("tables", [[], [TABLE[:0]]])
def test_phase_without_counters_has_no_file_and_an_empty_table(tmp_path, tables):
    """Broken: runs of older versions, and phases without py-spy, cannot be loaded."""
    write_schedstat(tmp_path, tables)
    write_phase(tmp_path, record(), REQUESTS, THREADS)
    assert not (tmp_path / SCHEDSTAT).exists()
    schedstat = load_phase(tmp_path).schedstat
    assert schedstat.empty
    assert list(schedstat.columns) == SCHEDSTAT_SCHEMA.names


def test_damaged_counters_are_named(tmp_path):
    write_phase(tmp_path, record(), REQUESTS, THREADS)
    (tmp_path / SCHEDSTAT).write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match=SCHEDSTAT):
        load_phase(tmp_path)


def test_timelines_are_copied_and_not_part_of_the_manifest(tmp_path):
    """Broken: a bucket lacks them, or a timeline made anew makes the run look damaged."""
    folder = make_run(tmp_path / "run", "single", requested=("single",))
    timeline = folder.path / timeline_name("single")
    timeline.write_bytes(b"first")
    folder.write_manifest(folder.read_manifest())
    timeline.write_bytes(b"second")
    load_run(folder.path)
    copy_run(folder.path, tmp_path / "results")
    assert (tmp_path / "results" / timeline.name).read_bytes() == b"second"
