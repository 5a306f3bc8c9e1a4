"""A phase's recordings as one speedscope file with true times.

py-spy's own files give every sample the same weight and have no pauses. Here each sample lasts until the next
tick, by the launcher's clock; while py-spy was off, a thread has no stack; a lost sample is a frame
of its own. Only the blocks are in it, not the seconds in which py-spy started and stopped.
"""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.analysis.ticks import BlockTicks, PhaseTicks, ThreadTicks
from scoreprof_nb.stacks.speedscope import SCHEMA
from scoreprof_nb.stacks.table import Frame

_LOST = Frame("(lost sample)", "")
_DIGITS = 6  # of a weight in seconds
ThreadKey = tuple[str, str, int, int]  # process, thread, process id, thread id


def timed_recording(ticks: PhaseTicks) -> str:
    """JSON in speedscope's format: one ``sampled`` profile per thread, seconds since the start of the first
    block. Empty profiles without a recording."""
    frames: dict[Frame, int] = {}
    start_s = ticks.phase.record.blocks[0].start_s if ticks.phase.record.blocks else 0.0
    threads: dict[ThreadKey, tuple[list[str], list[NDArray[np.float64]], float]] = {}
    for block in ticks.blocks:
        lost = f"[{frames.setdefault(_LOST, len(frames))}]"
        stacks = _stacks(block, frames)
        edges = np.append(block.tick_s, block.block.stop_s) - start_s
        for thread in block.threads:
            key = thread.role.process, thread.role.thread, thread.pid, thread.tid
            samples, weights, end_s = threads.setdefault(key, ([], [], 0.0))
            at_s = edges[block.ticks - len(thread.components) :]
            samples.append("[]")
            samples += [stacks.get(stack, lost) for stack in thread.stack_ids.tolist()]
            weights += [np.array([max(at_s[0] - end_s, 0.0)]), np.diff(at_s)]
            threads[key] = samples, weights, float(at_s[-1])
    profiles = [_profile(key, *parts) for key, parts in threads.items()]
    shared = [{"name": f.name, "file": f.file} | ({} if f.line is None else {"line": f.line}) for f in frames]
    head = {"$schema": SCHEMA, "exporter": "scoreprof_nb", "name": ticks.phase.name}
    text = json.dumps({**head, "shared": {"frames": shared}}, separators=(",", ":"))
    return f'{text[:-1]},"profiles":[{",".join(profiles)}]}}'


def _stacks(block: BlockTicks, frames: dict[Frame, int]) -> Mapping[int, str]:
    """By stack id: the stack as JSON, root first. ``frames`` is extended."""
    used = {stack for thread in block.threads for stack in _known(thread)}
    return {
        stack: f"[{','.join(str(frames.setdefault(f, len(frames))) for f in block.table.stack(stack))}]"
        for stack in used
    }


def _known(thread: ThreadTicks) -> list[int]:
    ids: list[int] = np.unique(thread.stack_ids[thread.stack_ids >= 0]).tolist()
    return ids


def _profile(key: ThreadKey, samples: list[str], weights: list[NDArray[np.float64]], end_s: float) -> str:
    process, thread, pid, tid = key
    head = {
        "type": "sampled",
        "name": f"{process} / {thread} (process {pid}, thread {tid})",
        "unit": "seconds",
        "startValue": 0.0,
        "endValue": round(end_s, _DIGITS),
    }
    durations = ",".join(f"{weight:.{_DIGITS}f}" for weight in np.concatenate(weights).tolist())
    text = json.dumps(head, separators=(",", ":"))
    return f'{text[:-1]},"samples":[{",".join(samples)}],"weights":[{durations}]}}'
