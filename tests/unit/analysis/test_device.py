"""Device busy and idle, waits, verdict, programs and operations, on traces whose numbers are known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.analysis import device_phase, device_programs, device_steps
from scoreprof_nb.analysis.device import (
    BUSY,
    DEVICE,
    HOST,
    IDLE,
    MIXED,
    WAITS,
    Estimate,
    bound_by,
    device_time,
    request_windows,
    waiting_time,
)
from scoreprof_nb.analysis.device_phase import OVERLAP, idle_causes
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.device.intervals import Intervals
from scoreprof_nb.device.trace import TraceTables, read_traces
from scoreprof_nb.run_folder.records import DeviceTrace
from tests.support.device_traces import (
    BUSY_MS,
    DECODE,
    MAIN,
    MS,
    PREFILL,
    REQUEST_MS,
    START_NS,
    tpu_trace,
)

NO_REQUEST = pd.DataFrame(columns=["kind", "items", "latency_ms", "block", "split", "compile_hit"])


def requests(*times_ms, start_ns=START_NS):
    """Requests by (sent, done) in ms since the start."""
    rows = [(start_ns + round(sent * MS), start_ns + round(done * MS)) for sent, done in times_ms]
    return pd.DataFrame(rows, columns=["sent_ns", "done_ns"]).assign(kind="single", items=1)


def one_after_another(n, late_ms=0.0):
    return requests(*((k * REQUEST_MS + late_ms, (k + 1) * REQUEST_MS - 1) for k in range(n)))


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    (folder / "tpu").write_bytes(tpu_trace())
    (folder / "chips").write_bytes(tpu_trace(chips=2, shift_ms=1.0))
    names = ("tpu", "chips")
    read = read_traces([*(folder / name for name in names), MAIN])
    assert all(isinstance(one, TraceTables) for one in read)
    return dict(zip((*names, "main"), read, strict=True))


@pytest.fixture(scope="module")
def tpu(traces):
    trace = traces["tpu"]
    return trace, device_time(trace, one_after_another(6), NO_REQUEST)


def test_busy_idle_and_waits_of_a_tpu(tpu):
    """Broken: the device's busy time is not that of its programs, or a wait goes to the wrong cause."""
    _, time = tpu
    means = {name: estimate.mean for name, estimate in time.times.items()}
    assert means[BUSY] == pytest.approx(BUSY_MS)
    assert means[IDLE] == pytest.approx(REQUEST_MS - 1 - BUSY_MS)
    assert means["computing"] == pytest.approx(
        8
    )  # a result is awaited from 2 to 11 ms, the device works to 10
    assert means["wake_up"] == pytest.approx(1)
    assert means["transfer"] == pytest.approx(0.5)
    assert means["buffers"] == pytest.approx(0.25)
    assert means["buffers_while_busy"] == 0
    assert time.in_turn


def test_only_what_lies_in_a_request_counts(traces):
    """Broken: work of the previous request's decode step is charged twice, or to nobody's request."""
    time = device_time(traces["tpu"], requests((2, 9), (30, 31)), NO_REQUEST)
    assert time.windows[BUSY].tolist() == pytest.approx([7, 0])
    assert time.windows[IDLE].tolist() == pytest.approx([0, 1])


def test_chips_are_a_union_and_a_row_each(traces):
    """Broken: two chips that work on one request make it twice as busy, or one of them is not shown."""
    trace = traces["chips"]
    time = device_time(trace, one_after_another(6), NO_REQUEST)
    assert time.times[BUSY].mean == pytest.approx(9 + 4.5)  # 2 to 11 ms and 11.5 to 16 ms
    chips = device_programs.chips(trace, time.in_flight, 6)
    assert chips["busy_ms"].tolist() == pytest.approx([BUSY_MS, BUSY_MS])
    operations = device_programs.operations(trace, time.in_flight, 6)
    assert operations.iloc[0][["name", "ms", "count"]].tolist() == ["fusion.7", pytest.approx(5), 1]


