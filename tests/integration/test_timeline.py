"""The timelines and the threads' states of a run of the real server."""

import json
from collections import Counter

import pytest

from scoreprof_nb.analysis.requests import events
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_files import write_files
from scoreprof_nb.run_folder.files import timeline_name
from scoreprof_nb.run_folder.store import Run, load_run
from scoreprof_nb.timeline.requests import LOGGED
from scoreprof_nb.timeline.timeline import MAX_BYTES
from tests.support.perfetto import ReadTrack, read_trace
from tests.support.server_runs import Finished

pytestmark = pytest.mark.server
PHASES = ("single", "small", "large", "mixed")


@pytest.fixture(scope="module")
def run(demo: Finished) -> Run:
    assert demo.code == 0, demo.output[-3000:]
    return load_run(demo.folder)


def tracks_of(run: Run, phase: str) -> dict[tuple[str, str], ReadTrack]:
    return read_trace((run.folder / timeline_name(phase)).read_bytes())


@pytest.mark.parametrize("phase", PHASES)
def test_timeline_holds_every_request_batch_and_compile(run: Run, phase: str) -> None:
    """Broken: the picture of a phase lacks a part of it, or shows a part of another."""
    assert (run.folder / timeline_name(phase)).stat().st_size < MAX_BYTES
    tracks, loaded = tracks_of(run, phase), run.phases[phase]
    sent = {
        slice_.details["request"]: (slice_.start_ns, slice_.end_ns)
        for (group, name), track in tracks.items()
        if group == "client"
        and name.startswith(("requests", "warm-up requests", "repeated requests"))
        and "device trace" not in name
        for slice_ in track.slices
    }
    assert sent == {
        row.request: (row.sent_ns, row.done_ns) for row in loaded.requests.itertuples(index=False)
    }
    record = loaded.record
    of_phase = run.log[run.log["time_ns"].between(record.started_s * 1e9, record.finished_s * 1e9)]
    for kind, (name, _, _) in LOGGED.items():
        logged = sorted(events(of_phase, kind)["time_ns"])
        shown = tracks.get(("server", name))
        assert [time_ns for time_ns, _, _ in shown.instants] if shown else logged == [], kind


@pytest.mark.parametrize("phase", PHASES)
def test_ticks_of_the_timeline_are_those_of_the_threads_table(run: Run, phase: str) -> None:
    """Broken: the picture and the report show other samples."""
    summary = json.loads((run.folder / "summary.json").read_text())
    shown: Counter[tuple[str, str, str]] = Counter()
    for track in tracks_of(run, phase).values():
        if track.tid is not None:
            for one in track.slices:
                if one.parent is None:
                    shown[track.group, track.name, one.name] += one.details["ticks"]
    assert shown == Counter(
        {
            (thread["process"], thread["thread"], component): round(share * thread["ticks"])
            for thread in summary["phases"][phase]["threads"]
            for component, share in thread["share"].items()
        }
    )


@pytest.mark.parametrize("phase", PHASES)
def test_time_at_work_is_known_of_every_thread_of_the_request_path(run: Run, phase: str) -> None:
    """Broken: the kernel's counters are not read, or not of the threads that py-spy samples."""
    threads = json.loads((run.folder / "summary.json").read_text())["phases"][phase]["threads"]
    known = {(one["process"], one["thread"]): one["time"] for one in threads if one["time"] is not None}
    assert {
        ("http", "main"),
        ("scheduler", "main"),
        ("scheduler", "forward"),
        ("detokenizer", "main"),
    } <= set(known)
    assert all(part >= 0 for time in known.values() for part in time.values())
    assert known["http", "main"]["on_cpu_ms"] > 0


def test_timeline_is_the_same_when_the_run_is_analysed_again(run: Run) -> None:
    """Broken: re-analysis changes files for no reason."""
    before = {phase: (run.folder / timeline_name(phase)).read_bytes() for phase in PHASES}
    write_files(make_report(Parameters(run_dir=str(run.folder))))
    assert {phase: (run.folder / timeline_name(phase)).read_bytes() for phase in PHASES} == before
