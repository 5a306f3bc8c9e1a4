"""Recordings of one's own: what they show, and what they do not pretend to know."""

import pytest

from scoreprof_nb.explore import Recording
from scoreprof_nb.stacks.table import ImportFailed, NotOrdered
from tests.support.paths import CAPTURES

SPEEDSCOPE = CAPTURES / "server-0.0.2.speedscope.json.gz"
RAW = CAPTURES / "two_processes.folded"


@pytest.fixture(scope="module", params=[SPEEDSCOPE, RAW], ids=["speedscope", "raw"])
def recording(request):
    return Recording.load(request.param)


def test_shares_of_a_thread_sum_to_1(recording):
    sums = recording.components().groupby(["process", "thread"])["share"].sum()
    assert sums.tolist() == pytest.approx([1.0] * len(sums))


def test_every_sample_is_in_the_tables(recording):
    """Broken: a table of a recording leaves samples out without a word."""
    expected = sum(a.samples.ticks for a in recording.activities if not a.role.excluded)
    assert recording.threads()["samples"].sum() == expected
    assert recording.stacks["samples"].sum() == expected


def test_it_says_why_there_are_no_latencies(recording):
    assert any("no latencies" in sentence for sentence in recording.about())


def test_counts_pretend_no_order_in_time():
    """Broken: a recording of counts is read as a course of events."""
    raw = Recording.load(RAW)
    assert any("order in time is not known" in sentence for sentence in raw.about())
    with pytest.raises(NotOrdered):
        raw.table.require_order()
    assert not any("order in time" in sentence for sentence in Recording.load(SPEEDSCOPE).about())


def test_threads_of_the_real_server_are_found():
    table = Recording.load(SPEEDSCOPE).threads().set_index(["process", "thread"])
    assert table.loc[("scheduler", "forward"), "busiest_component"] == "device_wait"
    assert table.loc[("scheduler", "watchdog"), "working_share"] == 0


def test_unclassified_stacks_have_a_rule_to_paste():
    table = Recording.load(RAW).unclassified()
    assert len(table) > 0
    assert all(rule.startswith("[[rule]]") for rule in table["rule"])


def test_a_rule_that_is_pasted_classifies(tmp_path):
    first = Recording.load(RAW).unclassified().iloc[0]
    rules = tmp_path / "rules.toml"
    rules.write_text(first["rule"].replace('"unclassified"', '"gc"'))
    components = Recording.load(RAW, rules).components()
    assert components.loc[components["component"] == "gc", "samples"].sum() >= first["samples"]


def test_functions_and_their_callers():
    recording = Recording.load(SPEEDSCOPE)
    first = recording.functions().iloc[0]
    assert "_set_kv_cache_after_forward" in first["function"]
    assert first["self_samples"] <= first["samples"]
    assert recording.callers(first["function"])["share"].sum() == pytest.approx(1.0)


def test_flame_graph_is_a_page_of_its_own(recording):
    assert "srcdoc=" in recording.flame_graph().text
    boxes = recording.flame_boxes()
    roots = boxes[boxes["depth"] == 0]
    assert roots["width"].tolist() == pytest.approx([1.0] * len(roots))


def test_file_that_is_no_recording_is_an_error(tmp_path):
    path = tmp_path / "empty"
    path.write_text("")
    with pytest.raises(ImportFailed, match="empty"):
        Recording.load(path)
