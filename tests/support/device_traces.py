"""Device traces whose numbers are known: of a TPU, by the names that JAX and XProf document, and of a CPU."""

import gzip
from pathlib import Path

from tests.support.paths import CAPTURES
from tests.support.xplane import Event, Line, Plane, block, number, task_environment, xspace

MAIN = CAPTURES / "device" / "main.xplane.pb.gz"
START_NS = 1_700_000_000_000_000_000  # of the trace
MS = 1_000_000
PEAK_FLOPS, PEAK_BYTES = 918.0, 1640.0  # Tflop/s and GB/s
S32, BF16 = 4, 16


def signature(*shapes):
    """An HloProto that states the shapes of a program's inputs: (element type, dimensions)."""
    inputs = b"".join(
        block(1, number(2, kind) + b"".join(number(3, size) for size in sizes)) for kind, sizes in shapes
    )
    return block(1, block(4, inputs))


PREFILL, DECODE, SAMPLER = "jit_jitted_run_model(11)", "jit_jitted_run_model(12)", "jit_sampler(13)"
WEIGHTS = (BF16, (1024, 128))
PROGRAMS = {
    PREFILL: {"Hlo Proto": signature(WEIGHTS, (S32, (64,)), (S32, (40,)), (S32, (40,)))},
    DECODE: {"Hlo Proto": signature(WEIGHTS, (S32, (4,)), (S32, (4,)))},
    SAMPLER: {"Hlo Proto": signature((BF16, (40, 1024)))},
}
# Per request of 20 ms: a prefill of 8 ms from 2 ms on, with a fusion of 5 ms and a loop of 3 ms, of which its
# body takes 1 ms; a sampler of 1 ms; a decode step of 2 ms. In flight beside them: an all-gather of 4 ms, 1 ms
# of it after the prefill, where no operation runs.
REQUEST_MS = 20
FUSION = "%fusion.7 = bf16[64,128]{1,0:T(8,128)} fusion(bf16[64,128]{1,0} %p), kind=kLoop"
OPERATIONS = (
    (
        FUSION,
        2,
        5,
        {"hlo_category": "convolution fusion", "flops": 459 * 10**9, "bytes_accessed": 820 * 10**6},
    ),
    ("%while.3 = (s32[]) while(%t), body=%b", 7, 3, {"hlo_category": "while"}),
    ("%copy.4 = bf16[8] copy(bf16[8] %q)", 8, 1, {"hlo_category": "copy"}),
    ("%sort.1 = f32[40] sort(f32[40] %r)", 11.5, 1, {"hlo_category": "sort"}),
    (FUSION.replace("fusion.7", "fusion.9"), 13, 2, {"hlo_category": "loop fusion"}),
)
RUNS = ((PREFILL, 2, 8), (SAMPLER, 11.5, 1), (DECODE, 13, 2))
BUSY_MS = 11.0
HOST_CALLS = (
    ("DevicePut", 1, 0.5),
    ("Wait for donation holds", 1.5, 0.25),
    ("np.asarray(jax.Array)", 2, 9),  # until 1 ms after the prefill
)


def tpu_plane(chip, requests, shift_ms=0.0):
    def at(request, ms):
        return (request * REQUEST_MS + ms + shift_ms) * MS

    every = range(requests)
    modules = [Event(name, at(n, ms), long * MS, {"run_id": n}) for n in every for name, ms, long in RUNS]
    ops = [
        Event(name, at(n, ms), long * MS, of_kind=stats)
        for n in every
        for name, ms, long, stats in OPERATIONS
    ]
    flying = [
        Event("%all-gather-start.1 = bf16[8] all-gather-start(%x)", at(n, 7), 4 * MS, of_kind=stats)
        for n in every
        for stats in [{"hlo_category": "all-gather"}]
    ]
    return Plane(
        f"/device:TPU:{chip}",
        [
            Line("Steps", [Event(str(n), at(n, 0), 20 * MS) for n in every]),
            Line("XLA Modules", modules),
            Line("XLA Ops", ops),
            Line("Async XLA Ops", flying),
        ],
        {
            "device_type_string": "TPU v6 lite",
            "peak_teraflops_per_second": PEAK_FLOPS,
            "peak_hbm_bw_gigabytes_per_second": PEAK_BYTES,
        },
    )


def tpu_trace(requests=6, chips=1, shift_ms=0.0):
    """``shift_ms``: how much later each further chip works."""
    host = [
        Event(name, (n * REQUEST_MS + ms) * MS, long * MS)
        for n in range(requests)
        for name, ms, long in HOST_CALLS
    ]
    python = Event("$scheduler.py:12 step", 0, 5 * MS)
    return xspace(
        [
            Plane("/host:metadata", kinds=PROGRAMS),
            *(tpu_plane(chip, requests, chip * shift_ms) for chip in range(chips)),
            Plane("/device:TPU:0 SparseCore 0", [Line("XLA Ops", [Event("%x = f32[] add()", 0, 9 * MS)])]),
            Plane("/host:CPU", [Line("python", [python, *host]), Line("tf_pool/1", [Event("copy", 0, MS)])]),
            task_environment(START_NS, START_NS + requests * REQUEST_MS * MS),
        ]
    )


def main_trace() -> bytes:
    """The recording of sglang-jax main."""
    return gzip.decompress(Path(MAIN).read_bytes())
