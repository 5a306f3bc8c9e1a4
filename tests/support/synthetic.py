"""Stacks, recordings, ticks and requests made by hand, so that tests can assert exact numbers.

A stack is written root first, ``function@file`` per frame: ``"main@a.py > work@b.py"``; a frame may
end in ``:LINE``. Activity over ticks is written ``"http*3 await_request*7"``; ``~`` before a name
marks a decode step.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import Role, classify
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.run_folder.records import Block, PhaseRecord, Recording, ServerProcess, Warmup
from scoreprof_nb.run_folder.store import REQUESTS_SCHEMA, Phase
from scoreprof_nb.stacks.table import Frame, StackTable, StackTableBuilder, ThreadSamples

RULES = load_rules()
START_S = 1_700_000_000.0

LAUNCHER = "/venv/bin/python /kit/scoreprof_nb/capture/launcher.py /venv/bin/python -m sgl_jax.launch_server"
HTTP = "/venv/bin/python -m sgl_jax.launch_server --model-path /models/tiny"
SCHEDULER = "sglang::scheduler"
DETOKENIZER = "sglang-jax::detokenizer"
RESOURCE_TRACKER = "/venv/bin/python -c from multiprocessing.resource_tracker import main;main(5)"

_MAIN, _FORWARD = "MainThread", "Thread-1 (forward_thread_func)"
# Where a thread comes from: (process role, thread role) -> (command line, thread name).
PLACES = {
    ("http", "main"): (HTTP, _MAIN),
    ("scheduler", "main"): (SCHEDULER, _MAIN),
    ("scheduler", "forward"): (SCHEDULER, _FORWARD),
    ("scheduler", "watchdog"): (SCHEDULER, "Thread-2 (watchdog_thread)"),
    ("scheduler", "tqdm_monitor"): (SCHEDULER, "tqdm_monitor"),
    ("scheduler", "expert_ids"): (SCHEDULER, "Thread-3 (_sync_expert_ids_d2h_thread_func)"),
    ("detokenizer", "main"): (DETOKENIZER, _MAIN),
    ("clock", "main"): (LAUNCHER, _MAIN),
    ("resource_tracker", "main"): (RESOURCE_TRACKER, _MAIN),
}


@dataclass(frozen=True)
class Thread:
    """One thread of a made-up recording: a stack per sample."""

    pid: int
    tid: int
    process: str
    thread: str
    stacks: tuple[str, ...]


def place(process: str, thread: str, stacks, *, pid: int = 10, tid: int = 10) -> Thread:
    """A thread of the given roles, by its usual command line and name."""
    command, name = PLACES[process, thread]
    return Thread(pid, tid, command, name, tuple(stacks))


@cache
def frames_of(stack: str) -> tuple[Frame, ...]:
    frames = []
    for text in filter(None, stack.split(" > ")):
        name, _, file = text.partition("@")
        file, _, line = file.partition(":")
        frames.append(Frame(name, file, int(line) if line else None))
    return tuple(frames)


def stack_table(*threads: Thread) -> StackTable:
    builder = StackTableBuilder()
    for thread in threads:
        id_of = {
            stack: builder.stack_id([builder.frame_id(frame) for frame in frames_of(stack)])
            for stack in dict.fromkeys(thread.stacks)
        }
        ids = [id_of[stack] for stack in thread.stacks]
        builder.add_thread(
            ThreadSamples(
                thread.pid, thread.tid, thread.process, thread.thread, np.array(ids, dtype=np.int32)
            )
        )
    return builder.build(ordered=True, interval_s=0.01)


def classified(*threads: Thread, rules=RULES):
    """(role as text, component names) of every thread."""
    return [
        (str(activity.role), [CATALOG.names[i] for i in activity.components])
        for activity in classify(stack_table(*threads), rules)
    ]


def component_of(process: str, thread: str, stack: str, rules=RULES) -> str:
    """The component of one stack of a thread of these roles."""
    ((role, names),) = classified(place(process, thread, [stack]), rules=rules)
    assert role == f"{process} / {thread}"
    return names[0]


# ---- activity over ticks


def activity(text: str) -> tuple[np.ndarray, np.ndarray]:
    """``"http*2 ~dispatch"`` -> components (int16) and decode marks."""
    names, decode = [], []
    for part in text.split():
        name, _, times = part.partition("*")
        names += [name.removeprefix("~")] * int(times or 1)
        decode += [name.startswith("~")] * int(times or 1)
    return np.array([CATALOG.index[name] for name in names], dtype=np.int16), np.array(decode, dtype=np.bool_)


def thread_ticks(process: str, thread: str, text: str, *, pid=10, tid=10, stack_ids=None) -> ThreadTicks:
    components, decode = activity(text)
    ids = np.zeros(len(components)) if stack_ids is None else stack_ids
    nothing_lost = np.zeros(len(components), dtype=np.bool_)
    return ThreadTicks(
        Role(process, thread), pid, tid, components, np.array(ids, dtype=np.int32), decode, nothing_lost
    )


def recording(start_s: float, stop_s: float, lost=(), rate_hz: int = 100) -> Recording:
    return Recording("recording.json", start_s, stop_s, rate_hz, lost=tuple(lost))


def block(
    number: int = 0, start_s: float = START_S, wall_s: float = 1.0, *, profiled: bool = True, lost=()
) -> Block:
    stop_s = start_s + wall_s
    return Block(number, start_s, stop_s, recording(start_s, stop_s, lost) if profiled else None)


def ticked(
    threads, *, of: Block | None = None, table: StackTable | None = None, timed=True, mismatch=0
) -> BlockTicks:
    """A block whose ticks lie in the middle of equal parts of it."""
    of = of or block()
    n = max(len(thread.components) for thread in threads)
    tick_s = of.start_s + (np.arange(n) + 0.5) * of.wall_s / n
    return BlockTicks(of, of.recording, table or stack_table(), tick_s, timed, mismatch, tuple(threads))


def phase(
    blocks=(),
    *,
    requests=None,
    threads=None,
    memory=None,
    processes: tuple[ServerProcess, ...] = (),
    name="small",
) -> Phase:
    record = PhaseRecord(
        name, START_S, START_S + 60, Warmup(3, 1.0, 0, True, "enough"), tuple(blocks), processes
    )
    columns = ["block", "pid", "tid", "name", "cpu_before_s", "cpu_after_s"]
    return Phase(
        record,
        requests if requests is not None else sent(),
        threads if threads is not None else pd.DataFrame(columns=columns),
        memory if memory is not None else pd.DataFrame(columns=["time_ns", "pid", "rss_bytes"]),
        Path("nowhere"),
    )


def phase_of(*blocks: BlockTicks, **of_phase) -> PhaseTicks:
    return PhaseTicks(phase([one.block for one in blocks], **of_phase), tuple(blocks), ())


# ---- requests


def sent(*rows: dict) -> pd.DataFrame:
    """Rows of requests.parquet; ``at_ms`` (since START_S) and ``latency_ms`` say when each was."""
    made = []
    for number, row in enumerate(rows):
        start_ns = round(START_S * 1e9) + round(row["at_ms"] * 1e6)
        made.append(
            {
                "request": number,
                "warmup": False,
                "kind": "small",
                "items": 4,
                "payload": 0,
                "prompt_tokens": None,
                "shared_tokens": None,
                "repeat": False,
                "worker": 0,
                "intended_ns": start_ns,
                "sent_ns": start_ns,
                "done_ns": start_ns + round(row["latency_ms"] * 1e6),
                "client_cpu_ns": 0,
                "status": 200,
                "error": None,
                "scores": [[0.25, 0.75]],
            }
            | {key: value for key, value in row.items() if key not in ("at_ms", "latency_ms")}
        )
    return pd.DataFrame(made, columns=REQUESTS_SCHEMA.names)


def measured(*rows: dict) -> MeasuredRequests:
    """Requests ready for analysis: like ``sent``, and block 0, profiled, unless the row says otherwise."""
    table = sent(*({key: row[key] for key in row if key not in _ADDED} for row in rows))
    table["latency_ms"] = (table["done_ns"] - table["sent_ns"]) / 1e6
    table["client_cpu_ms"] = table["client_cpu_ns"] / 1e6
    table["ok"] = table["error"].isna()
    for name, (default, dtype) in _ADDED.items():
        table[name] = pd.Series([row.get(name, default) for row in rows], dtype=dtype)
    table["plain"] = ~table["profiled"]
    return MeasuredRequests(table)


_ADDED = {
    "block": (0, "int64"),
    "profiled": (True, "bool"),
    "prefills": (1, "Int64"),
    "compile_hit": (False, "boolean"),
    "split": (False, "boolean"),
}