def test_operations_have_their_own_time_and_share_of_the_peak(tpu):
    """Broken: a loop is counted with its body, or achieved flops are not related to the chip."""
    trace, time = tpu
    table = device_programs.operations(trace, time.in_flight, 6).set_index("name")
    assert table["ms"].to_dict() == pytest.approx(
        {
            "fusion.7": 5,
            "all-gather-start.1": 4,
            "while.3": 2,
            "fusion.9": 2,
            "copy.4": 1,
            "sort.1": 1,
        }
    )
    assert list(table.index[:2]) == ["fusion.7", "all-gather-start.1"]
    assert table.loc["fusion.7", "flops_share"] == pytest.approx(459e9 / 5e-3 / 918e12)
    assert table.loc["fusion.7", "bytes_share"] == pytest.approx(820e6 / 5e-3 / 1640e9)
    assert np.isnan(table.loc["while.3", "flops_share"])
    assert table.loc["fusion.7", "share"] == pytest.approx(5 / BUSY_MS)
    assert table.loc["all-gather-start.1", "kind"] == "async"


def test_exposed_transfers_are_those_beside_no_operation(tpu):
    """Broken: a collective that overlaps with work is taken for a stall."""
    trace, time = tpu
    (row,) = device_programs.chips(trace, time.in_flight, 6).to_dict("records")
    assert row["async_ms"] == pytest.approx(4)
    assert row["exposed_ms"] == pytest.approx(1)


def test_programs_and_the_decode_step(tpu):
    """Broken: the report cannot say what a score request pays for a decode step that it does not need."""
    trace, time = tpu
    steps = device_steps.model_steps(trace, time)
    table = device_programs.programs(trace, time.in_flight, 6, steps).set_index("program")
    assert table["step"].to_dict() == {PREFILL: "prefill", DECODE: "decode", "jit_sampler(13)": ""}
    assert table["ms"].to_dict() == pytest.approx({PREFILL: 8, DECODE: 2, "jit_sampler(13)": 1})
    assert (table["count"] == 1).all()
    assert device_steps.decode_ms(trace, time, steps) == pytest.approx(2)


def without_inputs(trace):
    return TraceTables(trace.events, trace.calls, trace.programs.head(0), trace.chips)


def test_steps_by_order_where_inputs_are_not_known(tpu):
    """Broken: with JAX's compile cache the decode step is not known, or is taken for a prefill."""
    trace, time = tpu
    assert device_steps.model_steps(without_inputs(trace), time) == {PREFILL: "prefill", DECODE: "decode"}


def test_steps_are_not_guessed(traces):
    """Broken: with several requests in flight an order is read into programs that have none."""
    several = requests(*((k * REQUEST_MS, (k + 2) * REQUEST_MS) for k in range(5)))
    time = device_time(traces["tpu"], several, NO_REQUEST)
    assert not time.in_turn
    steps = device_steps.model_steps(without_inputs(traces["tpu"]), time)
    assert steps == {}
    assert device_steps.decode_ms(traces["tpu"], time, steps) is None


def test_main_on_a_cpu(traces):
    """Broken: a CPU's busy time exceeds the wall time, or its programs are not found."""
    trace = traces["main"]
    starts = trace.calls.loc[trace.calls["name"] == "run_batch", "start_ns"].to_numpy()[::2]
    sent = pd.DataFrame({"sent_ns": starts[:-1], "done_ns": starts[1:], "kind": "single", "items": 1})
    time = device_time(trace, sent, NO_REQUEST)
    assert (time.windows[BUSY] <= time.windows["wall"]).all()
    assert (time.windows[BUSY] > 0.3 * time.windows["wall"]).all()
    busy = trace.events[trace.events["kind"] != "async"]
    assert time.windows[BUSY].sum() * MS == pytest.approx(swept(busy, starts[0], starts[-1]))
    steps = device_steps.model_steps(trace, time)
    assert steps == {"jit_jitted_run_model(24)": "prefill", "jit_jitted_run_model(38)": "decode"}
    assert device_steps.model_steps(without_inputs(trace), time) == steps
    decode = device_steps.decode_ms(trace, time, steps)
    assert 0 < decode < 0.3 * time.times[BUSY].mean
    operations = device_programs.operations(trace, time.in_flight, len(sent))
    assert operations["ms"].sum() >= 0.5 * time.times[BUSY].mean
    assert operations["ms"].max() < time.times[BUSY].mean


def swept(events, first, last):
    """The union of the events' time between two instants, by a sweep over their edges."""
    edges = sorted(
        [(start, 1) for start in events["start_ns"]] + [(end, -1) for end in events["end_ns"]],
    )
    total, open_, before = 0, 0, first
    for at, step in edges:
        at = min(max(at, first), last)
        total += (at - before) * (open_ > 0)
        open_, before = open_ + step, at
    return total


TIMES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=8)


