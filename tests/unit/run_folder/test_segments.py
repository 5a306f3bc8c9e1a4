"""A phase in segments: the same tables as in one piece, and what is left of a capture that was killed."""

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from scoreprof_nb.run_folder import segments
from scoreprof_nb.run_folder.folder import RunFolder, write_json
from scoreprof_nb.run_folder.records import Block
from scoreprof_nb.run_folder.segments import PhaseSegments, SegmentRows, keep_unfinished
from scoreprof_nb.run_folder.store import SCHEDSTAT_SCHEMA, load_phase, write_phase, write_schedstat
from tests.support.stored_run import START_S, THREADS, make_run, record, request

BLOCK_S = 60.0
MEMORY = [{"time_ns": 1, "pid": 11, "rss_bytes": 100}, {"time_ns": 2, "pid": 11, "rss_bytes": 110}]


def schedstat(block):
    row = {"block": block, "time_ns": block, "pid": 11, "tid": 12, "on_cpu_ns": 5, "runnable_ns": 0}
    return pa.Table.from_pylist([row], schema=SCHEDSTAT_SCHEMA)


def block_rows(number):
    """Requests of one block. The first is answered late: its row comes with the next block's."""
    requests = [request(10 * number + 1), request(10 * number + 2, error="timeout", scores=None)]
    if number:
        requests.append(request(10 * number - 10))
    threads = [{**THREADS[0], "block": number}]
    return SegmentRows(requests, threads, MEMORY[number : number + 1], schedstat(number))


def blocks_of(number):
    """Blocks of a minute, every other one with a recording."""
    recording = record().blocks[1].recording
    return tuple(
        Block(
            n,
            START_S + BLOCK_S * n,
            START_S + BLOCK_S * (n + 1),
            replace(recording, file=f"recording-{n}.speedscope.json") if n % 2 else None,
        )
        for n in range(number)
    )


def killed_after(folder, blocks, planned=8, name="single"):
    """What a capture leaves that was killed in block number ``blocks``."""
    scratch = folder.phases_path / f".{name}-unfinished"
    scratch.mkdir(parents=True)
    begun = replace(record(name), blocks=(), planned_blocks=planned)
    parts = PhaseSegments(scratch)
    parts.add(begun, SegmentRows([request(0, warmup=True)]))
    for number in range(blocks):
        (scratch / f"recording-{number}.speedscope.json").write_text("{}")
        parts.add(replace(begun, blocks=blocks_of(number + 1)), block_rows(number))
    (scratch / f"recording-{blocks}.speedscope.json").write_text("{half")
    (scratch / ".schedstat").write_text("half")
    (scratch / f"segment-{blocks + 1}-requests.parquet").write_text("half")
    return scratch


def same(one, other):
    for table in ("requests", "threads", "memory", "schedstat"):
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table))


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_segments_are_the_tables_of_a_phase_in_one_piece(tmp_path):
    """Broken: a row is lost or twice at the border of two blocks, or the order depends on the borders."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    rows = [block_rows(number) for number in range(3)]
    requests = sorted((one for of in rows for one in of.requests), key=lambda row: row["request"])
    threads = [one for of in rows for one in of.threads]
    write_schedstat(whole, [of.schedstat for of in rows])
    write_phase(whole, record(), requests, threads, MEMORY)
    pieces = PhaseSegments(parts)
    for of in rows[:2]:
        pieces.add(record(), of)
    pieces.finish(record(), rows[2])
    same(load_phase(parts), load_phase(whole))
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_client_of_an_open_loop_is_charged_to_its_requests(tmp_path):
    """Broken: the client's CPU time is charged to the warm-up, or to the repeats, which others sent."""
    pieces = PhaseSegments(tmp_path)
    sent = [
        request(
            0, warmup=True, repeat=False
        ),  # by clients of a closed loop, each of which knows what it used
        request(1, client_cpu_ns=0, repeat=False),
        request(2, client_cpu_ns=0, repeat=True),
    ]
    pieces.finish(record(), SegmentRows(sent, THREADS), client_cpu_ns=7)
    assert load_phase(tmp_path).requests["client_cpu_ns"].tolist() == [1000, 7, 0]


