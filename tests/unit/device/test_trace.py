"""Reading traces: a TPU's by the documented names, a CPU's from a recording, and files that are none."""

import gzip
import random

import pytest

from scoreprof_nb.device import trace as trace_module
from scoreprof_nb.device.metadata import read_metadata
from scoreprof_nb.device.trace import TraceTables, Unreadable, read_traces
from tests.support.device_traces import DECODE, FUSION, MAIN, MS, PREFILL, START_NS, main_trace, tpu_trace
from tests.support.xplane import Event, Line, Plane, task_environment, xspace

FLIPS = 30


def damaged():
    """By name: what a disk, a full bucket or a killed server leaves."""
    whole = tpu_trace(requests=2)
    rng = random.Random(0)
    files = {
        "empty": b"",
        "text": b"no trace at all\n",
        "zip": b"PK\x03\x04" + bytes(100),
        "packed and cut": gzip.compress(whole)[:-20],
        "packed and flipped": gzip.compress(whole)[:40] + bytes(40) + gzip.compress(whole)[80:],
        "packed garbage": gzip.compress(b"\xff" * 50),
        "no start": xspace([Plane("/host:CPU", [Line("x", [Event("y", 0, 5)])])]),
        "no event": xspace([Plane("/host:CPU"), task_environment(START_NS, START_NS + MS)]),
        "endless": xspace(
            [
                Plane("/device:TPU:0", [Line("XLA Ops", [Event("%a = f32[] add()", 0, 2**62 / 1000)])]),
                task_environment(2**62, START_NS),
            ]
        ),
    }
    for at in range(FLIPS):
        broken = bytearray(whole)
        for _ in range(rng.choice([1, 4, 30])):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        files[f"flipped {at}"] = bytes(broken)
        files[f"cut {at}"] = whole[: rng.randrange(1, len(whole))]
    return files


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """By name: what was read of each file, all by one call."""
    folder = tmp_path_factory.mktemp("traces")
    files = {**damaged(), "tpu": tpu_trace(), "two chips": gzip.compress(tpu_trace(chips=2))}
    for number, content in enumerate(files.values()):
        (folder / f"{number}.pb").write_bytes(content)
    paths = [folder / f"{number}.pb" for number in range(len(files))]
    results = read_traces([*paths, MAIN, folder / "missing.pb"])
    return dict(zip([*files, "main", "missing"], results, strict=True))