@given(TIMES)
def test_windows_cover_the_time_in_flight_once(times):
    """Broken: with several requests in flight device time is counted twice, or is lost."""
    table = requests(*((sent, sent + long) for sent, long in times), start_ns=0)
    starts, ends = request_windows(table)
    assert (starts <= ends).all()
    assert (starts[1:] >= ends[:-1]).all()
    assert (ends - starts).sum() == Intervals.union(table["sent_ns"], table["done_ns"]).total_ns


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["Wait for usage holds", "np.asarray(jax.Array)", "DevicePutWithSharding", "other"]),
        st.integers(0, 50),
        st.integers(1, 20),
    ),
    max_size=10,
)


@given(CALLS, TIMES)
def test_waits_are_disjoint(calls, busy):
    """Broken: an instant counts as two waits, so that they add up to more than the host waited."""
    table = pd.DataFrame(
        [(name, start, start + long) for name, start, long in calls], columns=["name", "start_ns", "end_ns"]
    ).astype({"name": "str", "start_ns": "int64", "end_ns": "int64"})
    waits = waiting_time(table, Intervals.union(*zip(*((at, at + n) for at, n in busy), strict=True)))
    named = table[table["name"] != "other"]
    union = waits[WAITS[0]]
    for name in WAITS[1:]:
        assert (union & waits[name]).total_ns == 0
        union = union | waits[name]
    assert (union - Intervals.union(named["start_ns"], named["end_ns"])).total_ns == 0


@pytest.mark.parametrize(
    ("share", "requests", "bound"),
    [
        (Estimate(0.8, 0.7, 0.9), 20, DEVICE),
        (Estimate(0.65, 0.55, 0.75), 20, MIXED),
        (Estimate(0.5, 0.45, 0.55), 20, MIXED),
        (Estimate(0.2, 0.1, 0.3), 20, HOST),
        (Estimate(0.3, 0.2, 0.45), 20, MIXED),
        (Estimate(0.9, np.nan, np.nan), 1, None),
    ],
)
def test_verdict_needs_the_whole_interval(share, requests, bound):
    """Broken: the verdict names a limit that the numbers do not show."""
    assert bound_by(share, requests) == bound


def test_idle_time_is_explained_exactly(tpu):
    """Broken: the host's causes of idle time do not add up to it, or the device's own time is among them."""
    _, time = tpu
    path = pd.DataFrame(
        [("device_wait", 8.0, 7.0, 9.0), ("dispatch", 6.0, 5.0, 7.0), ("ipc", 3.0, 2.0, 4.0)],
        columns=["component", "mean_ms", "low", "high"],
    )
    causes = idle_causes(time, RequestPath(path, "joint")).set_index("component")["mean_ms"]
    assert causes.sum() == pytest.approx(time.times[IDLE].mean)
    assert causes["device_wait after the device"] == pytest.approx(1)
    assert causes[OVERLAP] == pytest.approx(time.times[IDLE].mean - 6 - 3 - 1)
    assert "device_wait" not in causes
    assert idle_causes(time, RequestPath(path.head(0), None)).empty


def test_observer_effect_of_the_trace(traces):
    """Broken: the trace's cost is hidden, or compares requests of different kinds."""
    plain = pd.DataFrame({"kind": "single", "items": [1] * 9 + [2], "latency_ms": [9.5] * 9 + [500.0]})
    plain = plain.assign(block=0, split=False, compile_hit=False)
    time = device_time(traces["tpu"], one_after_another(6), plain)
    assert time.observer_effect.p50_ratio == pytest.approx(2.0)


def test_trace_taken_while_the_clock_was_ahead_is_put_on_the_runs_clock(traces, monkeypatch):
    """Broken: after a step of the clock, no request of the trace lies in the trace."""
    ahead = traces["tpu"].earlier_by(-3600)
    monkeypatch.setattr(device_phase, "read_traces", lambda paths: [ahead])
    record = SimpleNamespace(device_trace=DeviceTrace(0.0, 1.0, clock_ahead_s=3600.0))
    phase = SimpleNamespace(record=record, device_trace_path=lambda: Path("trace"))
    read = device_phase.device_traces({"single": phase})["single"]
    for table in ("events", "calls"):
        pd.testing.assert_frame_equal(getattr(read, table), getattr(traces["tpu"], table))
        assert (getattr(ahead, table)["start_ns"] - getattr(read, table)["start_ns"] == 3600 * 10**9).all()