def test_killed_capture_loses_only_the_block_it_was_in(folder):
    """Broken: a kill after 50 minutes of an hour loses the hour; or half a block is taken for a whole one."""
    killed_after(folder, 5)
    lines = []
    assert keep_unfinished(folder, lines.append) == ("single",)
    assert "5 finished blocks of 8" in lines[0]
    phase = load_phase(folder.phase_path("single"))
    assert phase.record.blocks == blocks_of(5)
    assert phase.record.planned_blocks == 8
    assert phase.record.answered == 5 + 4  # of each block one is late, and the last one's never came
    assert phase.requests["request"].tolist() == [0, 0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32, 41, 42]
    assert phase.schedstat["block"].tolist() == [0, 1, 2, 3, 4]
    left = {path.name for path in folder.phase_path("single").iterdir()}
    assert left == {
        *("phase.json", "requests.parquet", "threads.parquet", "schedstat.parquet", "memory.parquet"),
        *("recording-1.speedscope.json", "recording-3.speedscope.json"),
    }
    assert not list(folder.phases_path.glob(".*"))


def test_capture_killed_while_its_tables_were_made_is_kept_too(folder, monkeypatch):
    """Broken: the segments are gone before the tables are whole."""
    scratch = killed_after(folder, 5)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(segments, "write_phase", killed)
        with pytest.raises(KeyboardInterrupt):
            PhaseSegments(scratch, 6).finish(record())
    assert keep_unfinished(folder, lambda text: None) == ("single",)
    assert len(load_phase(folder.phase_path("single")).requests) == 15


@pytest.mark.parametrize(("blocks", "why"), [(3, "few"), (0, "none")])
def test_what_holds_too_little_is_captured_again(folder, blocks, why):
    """Broken: seconds of a phase stand for the whole phase in a report."""
    killed_after(folder, blocks)
    (folder.phases_path / ".large-unfinished").mkdir()
    assert keep_unfinished(folder, lambda text: None) == ()
    assert not list(folder.phases_path.iterdir())


@pytest.mark.parametrize("damage", ["unfinished.json", "segment-2-requests.parquet"])
def test_damaged_leftovers_are_captured_again(folder, damage):
    """Broken: a file that was cut off by a full disk stops every further start."""
    scratch = killed_after(folder, 6)
    (scratch / damage).write_text("{")
    assert keep_unfinished(folder, lambda text: None) == ()
    assert not list(folder.phases_path.iterdir())


def test_phase_that_is_finished_is_not_replaced_by_a_part_of_it(tmp_path):
    """Broken: a second capture that was killed replaces the whole phase."""
    folder = make_run(tmp_path, "single") or RunFolder(tmp_path)
    killed_after(folder, 6)
    assert keep_unfinished(folder, lambda text: None) == ()
    assert load_phase(folder.phase_path("single")).record == record()


def test_phase_without_answers_is_replaced(tmp_path):
    folder = make_run(tmp_path, "single") or RunFolder(tmp_path)
    path = folder.phase_path("single") / "phase.json"
    write_json(path, {"answered": 0})
    killed_after(folder, 6)
    assert keep_unfinished(folder, lambda text: None) == ("single",)


def test_finished_blocks_stay_when_the_capture_fails(folder):
    """Broken: a server that dies in the last minute of an hour takes the hour with it."""

    def failing():
        with folder.staged_phase("single") as scratch:
            parts = PhaseSegments(scratch)
            for number in range(6):
                parts.add(replace(record(), blocks=blocks_of(number + 1)), block_rows(number))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert keep_unfinished(folder, lambda text: None) == ("single",)