def test_every_damaged_file_is_a_line_or_a_table(read):
    """Broken: a damaged trace ends the report, or hides the phases after it."""
    for name in damaged():
        result = read[name]
        if isinstance(result, Unreadable):
            assert result.reason, name
            assert "\n" not in result.reason, name
        else:
            assert (result.events["end_ns"] >= result.events["start_ns"]).all(), name
    assert isinstance(read["tpu"], TraceTables)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "is empty"),
        ("text", "is not one of JAX's traces, or is damaged"),
        ("zip", "is not one of JAX's traces, or is damaged"),
        ("packed and cut", "cannot be read"),
        ("packed and flipped", "cannot be read"),
        ("packed garbage", "is not one of JAX's traces"),
        ("no start", "does not state when it was started"),
        ("missing", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(read, name, words):
    """Broken: the report says that a trace cannot be read, and not why."""
    assert isinstance(read[name], Unreadable)
    assert words in read[name].reason


def test_huge_file_is_refused(tmp_path, monkeypatch):
    """Broken: a packed file of any size fills the memory."""
    from scoreprof_nb.device import extract

    monkeypatch.setattr(extract, "MOST_BYTES", 1000)
    path = tmp_path / "huge.pb"
    path.write_bytes(gzip.compress(bytes(5000)))
    with pytest.raises(extract.UnreadableTrace, match="is larger than"):
        extract.content_of(path)


def test_a_crash_of_the_reader_costs_one_trace(tmp_path, monkeypatch):
    """Broken: native code that crashes on one file takes the report, or the traces after it, with it."""
    program = (
        "import os, sys\n"
        "for path in sys.argv[1::2]:\n"
        "    if 'bad' in path:\n"
        "        print('the end', file=sys.stderr, flush=True)\n"
        "        os.abort()\n"
        "    print('is empty', flush=True)\n"
    )
    monkeypatch.setattr(trace_module, "READER", ("-c", program))
    results = read_traces([tmp_path / name for name in ("a", "bad1", "b", "bad2")])
    assert [result.reason.split()[0] for result in results] == ["a", "bad1", "b", "bad2"]
    assert [("-6" in result.reason) for result in results] == [False, True, False, True]
    assert "the end" in results[1].reason


def test_a_tpu_has_programs_operations_and_transfers(read):
    """Broken: on a TPU the report shows no device, or the threads of the host as one."""
    events = read["tpu"].events
    assert set(events["chip"]) == {"TPU:0"}
    assert events.groupby("kind").size().to_dict() == {"async": 6, "operation": 30, "program": 18}
    fusion = events[events["name"] == "fusion.7"].iloc[0]
    assert (fusion["start_ns"], fusion["end_ns"]) == (START_NS + 2 * MS, START_NS + 7 * MS)
    assert (fusion["category"], fusion["program"]) == ("convolution fusion", PREFILL)
    assert (fusion["flops"], fusion["bytes"]) == (459e9, 820e6)
    assert set(events.loc[events["name"] == "fusion.9", "program"]) == {DECODE}
    assert FUSION.startswith("%fusion.7 = ")
    (chip,) = read["tpu"].chips
    assert (chip.kind, chip.flops_per_s, chip.bytes_per_s) == ("TPU v6 lite", 918e12, 1640e9)


def test_each_chip_has_its_events(read):
    """Broken: with several chips one of them is missing, or all are one."""
    assert read["two chips"].events.groupby("chip").size().to_dict() == {"TPU:0": 54, "TPU:1": 54}
    assert [chip.name for chip in read["two chips"].chips] == ["TPU:0", "TPU:1"]


def test_host_calls_are_those_of_its_own_threads(read):
    """Broken: work of XLA's pools, or Python's calls, count as waiting in JAX's runtime."""
    calls = read["tpu"].calls
    assert set(calls["name"]) == {"DevicePut", "Wait for donation holds", "np.asarray(jax.Array)"}
    assert len(calls) == 18


def test_programs_have_their_inputs(read):
    """Broken: programs of one function cannot be told apart, or the decode step is not known."""
    programs = read["tpu"].programs.set_index("program")
    assert programs["inputs"].to_dict() == {PREFILL: 4, DECODE: 3, "jit_sampler(13)": 1}
    assert programs["shapes"].to_dict() == {
        PREFILL: "s32[64], s32[40]",
        DECODE: "s32[4]",
        "jit_sampler(13)": "bf16[40,1024]",
    }


def test_recording_of_main(read):
    """Broken: on a CPU, operations are taken for the host's work, or the other way round."""
    main = read["main"]
    runs = main.events[main.events["kind"] == "program"].groupby("program").size()
    assert runs["jit_jitted_run_model(24)"] - runs["jit_jitted_run_model(38)"] in (0, 1)  # cut at the end
    assert runs["jit_jitted_run_model(24)"] == 14
    assert set(main.events["chip"]) == {"CPU"}
    assert {"program", "operation", "executor"} == set(main.events["kind"])
    assert {"Wait for donation holds", "np.asarray(jax.Array)", "run_batch"} <= set(main.calls["name"])
    assert not main.events["name"].str.contains("ThreadpoolListener|^end: ").any()
    shapes = main.programs.set_index("program")["shapes"]
    assert shapes["jit_jitted_run_model(24)"] == "s32[64], s32[40], s32[10200]"


def test_metadata_of_damaged_bytes_is_a_value_error():
    """Broken: an error of another kind than the reader expects ends it without a reason."""
    whole = main_trace()[:4000] + tpu_trace(requests=1)
    rng = random.Random(1)
    for _ in range(300):
        broken = bytearray(whole[: rng.randrange(len(whole))])
        for _ in range(5):
            if broken:
                broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        try:
            read_metadata(bytes(broken))
        except ValueError:
            continue
